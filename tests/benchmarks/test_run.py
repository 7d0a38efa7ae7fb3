"""The parts of an evaluation on a tiny model and made-up data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from moos_benchmarks import command_line, ranking, recall, run

from moos_integrations.errors import ConfigError, InputError

CONTEXT = "The quick council of Gilmer met on 3 May. It did not raise the fee of $1,499.00. Nobody complained."
NUMBERS = ("Numbers like 42 and 3.14 matter. Names like Ada Lovelace matter too.", "A lazy dog sleeps here.")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    answer = {"text": "3 May", "answer_start": CONTEXT.index("3 May")}
    squad = {"title": "T", "context": CONTEXT, "qas": [{"id": "1", "question": "When?", "answers": [answer]}]}
    documents = [{"title": "t", "text": text, "is_gold": True} for text in (CONTEXT, *NUMBERS)]
    pages = {
        "question": "When did the council meet?",
        "answers": ["3 May"],
        "documents": documents,
        "source": "made up",
    }
    long = {"question": "Who?", "answers": ["council of Gilmer"], "text": CONTEXT}
    pair = {"source": "Ada met a dog .", "source_text": "Ada met a dog.", "keep": "11001"}
    for name in ("squad_train", "xquad_en", *[name for name in recall.SETS if name.startswith("squadshifts")]):
        write(folder, name, squad)
    for name in ("tatqa_tables", "code_functions", "nq_10docs", *ranking.SETS):
        write(folder, name, pages)
    for name in ("covidqa_long", "loghub_logs", "multi_news", "narrativeqa_summary", "qmsum", "quality"):
        write(folder, name, long)
    write(folder, "google_compression_cased", pair)
    for name in ("gsm8k", "bbh_cot"):
        write(folder, name, {"prompt": CONTEXT, "question": "When?", "answer": "3 May"})
    return folder


def write(folder: Path, name: str, record: dict[str, Any]) -> None:
    lines = "".join(json.dumps({"id": f"{name}-{index}", **record}) + "\n" for index in range(3))
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def evaluate(data: Path, model: Path, output: Path, **options: Any) -> dict[str, Any]:
    """Run, and give back the last part's file."""
    settings = {key: options.pop(key) for key in ("limit", "alpha") if key in options}
    files = run.evaluate(str(model), output, run.Options(data=data, **settings), progress=False, **options)
    return dict(json.loads(files[-1].read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_command_measures_every_part(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_model), "--data", str(data), "--output", str(tmp_path / "out"), "--limit", "2"]
    command_line.start(run.measure, [*arguments, "--baseline-model", str(tiny_model), "--parts", ",".join(run.PARTS)])
    assert "ranking" in capsys.readouterr().err  # the progress bar
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out").iterdir()}
    assert set(found) == {part.file for part in run.PARTS.values()}
    for part in run.PARTS.values():
        assert tuple(found[part.file]["sets"]) == part.sets
        assert found[part.file]["settings"]["limit"] == 2
        assert {"environment", "model"} < set(found[part.file])
        assert str(data) not in json.dumps(found[part.file])
    methods = found["answer_recall"]["sets"]["xquad_en"]["0.5"]
    assert methods["classifier"] == methods["baseline"]  # the same model
    assert found["answer_recall"]["sets"]["covidqa_long"]["domain"] == "out"
    assert found["ranking"]["sets"]["musique"]["model"] == "mean"  # this model gives no relevance
    assert "made up" in found["ranking"]["sets"]["nq_20docs"]["sources"]
    assert found["pairs"]["sets"]["google_compression_cased"]["sentences"] == 2
    spent = found["budgets"]["sets"]["nq_10docs"]
    assert spent["questions"] == 2
    assert {"moos", "sentences", "uniform rate", "bm25", "embeddings, mmr", "documents, embeddings"} < set(
        spent["methods"]
    )
    assert set(spent["sources"]) == {"made up"}
    assert set(found["unit_size"]["sets"]["musique"]["methods"]) == {"1", "2", "4"}
    assert "no redundancy" in found["gain_ablation"]["sets"]["musique"]["methods"]
    assert set(found["duplicates"]["sets"]["hotpotqa"]["every document twice"]) == {"once", "repeated"}


def test_a_query_aware_model_ranks_by_relevance_too(data: Path, aware_model: Path, tmp_path: Path) -> None:
    entry = evaluate(data, aware_model, tmp_path, parts=["ranking"], sets=["musique"])["sets"]["musique"]
    assert entry["model"] == ranking.DEFAULT_REDUCTION
    assert {"relevance", *ranking.REDUCTIONS, "bm25", "embeddings", "random"} < set(entry["rankers"])
    assert f"{ranking.DEFAULT_REDUCTION} - bm25" in entry["differences"]


def test_finished_sets_are_not_measured_again(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(
        run.recall, "compare", lambda passages, scorers: calls.append("x") or {"passages": len(passages)}
    )
    first = evaluate(data, tiny_model, tmp_path, parts=["recall"], sets=["xquad_en"])
    assert len(calls) == 1
    both = evaluate(data, tiny_model, tmp_path, parts=["recall"], sets=["tatqa_tables", "xquad_en"])
    assert len(calls) == 2
    assert list(both["sets"]) == ["xquad_en", "tatqa_tables"]  # in the order of the part
    assert both["sets"]["xquad_en"] == first["sets"]["xquad_en"]
    other = evaluate(data, tiny_model, tmp_path, parts=["recall"], sets=["xquad_en"], alpha=0.5)
    assert len(calls) == 3
    assert list(other["sets"]) == ["xquad_en"]  # what was measured with other settings does not stay


def test_a_run_that_stops_keeps_what_is_finished(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(evaluation: run.Evaluation, name: str) -> dict[str, Any]:
        if name == "xquad_en":
            raise KeyboardInterrupt
        return {"passages": 1}

    monkeypatch.setitem(run.PARTS, "recall", run.Part("answer_recall", recall.SETS, stop, {}))
    with pytest.raises(KeyboardInterrupt):
        evaluate(data, tiny_model, tmp_path, parts=["recall"])
    found = json.loads((tmp_path / "answer_recall.json").read_text(encoding="utf-8"))
    assert list(found["sets"]) == [recall.VALIDATION]


@pytest.mark.parametrize("content", ["no json", "[]", '{"sets": {"xquad_en": {}}}'])
def test_files_of_others_are_replaced(data: Path, tiny_model: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "pairs.json").write_text(content, encoding="utf-8")
    assert list(evaluate(data, tiny_model, tmp_path, parts=["pairs"])["sets"]) == ["google_compression_cased"]


def test_recall_and_sweep_read_each_text_once(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    scores = run.recall.model_scores

    def counted(classifier: Any, texts: list[str], statistics: list[str]) -> Any:
        calls.append(len(texts))
        return scores(classifier, texts, statistics)

    monkeypatch.setattr(run.recall, "model_scores", counted)
    evaluate(data, tiny_model, tmp_path, parts=["recall", "sweep"], sets=["xquad_en"])
    assert calls == [3]


def test_what_would_stop_the_run_later_stops_it_at_once(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Expected parts out of recall, sweep, ranking, .*pairs; got speed"):
        evaluate(data, tiny_model, tmp_path, parts=["pairs", "speed"])
    with pytest.raises(ConfigError, match="have no set 'musique'; they know google_compression_cased"):
        evaluate(data, tiny_model, tmp_path, parts=["pairs"], sets=["musique"])
    with pytest.raises(InputError, match="squad_train"):
        evaluate(tmp_path, tiny_model, tmp_path, parts=["recall"], sets=[recall.VALIDATION])


def test_exit_codes_and_bad_records(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_model), "--data", str(tmp_path), "--output", str(tmp_path), "-q"]
    pair = (data / "google_compression_cased.jsonl").read_text(encoding="utf-8")
    (tmp_path / "google_compression_cased.jsonl").write_text("{\n" + pair, encoding="utf-8")
    for more, code, message in (
        (["--parts", "nothing"], command_line.EXIT_USAGE, "Expected parts"),
        (["--no-such-option"], command_line.EXIT_USAGE, "--no-such-option"),
        (["--parts", "pairs"], command_line.EXIT_FAILED, "line 1"),
    ):
        with pytest.raises(SystemExit) as stopped:
            command_line.start(run.measure, [*arguments, *more])
        assert (stopped.value.code, message in capsys.readouterr().err) == (code, True)
    command_line.start(run.measure, [*arguments, "--parts", "pairs", "--skip-bad"])
    entry = json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8"))["sets"]["google_compression_cased"]
    assert (entry["skipped"], entry["sentences"]) == (1, 3)

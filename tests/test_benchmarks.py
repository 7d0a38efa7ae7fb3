"""The benchmark scripts: their metric by hand, and each script once on a few made-up records."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "cookbook" / "benchmarks"))

import common  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
import run_answer_recall  # noqa: E402
import run_calibration  # noqa: E402
import run_ceiling  # noqa: E402
import run_latency  # noqa: E402
import run_recall_by_kind  # noqa: E402
import run_speed  # noqa: E402
from moos_benchmarks import command_line  # noqa: E402

CONTEXT = "The council of Gilmer met on 3 May. It did not raise the fee of $1,499.00. Nobody complained about that."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pages = {"question": "How much?", "answers": ["$1,499.00"]}
    documents = [{"title": "t", "text": CONTEXT, "is_gold": True}] * 2
    with gzip.open(tmp_path / "nq_20docs.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": str(index), **pages, "documents": documents}) + "\n" for index in range(3))
    return tmp_path


def test_the_scripts_read_and_count_as_the_package_does(data: Path) -> None:
    (first, *others) = common.read_passages(data, "nq_20docs")
    assert first == common.Passage(f"{CONTEXT}\n\n{CONTEXT}", (("$1,499.00",),))
    assert (len(others), len(common.read_passages(data, "nq_20docs", 2))) == (2, 2)
    assert common.survives(["1,499"], common.normalise(CONTEXT))
    environment = common.environment()
    assert environment["packages"]["torch"]
    assert {"git_revision", "processor", "torch_threads", "date"} < set(environment)


def test_the_recall_script_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(run_answer_recall, "evaluate", lambda *given, parts: calls.append((*given, parts)) or [])
    monkeypatch.setattr(sys, "argv", ["run_answer_recall.py", "--data", str(data), "--limit", "2"])
    command_line.start(run_answer_recall.main)
    ((model, output, options, parts),) = calls
    assert (model, output, parts) == ("moos-minilm-en", common.RESULTS, ("recall", "sweep"))
    assert (options.data, options.limit) == (data, 2)


def test_texts_have_the_asked_length(data: Path) -> None:
    texts = run_speed.texts_of(data, 4, 50)
    assert [len(text.split()) for text in texts] == [50] * 4


def test_report_fills_blocks_and_leaves_the_rest() -> None:
    text = "before\n<!-- results:training -->\nold\n<!-- /results -->\nafter\n"
    once = report.rendered(text)
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert report.rendered(once) == once


MEASURED = ("rare_words", "sweep", "ranking", "ranking_reductions", "pairs")


def share(value: float) -> dict[str, object]:
    return {"value": value, "interval": [value - 0.1, value + 0.1], "relative": value}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Result files as `moos_benchmarks.run` writes them, in a folder that report and plots take for theirs."""
    monkeypatch.setattr(report, "HERE", tmp_path)
    monkeypatch.setattr(plots, "PLOTS", tmp_path / "plots")
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def fill(results: Path) -> None:
    def method(value: float | None) -> dict[str, object]:
        return {"answer_recall": value, "interval": None, "kept": 0.5, "rare_words": {"all": value}}

    none = {"difference": None, "interval": None}
    recall = {name: method(0.5) for name in ("moos", "classifier", "idf", "lead")} | {"random": method(None)}
    cell = {**recall, "moos - classifier": none}
    write(results, "answer_recall", {"questions": 3, **dict.fromkeys(report.RATES, cell)}, "xquad_en")
    alphas = {"classifier": 0.4, **{statistic: {"0.95": 0.5, "0.5": 0.3} for statistic in report.STATISTICS}}
    sweep = {"domain": "in", **{rate: {**alphas, "rare_words": alphas} for rate in report.RATES}}
    write(results, "alpha_sweep", sweep, "xquad_en")
    shares = {"max": share(0.7), "bm25": share(0.6), "embeddings": share(0.65), "random": share(0.2)}
    rankers = {name: {"0.25": own, "0.125": own} for name, own in shares.items()}
    difference = {budget: {"difference": 0.1, "interval": [-0.05, 0.2]} for budget in ("0.25", "0.125")}
    differences = {"max - bm25": difference, "max - embeddings": difference}
    table = {"questions": 10, "full": share(0.9), "rankers": rankers, "differences": differences}
    write(results, "ranking", {**table, "model": "max", "sources": {"litm20": table}}, "nq_20docs")
    f1 = {"f1": share(0.7), "precision": 0.8, "recall": 0.6, "keep_rate": 0.4, "f1_at_matched_keep_rate": share(0.75)}
    write(results, "pairs", {"sentences": 2, "keep_rate_of_people": 0.5, "methods": {"model": f1}}, "google")


def read_cell(likely: float, f1: float, **more: object) -> dict[str, object]:
    return {"tokens": 0.25, "log_likelihood": share(likely), "f1": share(f1), "recall": share(f1), **more}


def fill_answers(results: Path) -> None:
    """Ours is ahead in likelihood and behind in F1; a third method does not reach the budget."""
    shares = ("0.25", "0.125", "0.0625")
    methods = {
        "moos": dict.fromkeys(shares, read_cell(-2.0, 0.5)),
        "llmslim": dict.fromkeys(shares, read_cell(-3.0, 0.6, median_seconds=0.2, notes={"above the budget": 1})),
        "grugify": {key: {"tokens": 0.5} for key in shares},
    }
    behind = {"difference": -0.1, "interval": [-0.2, 0.0]}
    ahead = {"difference": 1.0, "interval": [0.5, 1.5]}
    differences = {
        "moos - llmslim": {key: {"log_likelihood": ahead, "f1": behind, "recall": behind} for key in shares},
        "moos - grugify": {key: {} for key in shares},
    }
    bounds = {"whole": read_cell(-1.0, 0.9), "nothing": read_cell(-5.0, 0.0)}
    table = {"questions": 8, "tokens": 2000, "methods": methods, "differences": differences}
    write(results, "answers", {**table, "bounds": bounds}, "hotpotqa")


def test_what_readers_found_is_shown_wins_and_losses(results: Path) -> None:
    names = (
        "answers",
        "answers_short",
        "answers_means",
        "answers_lost",
        "answers_kept",
        "answers_llm",
        "robust_text",
        "end_to_end",
        "end_to_end_short",
        "reader",
    )
    assert {report.BLOCKS[name]() for name in names} == {report.NOT_MEASURED}
    fill_answers(results)
    for name in ("answers", "answers_short"):
        shown = report.BLOCKS[name]()
        assert "| moos | **-2.00** | **-2.00** | **-2.00** | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 |" in shown
        assert "| llmslim | -3.00 | -3.00 | -3.00 | **60.0** |" in shown
        assert "| grugify | - | - |" in shown
    assert "| *whole of the text* | -1.00 |" in report.BLOCKS["answers"]()
    lost = report.BLOCKS["answers_lost"]()
    assert "| hotpotqa | 4x | F1 | llmslim | -10.00 [-20.00, +0.00] | 1 of 1 |" in lost
    assert "nats" not in lost
    means = report.BLOCKS["answers_means"]()
    assert (
        "| llmslim | +1.00 [+0.50, +1.50] | +1.00 [+0.50, +1.50] | +1.00 [+0.50, +1.50] | -10.0 [-20.0, +0.0] |"
        in means
    )
    assert "| grugify | - | - | - | - | - | - |" in means
    kept = report.BLOCKS["answers_kept"]()
    assert "| llmslim | 25.0% | 25.0% | 25.0% | 200 | above the budget: 3 |" in kept


def test_intervals_of_several_sets_are_put_together() -> None:
    narrow, wide = (
        {"difference": own, "interval": [own - below, own + 4.0]} for own, below in ((1.0, 3.0), (3.0, 4.0))
    )
    mean, low, high = report.mean_difference([narrow, wide])
    assert (mean, low) == (2.0, pytest.approx(2.0 - 5.0 / 2))  # sqrt(3^2 + 4^2) = 5, of two sets
    assert high == pytest.approx(2.0 + 32**0.5 / 2)
    assert report.mean_difference([wide]) == pytest.approx((3.0, -1.0, 7.0))


def test_how_sentences_are_kept_is_shown(results: Path) -> None:
    assert report.BLOCKS["whole_from"]() == report.NOT_MEASURED
    methods = {"thinned": {"0.25": read_cell(-2.0, 0.5)}, "whole": {"0.25": read_cell(-3.0, 0.6)}}
    bounds = {"whole": read_cell(-1.0, 0.9)}
    write(results, "whole_from", {"questions": 8, "tokens": 99, "methods": methods, "bounds": bounds}, "hotpotqa")
    shown = report.BLOCKS["whole_from"]()
    assert "**hotpotqa**: 8 questions of 99 tokens" in shown
    assert "| thinned | **-2.00** | 50.0 | 50.0 |" in shown
    assert "| whole | -3.00 | **60.0** | **60.0** |" in shown


def fill_end_to_end(results: Path) -> None:
    def row(total: float, **more: float) -> dict[str, float]:
        return {"total_seconds": total, "compress_seconds": 0.5, "generate_seconds": 0.25, **more}

    cases = [
        {"length": 1000, "without": row(4.0, context_tokens=990), "with": {"4x": row(2.0, speed_up=2.0)}},
        {"length": 2000, "left_out": "left out: predicted 999 s"},
    ]
    pays = {"4x": {"tokens": 300}}
    packages = {"torch": "2", "transformers": "5"}
    environment = {"processor": "P", "torch_threads": 2, "python": "3", "packages": packages, "date": "today"}
    readers = {"smollm2": {"cases": cases, "break_even": pays}}
    payload = {"environment": environment, "rates": {"4x": 0.25}, "readers": readers}
    (results / "end_to_end.json").write_text(json.dumps(payload), encoding="utf-8")


def test_end_to_end_times_are_shown(results: Path) -> None:
    fill_end_to_end(results)
    shown = report.BLOCKS["end_to_end"]()
    assert "| smollm2 | 990 | 4.00 | 2.00 (0.50) | 2.0x |" in shown
    assert "| smollm2 | 2,000 | left out: predicted 999 s | - | - |" in shown
    assert "| smollm2 | pays from | - | 300 tokens | - |" in shown
    short = report.BLOCKS["end_to_end_short"]()
    assert "| smollm2 | 990 | 4.0 | 2.0 | 0.5 | 0.2 | 2.0x |" in short
    assert "2,000" not in short


def test_recall_by_kind_is_shown(results: Path) -> None:
    assert report.BLOCKS["recall_by_kind"]() == report.NOT_MEASURED
    cell = {"kept": 0.5, "recall": 0.9, "crumbs": 7, "lost": 2}
    versions = {"now": {"sets": {"nq": {"questions": 4, "default": cell, "0.5": cell}}}}
    versions["now"]["kinds"] = {"prose": {"default": 1.0, "0.5": 0.9}}
    (results / "recall_by_kind.json").write_text(json.dumps({"versions": versions}), encoding="utf-8")
    shown = report.BLOCKS["recall_by_kind"]()
    assert "| prose: now | 100.0% | 90.0% |" in shown
    assert "| now | 7 | 2 |" in shown


def test_words_that_are_left_alone_and_lost_negations_are_counted() -> None:
    text = "The warranty does not cover water. It rained."
    assert run_recall_by_kind.untrue(text, [(0, 12), (28, 34)]) == (3, 1)  # "The warranty", "water"
    assert run_recall_by_kind.untrue(text, [(0, 34)]) == (0, 0)


def test_ways_to_keep_lines_are_shown(results: Path) -> None:
    assert report.BLOCKS["code_lines"]() == report.NOT_MEASURED
    entry: dict[str, Any] = {"questions": 9, "methods": {"defaults": {"0.25": {"value": 0.9}}}}
    write(results, "gain_ablation", entry, "code_functions")
    assert report.BLOCKS["code_lines"]() == report.NOT_MEASURED  # of an ablation before these ways were in it
    entry["methods"] |= {name: {"0.25": {"value": 0.7}} for name in report.CODE[1:]}
    gained = {"difference": 0.2, "interval": [0.1, 0.3]}
    entry["differences"] = {f"defaults - {name}": {"0.25": gained} for name in report.CODE[1:]}
    write(results, "gain_ablation", entry, "code_functions")
    shown = report.BLOCKS["code_lines"]()
    assert "| defaults | 90.0% |" in shown
    assert "| lines without those that they stand under | 70.0% (+20.0 [+10.0, +30.0]) |" in shown


def test_what_survives_is_shown(results: Path) -> None:
    cell = {
        "kept": share(0.5),
        "survived": {"numbers": share(0.4), "all": share(0.4)},
        "json": {"valid": {"value": None}},
        "tables": {"valid": share(0.3)},
        "altered": share(0.0),
        "errors": {"ValueError: a | b": 2},
    }
    write(results, "robust_text", {"texts": 3, "items": {"numbers": 9}, "0.5": {"moos": cell}}, "tatqa_tables")
    row = "| tatqa_tables | 50% | moos | 50% | 40% | - | - | - | - | - | 30% | 0% | ValueError: a / b: 2 |"
    assert row in report.BLOCKS["robust_text"]()


def write(results: Path, name: str, entry: dict[str, object], data_set: str) -> None:
    (results / f"{name}.json").write_text(json.dumps({"sets": {data_set: entry}}), encoding="utf-8")


def test_blocks_show_what_was_measured(results: Path) -> None:
    assert {report.BLOCKS[name]() for name in MEASURED} == {report.NOT_MEASURED}
    fill(results)
    assert "| xquad_en | 0.5 | 3 | **50.0%** | **50.0%** | **50.0%** | **50.0%** | - | - |" in report.BLOCKS["recall"]()
    assert "| Wikipedia | rare words | 0.33 | class_dist | 40.0% | **50.0%** | 30.0% |" in report.BLOCKS["sweep"]()
    row = "| 10 | 90.0% | 12.5% | **70.0%** | 60.0% | 65.0% | 20.0% | +10.0 [-5.0, +20.0] | +10.0 [-5.0, +20.0] |"
    assert f"| nq_20docs {row}" in report.BLOCKS["ranking"]()
    assert f"| nq_20docs, litm20 {row}" in report.BLOCKS["ranking"]()
    assert "| max | **70.0%** | **70.0%** |" in report.BLOCKS["ranking_reductions"]()
    assert "| google | 2 | model | 70.0% | 80.0% | 60.0% | 75.0% | 40.0% | 50.0% |" in report.BLOCKS["pairs"]()
    assert "| xquad_en | 0.5 | **50.0%**" in report.BLOCKS["rare_words"]()


@pytest.mark.slow
def test_plots_show_what_was_measured(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plots.main()
    assert capsys.readouterr().out == ""
    fill(results)
    runs = [
        {"beta": beta, "seed": seed, "cosine_per_layer": [0.9, 0.5, beta]} for beta in (0.0, 0.1) for seed in (0, 1)
    ]
    (results / "beta_sweep.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")
    plots.main()
    assert capsys.readouterr().out.split() == ["ranking_nq_20docs.svg", "recall.svg", "layers.svg"]
    assert b"beta 0.1" in (plots.PLOTS / "layers.svg").read_bytes()
    fill_answers(results)
    fill_end_to_end(results)
    plots.main()
    assert {"answers.svg", "end_to_end.svg"} < {path.name for path in plots.PLOTS.iterdir()}
    first = {path.name: path.read_bytes() for path in plots.PLOTS.iterdir()}
    plots.main()
    assert {path.name: path.read_bytes() for path in plots.PLOTS.iterdir()} == first  # no date, no random ids


def test_the_ceiling_script_draws_requests(data: Path) -> None:
    rng = random.Random(3)
    rows = [run_ceiling.draw([CONTEXT * 3], rng) for _ in range(60)]
    found = run_ceiling.summary(rows)
    assert found["draws"] == 60
    assert found["above_the_ceiling"] == found["counted_wrongly"] == found["much_unused_and_not_told"] == 0
    above = run_ceiling.summary([{**rows[0], "used": rows[0]["budget"] + 1, "everything": False}, *rows[1:]])
    assert above["above_the_ceiling"] == 1


def test_the_calibration_script_finds_a_target(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, dict[str, object]] = {}
    monkeypatch.setattr(run_calibration, "SETS", ("nq_20docs",))
    monkeypatch.setattr(run_calibration, "write_result", written.__setitem__)
    monkeypatch.setattr(sys, "argv", ["run_calibration.py", "--data", str(data)])
    command_line.start(run_calibration.main)
    found = written["calibration"]
    assert found["sets"]["nq_20docs"]["recall"] == 1.0  # type: ignore[index]
    assert {own["target"] for own in found["targets"]} == {"rate", "threshold"}  # type: ignore[attr-defined]


@pytest.mark.slow
def test_latency_of_known_and_of_new_texts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_latency, "CALLS", 2)
    new = run_latency.new_question([CONTEXT] * 2)
    assert 0 < new["new_question"]["forward_share"] < 1
    assert run_latency.known_texts([CONTEXT] * 2)["milliseconds"] < new["new_question"]["milliseconds"]
    assert run_latency.many([CONTEXT] * 20)["documents"] == 20


@pytest.mark.slow
def test_speed_runs_a_case(data: Path) -> None:
    case = run_speed.run_case(data, "moos", 2, 20)
    assert "error" not in case, case
    assert case["milliseconds"] > 0
    assert 0 < case["forward_share"] < 1
    assert case["kept_tokens"] <= case["original_tokens"] // 2

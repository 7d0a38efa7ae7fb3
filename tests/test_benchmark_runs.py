"""The scripts that bring peers and readers together: each once on eight made-up samples, with tiny readers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "cookbook" / "benchmarks"))

import peers  # noqa: E402
import run_readers  # noqa: E402
import run_robust_text  # noqa: E402
import run_whole_from  # noqa: E402
import train_reader  # noqa: E402
from moos_benchmarks import command_line  # noqa: E402
from moos_benchmarks.data import Answer, SquadPassage, SquadQuestion  # noqa: E402

from moos_integrations.records import Document, Question  # noqa: E402

CONTEXT = "The council of Gilmer met on 3 May. It did not raise the fee of $1,499.00. Nobody complained about that."
OTHER = "Bread is baked from flour and water. The baker of Gilmer sells it warm on http://bread.example/today."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    documents = [{"title": "t", "text": text, "is_gold": text is CONTEXT} for text in (CONTEXT, OTHER)]
    pages = {"question": "When did the council meet?", "answers": ["3 May"], "documents": documents}
    qas = [{"id": "1", "question": "When?", "answers": [{"text": "3 May", "answer_start": CONTEXT.index("3 May")}]}]
    for name in ("hotpotqa", "nq_20docs"):
        write(tmp_path, name, [{"id": str(number), **pages} for number in range(8)])
    passages = [
        {"id": f"{title}{number}", "title": title, "context": text, "qas": qas if text is CONTEXT else []}
        for title in ("A", "B")
        for number, text in enumerate((CONTEXT, OTHER))
    ]
    write(tmp_path, "squad_train", [own for own in passages if own["qas"]] * 4)
    write(tmp_path, "squadshifts_amazon_reviews", [own for own in passages if own["qas"]] * 4)
    return tmp_path


def write(folder: Path, name: str, records: Sequence[dict[str, Any]]) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(own) + "\n" for own in records), encoding="utf-8")


class Half:
    """A peer that keeps the first half; counts how often it is called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, documents: Sequence[str], question: str, budgets: Sequence[int]) -> dict[int, peers.Outcome]:
        self.calls += 1
        text = "\n\n".join(documents)
        note = "above the budget (99 tokens)"
        return {budget: peers.Outcome(text[: len(text) // 2], 9, 0.1, 1, note) for budget in budgets}


def test_what_a_peer_made_is_remembered_across_runs(tmp_path: Path) -> None:
    question = Question("When?", ("3 May",), (Document(CONTEXT, "", True),), "1")
    peer = Half()
    first = run_readers.Remembered(peer, tmp_path / "half.jsonl")(question, [5, 9])
    again = run_readers.Remembered(peer, tmp_path / "half.jsonl")
    assert again(question, [5, 9]) == first
    assert peer.calls == 1
    assert first[5].note == "above the budget"  # without the figure, so that notes can be counted
    again(question, [5])
    assert peer.calls == 2


def test_training_examples_mark_the_answer() -> None:
    start = CONTEXT.index("3 May")
    asked = [SquadQuestion(str(n), "When?", (Answer("3 May", start),)) for n in range(30)]
    guessed = SquadQuestion("g", "When?", (Answer("3 May", start, occurrences=2),))
    passages = [SquadPassage("a", "A", CONTEXT, (*asked, guessed)), SquadPassage("b", "A", f"On 3 May. {OTHER}", ())]
    passages += [SquadPassage(str(n), "B", OTHER, ()) for n in range(5)]
    found = train_reader.examples(passages, seed=0)
    assert len(found) == 30  # a guessed place is no example
    assert len(train_reader.examples(passages, seed=0, count=7)) == 7
    spans = [(context, span) for _, context, span in found]
    assert all(span is None or context[slice(*span)] == "3 May" for context, span in spans)
    assert any(span is None for _, span in spans)
    assert {context for context, span in spans if span is None} == {OTHER}
    assert any(OTHER in context and CONTEXT in context for context, _ in spans)


@pytest.mark.slow
def test_readers_read_ours_and_peers(
    data: Path,
    tmp_path: Path,
    span_model: Path,
    causal_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("bm25s")
    monkeypatch.setattr(run_readers.peers, "peers", lambda names, **_: {name: Half() for name in names})
    command = ["run_readers.py", "--data", str(data), "--sets", "hotpotqa", "--peers", "llmslim", "--limit", "8"]
    command += ["--reader", str(span_model), "--language-model", str(causal_model)]
    monkeypatch.setattr(
        sys, "argv", [*command, "--contexts", str(tmp_path / "kept"), "--output", str(tmp_path / "out")]
    )
    command_line.start(run_readers.main)
    found = json.loads((tmp_path / "out" / "answers.json").read_text(encoding="utf-8"))
    entry = found["sets"]["hotpotqa"]
    assert entry["questions"] == 8
    assert entry["methods"]["moos"]["0.5"]["recall"]["value"] is not None
    assert entry["methods"]["llmslim"]["0.25"] == {
        "tokens": entry["methods"]["llmslim"]["0.5"]["tokens"],
        "median_seconds": 0.1,
        "notes": {"above the budget": 8},
        "noted": 8,
    }
    assert found["settings"]["methods"][-1] == "llmslim"
    assert set(found["peers"]) == {"llmslim"}


@pytest.mark.slow
def test_settings_are_tried_on_other_questions(
    data: Path, span_model: Path, causal_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(run_whole_from, "write_result", written.__setitem__)
    monkeypatch.setattr(run_whole_from.answers, "QUESTIONS", {"hotpotqa": 3})
    command = ["x", "--data", str(data), "--sets", "hotpotqa", "--limit", "8"]
    monkeypatch.setattr(sys, "argv", [*command, "--reader", str(span_model), "--language-model", str(causal_model)])
    command_line.start(run_whole_from.main)
    table = written["whole_from"]["sets"]["hotpotqa"]
    assert table["questions"] == 5  # of eight, after three
    names = ["temperature 0.7, whole from 0.7", "temperature 0.7, whole from 0.3", "temperature 0.7, whole from 0"]
    assert list(table["methods"]) == names
    assert all(cell["log_likelihood"]["value"] < 0 for own in table["methods"].values() for cell in own.values())


@pytest.mark.slow
def test_robust_text_is_counted(data: Path, tmp_path: Path) -> None:
    sets = ["squadshifts_amazon_reviews", "nq_20docs"]
    output = tmp_path / "robust.json"
    arguments = ["--data", str(data), "--sets", sets[0], "--sets", sets[1], "--limit", "8", "--peers", "none"]
    arguments += ["--output", str(output)]
    command_line.start(run_robust_text.main, arguments)
    found = json.loads(output.read_text(encoding="utf-8"))["sets"]
    of_reviews = found["squadshifts_amazon_reviews"]["0.5"]
    protected, plain = (of_reviews[name]["survived"]["numbers"]["value"] for name in ("moos, protect", "moos"))
    assert protected >= plain  # sentences with numbers come first, as far as they fit whole
    for entry in found.values():
        for rate in ("0.5", "0.25"):
            for own in entry[rate].values():
                assert own["altered"]["value"] == 0
                assert own["kept"]["value"] <= float(rate)


@pytest.mark.slow
def test_the_reader_is_trained(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(train_reader, "write_result", written.__setitem__)
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(data), "--output", str(tmp_path / "reader"), "--steps", "2"])
    monkeypatch.setitem(train_reader.SETTINGS, "batch_size", 2)
    command_line.start(train_reader.main)
    assert written["reader"]["held_out_articles"]["questions"] > 0
    assert written["reader"]["among_ten"]["questions"] > 0
    assert (tmp_path / "reader" / "model" / "config.json").exists()

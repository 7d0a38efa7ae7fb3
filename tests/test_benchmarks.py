"""The benchmark scripts: their metric by hand, and each script once on a few made-up records."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "cookbook" / "benchmarks"))

import common  # noqa: E402
import report  # noqa: E402
import run_answer_recall  # noqa: E402
import run_speed  # noqa: E402

CONTEXT = "The council of Gilmer met on 3 May. It did not raise the fee of $1,499.00. Nobody complained about that."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    qas = [{"question": "When?", "answers": [{"text": "3 May", "answer_start": 29}]}]
    squad = {"context": CONTEXT, "qas": qas}
    pages = {"question": "How much?", "answers": ["$1,499.00"], "documents": [{"title": "t", "text": CONTEXT}] * 2}
    long = {"question": "Who?", "answers": ["council of Gilmer"], "text": CONTEXT}
    for name in run_answer_recall.PROSE:
        write(tmp_path / f"{name}.jsonl.gz", [squad] * 3)
    for name in run_answer_recall.OTHER:
        write(tmp_path / f"{name}.jsonl.gz", [pages if name in ("tatqa_tables", "code_functions") else long] * 3)
    write(tmp_path / "nq_20docs.jsonl.gz", [pages] * 3)
    return tmp_path


def write(path: Path, records: list[dict[str, object]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["3 May"], "met on 3 May.", True),
        (["the Council"], "COUNCIL met", True),  # articles and case do not count
        (["3 May"], "13 Maybe", False),  # whole words only
        (["1,499"], "$1,499.00", True),
        (["x", "met"], "they met", True),
        (["!"], "anything", False),  # nothing is left of it
    ],
)
def test_survives(answers: list[str], text: str, expected: bool) -> None:
    assert common.survives(answers, common.normalise(text)) is expected


def test_recall_counts_only_answers_that_were_there(data: Path) -> None:
    (passage, *_) = common.read_passages(data, "xquad_en")
    passages = [common.Passage(passage.text, (("3 May",), ("not in the text",)))]
    survived, present, rate = run_answer_recall.recall(passages, lambda document: np.ones(len(document)), 1.0)
    assert (survived.tolist(), present.tolist(), rate) == ([1], [1], 1.0)
    survived, _, _ = run_answer_recall.recall(passages, lambda document: np.ones(len(document)), 0.0)
    assert survived.tolist() == [0]


def test_intervals_hold_the_mean() -> None:
    values = np.random.default_rng(1).random(200)
    low, high = common.bootstrap_interval(values)
    assert low < values.mean() < high


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


@pytest.mark.slow
def test_answer_recall_runs(data: Path) -> None:
    table, sweep = run_answer_recall.run(data, 2, 1)
    assert set(table) == set(sweep) == {*run_answer_recall.PROSE, *run_answer_recall.OTHER}
    assert all(entry["passages"] == 2 for entry in table.values())
    for method in report.METHODS:
        assert 0 <= table["xquad_en"]["0.5"][method]["answer_recall"] <= 1


@pytest.mark.slow
def test_speed_runs_a_case(data: Path) -> None:
    case = run_speed.run_case(data, "moos", 2, 20)
    assert "error" not in case, case
    assert case["milliseconds"] > 0
    assert 0 < case["forward_share"] < 1
    assert case["kept_tokens"] <= case["original_tokens"] // 2

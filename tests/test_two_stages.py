"""The fits of `run_two_stages.py` and `run_answering.py` on made numbers of which the truth is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "cookbook" / "benchmarks"))
import run_answering
import run_two_stages
from run_two_stages import Row

from moos_integrations.core.answering import ENCODER, READER, probability


def row(name: str, reader: list[float], near: list[float], needed: int, feature: float = 0.0) -> Row:
    count = len(reader)
    flags = np.arange(count) == needed
    return Row(
        name=name,
        reader=np.array(reader),
        cosines=np.stack([np.array(near), np.zeros(count)], 1),
        gates=None,
        needed=flags,
        with_answer=flags,
        cost=np.ones(count),
        features=np.array([feature, 0, 0, 0, 0, 0, 0]),
        documents={READER: np.stack([np.array(reader), np.zeros(count)], 1), ENCODER: np.zeros((count, 4))},
        answers=flags,
    )


def test_the_weight_is_learnt_from_what_tells_the_kinds_of_questions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_two_stages, "_STEPS", 60)
    rng = np.random.default_rng(0)
    search = [row("a", [3.0, 0.0, 0.0], [0.1, 0.9, 0.1], 1, 1 + rng.normal() / 9) for _ in range(6)]
    hops = [row("b", [3.0, 0.0, 0.0], [0.1, 0.9, 0.1], 0, rng.normal() / 9) for _ in range(6)]
    found = run_two_stages.fit([*search, *hops])
    large, small = found.of(search[0].features)[0], found.of(hops[0].features)[0]
    assert large > 4 > small


def test_what_is_kept_is_counted_in_whole_sentences() -> None:
    own = row("a", [1.0, 9.0, 2.0, 0.0], [0.0] * 4, 2)
    assert own.kept(own.reader) == [0.0] * 4
    assert own.kept(np.array([0.0, 0.0, 1.0, 0.0])) == [1.0, 0.0, 0.0, 0.0]
    assert set(run_two_stages.kept_by(own, np.zeros(2))) >= {"reader", "encoder", "fitted on the other half"}


def test_a_calibration_says_how_often_documents_answer() -> None:
    rng = np.random.default_rng(1)
    members = []
    for _ in range(300):
        reader = rng.normal(size=4) * 3
        own = row("a", reader.tolist(), [0.0] * 4, 0)
        answers = rng.random(4) < 1 / (1 + np.exp(-(reader - 1)))
        members.append(Row(**{**vars(own), "answers": answers}))
    found = run_answering.fit(members, READER)
    assert found.bias == pytest.approx(-1, abs=0.3)
    assert found.weights[0] == pytest.approx(1, abs=0.2)
    likely = run_answering.two_fold(members, READER)
    labels = np.concatenate([own.answers for own in members])
    curve = run_answering.reliability(np.concatenate(likely), labels)
    assert curve["expected error"] < 0.05
    assert curve["area"] > 0.8
    table = run_answering.floors(likely, members)["floors"]
    assert table["0.01"]["answered, kept"] > table["0.5"]["answered, kept"] > 0.5
    assert table["0.5"]["without answer, found out"] > table["0.01"]["without answer, found out"]
    assert probability(np.array([0.0])).tolist() == [0.5]

"""Plain methods beside the compressor, and the sets of the part `answers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from moos_benchmarks.answers import plain, read_set

from moos_integrations.core.tokens import token_counter
from moos_integrations.core.types import FloatArray
from moos_integrations.evaluation.measuring import joined
from moos_integrations.records import Document, Question

COUNTER = token_counter("o200k_base")
TEXTS = (
    "The bridge was built by Ada Byron. It is long. Nobody knows how long it is today.",
    "Bread is baked from flour and water. The baker of the town sells it warm in the morning.",
)


def asked() -> Question:
    return Question("Who built the bridge?", ("Ada Byron",), tuple(map(Document, TEXTS)), "q")


def embed(texts: Sequence[str]) -> FloatArray:
    vectors = np.array([[len(text), text.count("e") + 1, "bridge" in text] for text in texts], np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_no_plain_method_is_above_its_ceiling() -> None:
    for name, method in plain(embed, COUNTER).items():
        for ceiling, kept in method(asked(), [3, 9, 20, 500]).items():
            assert COUNTER.count(kept.text) <= ceiling, name
            if ceiling == 500:
                assert kept.text == joined(asked()), name


def test_lead_is_the_beginning() -> None:
    kept = plain(embed, COUNTER)["lead"](asked(), [8])[8].text
    assert TEXTS[0].startswith(kept.rstrip())
    assert kept


def test_the_first_problems_speak_for_all_tasks(tmp_path: Path) -> None:
    records = [
        {"id": f"{task}{number}", "prompt": "Q: 1 + 1?\nA: 2", "question": "2 + 2?", "answer": "4", "task": task}
        for task in ("a", "b", "c")
        for number in range(2)
    ]
    records[0]["rationale"] = "Two and two."
    (tmp_path / "bbh_cot.jsonl").write_text("".join(json.dumps(own) + "\n" for own in records), encoding="utf-8")
    questions, skipped = read_set(tmp_path, "bbh_cot", 4)
    assert ([own.id for own in questions], skipped) == (["a0", "b0", "c0", "a1"], 0)
    assert questions[0].answers == ("Two and two. 4",)
    assert joined(questions[1]) == "Q: 1 + 1?\nA: 2"

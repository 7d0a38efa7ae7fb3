"""The benchmark script: no question is both learnt and measured, and the choice of the recipe."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "cookbook" / "benchmarks"))
pytest.importorskip("common")

import run_comi  # noqa: E402


def write(folder: Path, name: str, rows: list[dict]) -> None:
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def asked(name: str, count: int) -> list[dict]:
    documents = [
        {"title": "T", "text": "It is in Rome.", "is_gold": True},
        {"title": "U", "text": "No.", "is_gold": False},
    ]
    return [
        {"id": f"{name}{i}", "question": f"{name} {i}?", "answers": ["Rome"], "documents": documents}
        for i in range(count)
    ]


def passages(name: str, count: int) -> list[dict]:
    answers = [{"text": "Rome", "answer_start": 9}]
    return [
        {
            "id": f"{name}{i}",
            "title": f"{name} article {i // 2}",
            "context": "It is in Rome.",
            "qas": [{"id": f"{name}{i}", "question": f"{name} {i}?", "answers": answers}],
        }
        for i in range(count)
    ]


def test_no_question_is_both_learnt_and_measured(tmp_path):
    data, more = tmp_path / "data", tmp_path / "more"
    for folder in (data, more):
        folder.mkdir()
    write(data, "squad_train", passages("squad", 300))
    for folder, name in (
        (data, "hotpotqa"),
        (data, "nq_10docs"),
        *((more, own) for own in ("nq_oracle", "qed", "hotpotqa_more")),
    ):
        write(folder, name, asked(name, 600))
    write(more, "tydiqa_en", passages("tydiqa_en", 10))
    run_comi.data(data, more, tmp_path)
    lines = (tmp_path / "data.jsonl").read_text(encoding="utf-8").splitlines()
    learnt = {json.loads(own)["question"] for own in lines}
    for name in run_comi.MEASURED:
        measured = {own.question for own in run_comi.measured_questions(data, name, 50)}
        assert measured
        assert not measured & learnt
    assert {own.split()[0] for own in learnt} == {"squad", "hotpotqa", "nq_oracle", "qed", "hotpotqa_more", "tydiqa_en"}


def test_what_helps_goes_into_the_recipe():
    def row(value: float, **changes) -> dict:
        return {"changes": changes, "held_out_log_likelihood": {"4": value, "8": value - 1}}

    found = {
        "recipe": row(-3.0),
        "worse": row(-3.1, learning_rate=1.0),
        "as good": row(-2.99, method={"scale": "as_is"}),
        "better": row(-2.8, method={"token_residual": 1.0, "mean_residual": 0.1}),
        "best": row(-2.5, method={"mean_residual": 0.5}),
        "too large": row(-2.7, method={"encoder_layers": 8}),
        "reconstruction first": row(-3.2, reconstruction_steps=30),
    }
    method = {"token_residual": 1.0, "mean_residual": 0.5, "encoder_layers": run_comi.LARGEST_ENCODER}
    assert run_comi.what_helps(found) == {"method": method, "reconstruction_steps": 0}
    found["reconstruction first"] = row(-2.0, reconstruction_steps=30)
    assert run_comi.what_helps(found) == {"method": method}


def test_each_try_is_a_valid_recipe():
    for changes in run_comi.TRIES.values():
        assert run_comi._changed("llm", changes).base == "llm"

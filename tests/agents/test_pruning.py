"""Pruned results of tools: within their budget, JSON stays JSON, and all of it can be read again."""

from __future__ import annotations

import json
import logging
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moos_integrations import ConfigError, ContextCompressor, InputError
from moos_integrations.agents import ToolOutputPruner, narrowing, pruning
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


def test_marks_say_which_lines_to_read(compressor: ContextCompressor) -> None:
    text, pruner = log(Random(5)), made(compressor)
    kept = pruner.prune(text, "Which one is idle?", budget_tokens=300).text.splitlines()[:-1]
    marks = [re.fullmatch(r"\[\.\.\. lines? (\d+)(?:-(\d+))? omitted\]", line) for line in kept]
    assert any(marks)
    back = []
    for line, mark in zip(kept, marks, strict=True):
        first, last = (int(mark[1]), int(mark[2] or mark[1])) if mark else (0, 0)
        back.append(pruner.read(text, start_line=first, end_line=last, max_tokens=9_999) if mark else line)
    assert "\n".join(back) == text


@pytest.mark.parametrize("indent", [None, 1])
def test_json_may_say_how_many_items_were_left_out(compressor: ContextCompressor, indent: int | None) -> None:
    text = json.dumps({"items": [{"id": i, "host": f"db-{i}"} for i in range(80)], "total": 80}, indent=indent)
    pruner = ToolOutputPruner(compressor=compressor, json_counts=True, protect=["total"])
    output = pruner.prune(text, "Which host is up?", budget_tokens=200)
    assert compressor.counter.count(output.text) == output.kept_tokens <= 200
    items = json.loads(output.text)["items"]
    (said,) = re.fullmatch(r"\[\.\.\. (\d+) items omitted\]", items[-1]).groups()  # type: ignore[union-attr]
    assert len(items) - 1 + int(said) == 80


HUGE_LOG = "\n".join(f"12:00:00 INFO worker {i % 97} is idle, round {i}" for i in range(4_000))
HUGE_LOG = HUGE_LOG.replace("round 2345", "round 2345: ERROR the lease of quokka expired")
HUGE_JSON = json.dumps({"ok": True, "items": [{"id": i, "host": f"db-{i}", "state": "up"} for i in range(2_000)]})


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of what the model reads else."""
    for module in (narrowing, pruning):
        monkeypatch.setattr(module, "LONGEST", 5_000)


@pytest.mark.usefixtures("narrow")
def test_a_huge_log_is_narrowed_without_the_model(compressor: ContextCompressor) -> None:
    output = made(compressor).prune(HUGE_LOG, "the 777 round of worker 17 quokka", budget_tokens=400)
    assert output.kept_tokens <= 400
    assert "lease of quokka expired" in output.text
    lines = HUGE_LOG.splitlines()
    shown = output.text.splitlines()[:-1]
    assert shown[-1] == lines[-1]
    gone = [re.search(r"lines? (\d+)(?:-(\d+))? omitted", line) for line in shown]
    counts = [int(mark[2] or mark[1]) - int(mark[1]) + 1 if mark else 1 for mark in gone]
    assert sum(counts) == len(lines)
    places = [sum(counts[:number]) for number in range(len(shown))]
    assert all(mark or shown[n] == lines[places[n]] for n, mark in enumerate(gone))


@pytest.mark.usefixtures("narrow")
def test_huge_json_stays_json(compressor: ContextCompressor) -> None:
    pruner = ToolOutputPruner(compressor=compressor, protect=["db-1234"])
    output = pruner.prune(HUGE_JSON, "Is db-1234 up?", budget_tokens=400)
    items = json.loads(output.text)["items"]
    assert {"id": 1234, "host": "db-1234", "state": "up"} in items
    assert all(item in json.loads(HUGE_JSON)["items"] for item in items)


@pytest.mark.parametrize(
    "text",
    ["\x00\x01\x02\ufffd" * 5_000, '{"a": "' + "x" * 40_000 + '"}', "ab" * 30_000, "base64+/" * 20_000],
)
@pytest.mark.usefixtures("narrow")
def test_data_that_is_no_text_is_not_shown_but_can_be_read(compressor: ContextCompressor, text: str) -> None:
    output = made(compressor).prune(text, "Why?", budget_tokens=200)
    assert output.pruned
    assert output.kept_tokens <= 200
    assert output.output_id in output.text
    part = made(compressor).read(text, max_tokens=100)
    said, _, first = part.partition("\n")
    assert "line 1" in said
    assert text.startswith(first)
    assert 0 < compressor.counter.count(first) <= 100


def test_invalid_json_is_pruned_as_text(compressor: ContextCompressor) -> None:
    text = json.dumps([{"id": i, "host": f"db-{i}"} for i in range(80)], indent=1)[:-1]
    output = made(compressor).prune(text, "Which?", budget_tokens=200)
    assert output.pruned
    assert output.kept_tokens <= 200


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

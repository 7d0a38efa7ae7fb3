"""Chat messages: only what tools returned and what was retrieved is pruned, the same way in every turn."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moos_integrations import ContextCompressor
from moos_integrations.serving.chat import FirstGoals, HashingPruner, PrunedChat, prune_chat
from moos_integrations.serving.originals import HASH_LENGTH, Originals, hash_of

BUDGET = 120


def log(random: Random, lines: int = 60) -> str:
    return "\n".join(f"12:00:{i:02} INFO worker {random.randint(0, 99)} is idle" for i in range(lines))


def pruned(
    compressor: ContextCompressor,
    messages: list[Any],
    originals: Originals | None = None,
    goals: FirstGoals | None = None,
) -> PrunedChat:
    pruner = HashingPruner(compressor=compressor, budget_tokens=BUDGET)
    kept = Originals(10_000_000) if originals is None else originals
    return prune_chat(messages, pruner, compressor.counter.count, kept, goals)


def turn(random: Random, number: int) -> list[dict[str, Any]]:
    """A question, a call and a result in one of the forms that gateways send, and an answer."""
    result, arguments = log(random, random.choice([2, 40, 60])), {"path": f"/var/log/{number}"}
    name, text = f"call{number}", {"type": "text", "text": "What is idle?"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    openai = {"id": name, "type": "function", "function": {"name": "read", "arguments": json.dumps(arguments)}}
    forms: list[list[dict[str, Any]]] = [
        [
            {"role": "assistant", "content": None, "tool_calls": [openai]},
            {"role": "tool", "tool_call_id": name, "content": result},
        ],
        [
            {"role": "assistant", "content": None, "tool_calls": [openai]},
            {"role": "tool", "tool_call_id": name, "content": [{"type": "text", "text": result}, image]},
        ],
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": name, "name": "read", "input": arguments}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name, "content": result}]},
        ],
        [
            {"type": "function_call", "call_id": name, "name": "read", "arguments": json.dumps(arguments)},
            {"type": "function_call_output", "call_id": name, "output": result},
        ],
        [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": result}}, text]}],
        [{"role": "user", "content": [{"type": "search_result", "content": [{"type": "text", "text": result}]}, text]}],
    ]
    question = {"role": "user", "content": random.choice(["Which worker is idle?", [text, image]])}
    return [question, *random.choice(forms), {"role": "assistant", "content": log(random)}]


@settings(max_examples=15)
@given(seed=st.integers(0, 9_999), turns=st.integers(1, 4), data=st.data())
def test_a_conversation_that_has_grown_has_the_same_bytes_in_its_earlier_turns(
    compressor: ContextCompressor, seed: int, turns: int, data: st.DataObject
) -> None:
    random = Random(seed)
    messages = [{"role": "system", "content": "Be brief."}]
    for number in range(turns):
        messages += turn(random, number)
    before = copy.deepcopy(messages)
    whole = pruned(compressor, messages)
    assert messages == before, "the request is not changed"
    border = data.draw(st.integers(0, len(messages)))
    assert pruned(compressor, messages[:border]).messages == whole.messages[:border]
    assert whole.tokens_after == pruned(compressor, whole.messages).tokens_before <= whole.tokens_before
    for old, new in zip(messages, whole.messages, strict=True):
        if old.get("role") in ("system", "assistant") or (
            isinstance(old.get("content"), str) and old["role"] == "user"
        ):
            assert new is old


def test_a_result_keeps_its_bytes_where_a_gateway_sends_only_parts(bundled: ContextCompressor) -> None:
    words = Random(3)
    result = " ".join(f"Room {i} was painted by {words.choice(['Ada', 'Ben', 'Cora'])}." for i in range(150))
    call = {"id": "1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    question = {"role": "user", "content": "Who painted room 77?"}
    answer = {"role": "tool", "tool_call_id": "1", "content": result}
    whole = [question, {"role": "assistant", "tool_calls": [call]}, answer]
    goals = FirstGoals()
    part = pruned(bundled, [answer], goals=goals).messages[-1]
    assert pruned(bundled, whole, goals=goals).messages[-1] == part
    assert pruned(bundled, whole).messages[-1] != part, "the question matters where it comes with the result"
    other = {**answer, "tool_call_id": "2"}
    assert pruned(bundled, [question, other], goals=goals).messages[-1]["content"] != part["content"]
    few = FirstGoals(1)
    assert [few.first(name, "text", name) for name in ("a", "a", "b", "a")] == ["a", "a", "b", "a"]
    assert few.first("a", "text", "new") == "a"
    assert few.first(None, "text", "new") == "new"


@pytest.mark.parametrize("seed", range(6))
def test_what_was_pruned_can_be_read_again(compressor: ContextCompressor, seed: int) -> None:
    originals, result = Originals(10_000_000), log(Random(seed))
    chat = pruned(compressor, [{"role": "tool", "tool_call_id": "1", "content": result}], originals)
    (message,) = chat.messages
    assert compressor.counter.count(message["content"]) <= BUDGET
    assert chat.hashes == [hash_of(result)]
    assert f"hash={hash_of(result)}" in message["content"]
    assert len(hash_of(result)) == HASH_LENGTH
    assert originals.get(hash_of(result)) == result


UNTOUCHED: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": True, "content": "LOG"}]}],
    [{"role": "tool", "tool_call_id": "1", "status": "error", "content": "LOG"}],
    [{"role": "user", "content": "LOG"}, {"role": "system", "content": "LOG"}, {"role": "assistant", "content": "LOG"}],
    [
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "function": {"name": "headroom_retrieve", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "LOG"},
    ],
    [{"role": "tool", "content": None}, {"role": "tool"}, {}, {"role": "tool", "content": [{"type": "image"}, "x", 3]}],
    [{"role": "assistant", "tool_calls": [None, {"id": 3}, {"id": "1", "function": None}], "content": [None, 3]}],
    [{"role": ["user"], "content": {"a": "LOG"}}, {"role": "tool", "tool_call_id": [], "name": 3, "content": {}}],
    [{"role": "user", "content": [{"type": "document", "source": {"type": "base64", "data": "LOG"}}]}],
    [{"type": "function_call", "call_id": "1", "name": None, "arguments": "{"}, {"type": ["x"], "role": "tool"}],
]


@pytest.mark.parametrize("messages", UNTOUCHED)
def test_errors_images_and_broken_messages_stay_as_they_are(
    compressor: ContextCompressor, messages: list[dict[str, Any]]
) -> None:
    filled = json.loads(json.dumps(messages).replace('"LOG"', json.dumps(log(Random(1)))))
    chat = pruned(compressor, filled)
    assert chat.messages == filled
    assert chat.tokens_before == chat.tokens_after
    assert not chat.hashes


def test_full_texts_are_kept_in_a_limited_memory_the_last_used_longest() -> None:
    originals = Originals(1_000)
    texts = [letter * 100 for letter in "abc"]
    names = [originals.put(text) for text in texts]
    assert [originals.get(name) for name in names] == texts
    originals.get(names[0])
    originals.put("d" * 100)
    originals.put("d" * 100)
    assert [originals.get(name) is not None for name in names] == [True, False, True]
    assert originals.get(originals.put("x" * 2_000)) is None
    assert len(originals) == 3
    assert originals.get(names[0][:-1] + "z") is None
    assert originals.get("") is None

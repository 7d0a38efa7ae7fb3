"""Chat messages: what tools returned and what was retrieved is pruned; all else passes untouched.

The pruned text of a message depends only on the messages before it, and on the settings. A conversation that has grown
gets the same bytes for its earlier messages again, so that a provider's prompt cache stays valid. Gateways send only a
part of a conversation: a result of a tool is therefore pruned for the goal that it came with first (`FirstGoals`).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moos_integrations.agents.pruning import READ_TOOL, ToolOutputPruner, goal_of
from moos_integrations.serving.originals import Originals, hash_of

RETRIEVE_TOOL = "headroom_retrieve"
"""Name of the tool that gateways add for reading the text of a hash."""

_NEVER_PRUNED = (READ_TOOL, RETRIEVE_TOOL)  # what they return was asked for
_TOOL_ROLES = ("tool", "function")
_TEXT_PARTS = ("text", "input_text", "output_text")


class FirstGoals:
    """For which goal each result of a tool was pruned when it came first; safe to share between threads."""

    def __init__(self, most: int = 10_000) -> None:
        """Remember at most so many results; the oldest go first."""
        self._goals: OrderedDict[tuple[str, str], str | None] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def first(self, call_id: Any, text: str, goal: str | None) -> str | None:
        """The goal that this result of this call had when it came first; now the given one, if it never came."""
        if not isinstance(call_id, str):
            return goal
        with self._lock:
            found = self._goals.setdefault((call_id, hash_of(text)), goal)
            while len(self._goals) > self._most:
                self._goals.popitem(last=False)
        return found


class HashingPruner(ToolOutputPruner):
    """A pruner whose note has the hash of the full text, in the form that gateways look for."""

    def note(self, text: str, name: str, path: str | None) -> str:
        """The line at the end of a pruned text."""
        lines = text.count("\n") + 1
        return f"[pruned: a part of {lines} lines; all of it: hash={hash_of(text)}]"


@dataclass
class PrunedChat:
    """What became of a conversation.

    Attributes:
        messages: As they came, with the pruned texts in their places.
        tokens_before: Tokens of all texts in the messages.
        tokens_after: Tokens of all texts in the pruned messages.
        hashes: Of the full texts that were pruned, in order.
    """

    messages: list[Any]
    tokens_before: int = 0
    tokens_after: int = 0
    hashes: list[str] = field(default_factory=list)


def prune_chat(
    messages: Sequence[Mapping[str, Any]],
    pruner: ToolOutputPruner,
    count: Callable[[str], int],
    originals: Originals,
    goals: FirstGoals | None = None,
) -> PrunedChat:
    """Prune the texts that tools returned or that were retrieved.

    Pruned are messages with the role "tool" or "function", parts `tool_result`, items `function_call_output`, and parts
    `document` and `search_result`. The goal is the last text of the user up to there, and the call that the text
    answers. Errors, images, and all other texts stay as they are.

    Args:
        messages: In the form of OpenAI's chat completions or responses, or of Anthropic's messages.
        pruner: Prunes one text for a goal.
        count: Counts tokens.
        originals: Takes the full texts.
        goals: Of results that came before; None for none.
    """
    chat = _Chat(pruner, originals, goals or FirstGoals())
    done = PrunedChat([chat.message(message) for message in messages])
    done.hashes = list(dict.fromkeys(chat.hashes))
    done.tokens_before = sum(count(text) for message in messages for text in texts_of(message))
    done.tokens_after = done.tokens_before - chat.saved
    return done


def texts_of(message: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a message that a model reads, arguments of calls included."""
    for name in ("content", "output", "arguments"):
        yield from _texts(message.get(name))
    for call in _calls_in(message):
        if call.arguments is not None and "arguments" not in message:
            yield call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name in ("text", "content", "output"):
            yield from _texts(value.get(name))
        source = value.get("source")
        if value.get("type") == "document" and isinstance(source, Mapping) and source.get("type") == "text":
            yield from _texts(source.get("data"))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


@dataclass(frozen=True)
class _Call:
    """A call of a tool, as the model wrote it."""

    name: str | None
    arguments: Any


class _Chat:
    """Goes through a conversation from its start: knows the last text of the user and the calls so far."""

    def __init__(self, pruner: ToolOutputPruner, originals: Originals, goals: FirstGoals) -> None:
        self._pruner, self._originals, self._goals = pruner, originals, goals
        self._question: str | None = None
        self._calls: dict[str, _Call] = {}
        self.hashes: list[str] = []
        self.saved = 0

    def message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """The message with pruned texts; the message itself if there are none."""
        if message.get("role") == "user":
            self._question = _question(message.get("content")) or self._question
        for name, call in _named_calls_in(message):
            self._calls[name] = call
        if message.get("role") in _TOOL_ROLES:
            return self._result(message, "content", message.get("tool_call_id"), message.get("name"))
        if message.get("type") == "function_call_output":
            return self._result(message, "output", message.get("call_id"), None)
        if message.get("role") == "user" and isinstance(message.get("content"), list):
            return _with(message, "content", [self._part(part) for part in message["content"]])
        return message

    def _part(self, part: Any) -> Any:
        """A part of a user's message."""
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "tool_result":
            return self._result(part, "content", part.get("tool_use_id"), None)
        if kind == "search_result":
            return _with(part, "content", self._content(part.get("content"), goal_of(self._question)))
        source = part.get("source") if kind == "document" else None
        if isinstance(source, Mapping) and source.get("type") == "text":
            return _with(part, "source", _with(source, "data", self._content(source["data"], goal_of(self._question))))
        return part

    def _result(self, holder: Mapping[str, Any], name: str, call_id: Any, tool: Any) -> Mapping[str, Any]:
        """What a tool returned; errors stay as they are."""
        call = self._calls.get(call_id) if isinstance(call_id, str) else None
        tool = (call.name if call else None) or (tool if isinstance(tool, str) else None)
        if holder.get("is_error") or holder.get("status") == "error" or (tool or "").endswith(_NEVER_PRUNED):
            return holder
        goal = goal_of(self._question, tool, call.arguments if call else None)
        return _with(holder, name, self._content(holder.get(name), goal, call_id))

    def _content(self, content: Any, goal: str | None, call_id: Any = None) -> Any:
        """A string, or parts with text, pruned."""
        if isinstance(content, str):
            return self._pruned(content, goal, call_id)
        if not isinstance(content, list):
            return content
        return [
            _with(part, "text", self._pruned(part["text"], goal, call_id))
            if isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)
            else part
            for part in content
        ]

    def _pruned(self, text: str, goal: str | None, call_id: Any) -> str:
        output = self._pruner.prune(text, self._goals.first(call_id, text, goal))
        if not output.pruned:
            return text
        self.saved += output.original_tokens - output.kept_tokens
        self.hashes.append(self._originals.put(text))
        return output.text


def _with(holder: Mapping[str, Any], name: str, value: Any) -> Mapping[str, Any]:
    """A copy with another value; the same object if the value is the same."""
    return holder if holder.get(name) == value else {**holder, name: value}


def _question(content: Any) -> str | None:
    """What the user wrote in a message, without what was retrieved."""
    if isinstance(content, str):
        return content.strip() or None
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS]
    return "\n".join(text for text in texts if isinstance(text, str)).strip() or None


def _named_calls_in(message: Mapping[str, Any]) -> Iterator[tuple[str, _Call]]:
    """Ids and calls that a message of the model has."""
    for call in _dicts(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(call.get("id"), str) and isinstance(function, Mapping):
            yield call["id"], _Call(_string(function.get("name")), _arguments(function.get("arguments")))
    for part in _dicts(message.get("content")):
        if part.get("type") == "tool_use" and isinstance(part.get("id"), str):
            yield part["id"], _Call(_string(part.get("name")), part.get("input"))
    if message.get("type") == "function_call" and isinstance(message.get("call_id"), str):
        yield message["call_id"], _Call(_string(message.get("name")), _arguments(message.get("arguments")))


def _calls_in(message: Mapping[str, Any]) -> Iterator[_Call]:
    return (call for _, call in _named_calls_in(message))


def _dicts(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _arguments(text: Any) -> Any:
    """Arguments as values, if they are JSON."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text

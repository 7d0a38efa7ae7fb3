"""Finds the question in what a chain or a graph passes on: a dict or another state, a string, or messages.

Messages are those of LangChain, dicts with `role` and `content`, or pairs of both. They are known by their form, so
that no framework is imported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moos_integrations.errors import InputError

QUESTION_KEYS = ("question", "query", "input", "user_query", "user_question", "user_input", "search_query", "messages")
"""Keys that may have the question, in this order. `messages` comes last: elsewhere, it may be condensed already."""

_HUMAN = ("human", "user")


def as_mapping(given: Any) -> Mapping[str, Any] | None:
    """A dict, or the fields of a pydantic model or dataclass, as states of graphs are; None for anything else."""
    if isinstance(given, Mapping):
        return given
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        return {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    fields = getattr(type(given), "model_fields", None)
    if isinstance(fields, Mapping):
        return {name: getattr(given, name) for name in fields}
    return None


def question_in(state: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first question under the keys; None, blank values and messages without a human one are skipped.

    Raises:
        InputError: If a key has something that cannot be a question.
    """
    for key in keys:
        question = _question(state[key], key) if key in state else None
        if question is not None:
            return question
    return None


def checked_question(question: Any, key: str = "query") -> str | None:
    """The question as a string; None for none.

    Args:
        question: A string, None, a message, messages, or content blocks.
        key: Where it was found, for the error.

    Raises:
        InputError: If it is anything else.
    """
    return _question(question, key)


def _question(value: Any, key: str) -> str | None:
    messages = _messages(value)
    if messages is not None:
        human = [message for message in messages if _role(message) in _HUMAN]
        value = _content(human[-1]) if human else None
    text = None if _is_list_of_strings(value) and messages is None else _text(value)
    if text is None and value is not None:
        raise InputError(
            f"Expected the query under {key!r} as a string, messages or None, got {type(value).__name__}. If the query "
            "is elsewhere, name its key with `query_key`."
        )
    return text if text and text.strip() else None


def _messages(value: Any) -> list[Any] | None:
    """The messages in a value; None if it has none."""
    if hasattr(value, "to_messages"):  # a prompt
        value = value.to_messages()
    if _role(value) is not None:
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        members = list(value)
        if all(_role(member) is not None for member in members):
            return members
    return None


def _role(message: Any) -> str | None:
    """Who wrote a message; None if it is no message."""
    if isinstance(message, Mapping):
        role = message.get("role", message.get("type")) if "content" in message else None
    elif isinstance(message, (tuple, list)):
        role = message[0] if len(message) == 2 and isinstance(message[1], (str, list)) else None
        role = role if role in (*_HUMAN, "ai", "assistant", "system", "tool", "developer", "placeholder") else None
    else:
        role = getattr(message, "type", None) if hasattr(message, "content") else None
        role = role or getattr(message, "role", None)
        role = getattr(role, "value", role)
    return role if isinstance(role, str) else None


def _content(message: Any) -> Any:
    if isinstance(message, Mapping):
        return message["content"]
    return message[1] if isinstance(message, (tuple, list)) else message.content


def _text(value: Any) -> str | None:
    """A string, or the text of content blocks; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        blocks = list(value)
        if all(isinstance(block, str) or (isinstance(block, Mapping) and "type" in block) for block in blocks):
            return "\n".join(_texts_of(blocks))
    return None


def _is_list_of_strings(value: Any) -> bool:
    """Whether these are strings without types: in a message, parts of it; elsewhere perhaps several questions."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(member, str) for member in value)


def _texts_of(blocks: Sequence[Any]) -> Iterator[str]:
    for block in blocks:
        text = block if isinstance(block, str) else block.get("text")
        if isinstance(text, str):  # not an image or a file
            yield text

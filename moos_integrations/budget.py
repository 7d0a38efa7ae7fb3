"""How many tokens of an LLM's context window are left for retrieved context: `budget_for`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moos_integrations.core.checks import check_whole_number
from moos_integrations.core.tokens import TokenCounter, estimated, token_counter
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.messages import warn_once

TOKENS_PER_MESSAGE = 8
"""Margin for what a chat template puts around a message: its role and its borders. Known templates need 3 to 6."""
TOKENS_PER_PROMPT = 16
"""Margin for the beginning of a prompt and of the answer, and for tokens that are cut otherwise where the context meets
the prompt."""

# Input tokens of models that their makers host, as known in November 2026, not checked with their services. What a
# server of open weights takes depends on how it was started, so those are not here. The first that fits counts.
_WINDOWS: tuple[tuple[str, int], ...] = (
    (r"gpt-5[\d.]*-chat", 128_000),
    (r"gpt-5", 272_000),
    (r"gpt-4\.1", 1_047_576),
    (r"(chatgpt|gpt)-4o|gpt-4-turbo|gpt-4-(1106|0125|vision)|gpt-4\.5", 128_000),
    (r"gpt-4-32k", 32_768),
    (r"gpt-4(-0314|-0613)?(?![\w.-])", 8_192),
    (r"gpt-3\.5-turbo-(instruct|0613|0301)", 4_096),
    (r"gpt-3\.5-turbo|gpt-35-turbo", 16_385),
    (r"o1-(mini|preview)", 128_000),
    (r"o(1|3|3-mini|4-mini)(-pro)?(-20\d\d-\d\d-\d\d)?(?![\w.-])", 200_000),
    (r"claude-(instant|v?2\.0|v2(?![.:\d]))", 100_000),
    (r"claude-(v?2[.:]1|3|(opus|sonnet|haiku)-[345])", 200_000),
    (r"gemini-(1\.5-flash|2|3|flash-latest|pro-latest)", 1_048_576),
    (r"gemini-1\.5-pro", 2_097_152),
)


def budget_for(
    model: Any,
    prompt: Any,
    max_answer_tokens: int,
    *,
    context_window: int | None = None,
    tokenizer: Any = None,
) -> int:
    """The `budget_tokens` that an LLM's context window leaves for retrieved context.

    The window, less the prompt without its context, less the answer. A margin is left for the chat template:
    `TOKENS_PER_MESSAGE` (8) for each message and `TOKENS_PER_PROMPT` (16) for the whole; a string is one message.

    Args:
        model: A name such as "gpt-4o", a chat model of LangChain, or an LLM of LlamaIndex.
        prompt: All that the LLM sees besides the context: a string, or messages of LangChain or LlamaIndex, pairs of
            role and text, or dicts with `role` and `content`. Tools and schemas are not in it.
        max_answer_tokens: Most tokens of the answer, with those that the model thinks.
        context_window: Most tokens of prompt and answer together. None: from the profile of a LangChain model, from the
            metadata of a LlamaIndex LLM, or by name for models that OpenAI, Anthropic and Google host. The windows by
            name are as known in November 2026. Makers change them, and grant larger ones to some: compare with your
            provider's page, and pass the window where it matters.
        tokenizer: Counts tokens; see `CompressorConfig.tokenizer`, which should be the same. None: by the model's name,
            or else the `get_num_tokens` of a LangChain model. Of models without a public tokenizer (Claude, Gemini) the
            counts are approximate; this is logged once.

    Returns:
        Tokens, 1 or more.

    Raises:
        ConfigError: If a number is out of range, the window or the tokenizer is unknown, or nothing is left.
        InputError: If the prompt is neither text nor messages, or has something else than text.
        TokenizerError: If tokens cannot be counted.

    Examples:
        >>> from moos_integrations import budget_for
        >>> budget_for("gpt-4o", "Answer from the context.", 1_000)
        126971
    """
    check_whole_number("max_answer_tokens", max_answer_tokens, 0)
    if context_window is None:
        context_window = _window_of(model)
    else:
        check_whole_number("context_window", context_window, 1)
    texts = list(_texts_in(prompt))
    counter = _counter_of(model) if tokenizer is None else token_counter(tokenizer)
    for notice in estimated(counter):
        warn_once(notice)
    used = sum(counter.count(text) + TOKENS_PER_MESSAGE for text in texts) + TOKENS_PER_PROMPT
    left = context_window - used - max_answer_tokens
    if left < 1:
        raise ConfigError(
            f"Nothing is left for context: the window has {context_window} tokens, the prompt needs {used} with its "
            f"margin, and the answer {max_answer_tokens}. Shorten the prompt, lower `max_answer_tokens`, or take a "
            "model with a larger window."
        )
    return left


# --- the model --------------------------------------------------------------------------------------------------------


def _window_of(model: Any) -> int:
    """What the model says of its window, or what is known by its name."""
    profile = getattr(model, "profile", None)
    stated = [
        getattr(getattr(model, "metadata", None), "context_window", None),  # of LlamaIndex
        profile.get("max_input_tokens") if isinstance(profile, Mapping) else None,  # of LangChain
    ]
    for value in stated:
        if isinstance(value, int) and value > 0:
            return value
    name = _name_of(model)
    for pattern, window in _WINDOWS:
        if name is not None and re.search(rf"(?<![a-z\d])(?:{pattern})", name.lower()):
            return window
    what = f"the model {name!r}" if name else f"a {type(model).__name__}"
    raise ConfigError(
        f"The context window of {what} is not known. Pass it as `context_window`; for open models, what their server "
        "was started with."
    )


def _name_of(model: Any) -> str | None:
    """The model's name; None if it has none."""
    names = [model, getattr(getattr(model, "metadata", None), "model_name", None)]
    names += [getattr(model, name, None) for name in ("model_name", "model", "model_id", "deployment_name")]
    return next((name for name in names if isinstance(name, str) and name), None)


def _counter_of(model: Any) -> TokenCounter:
    """The counter for the model's name, or else the model's."""
    name = _name_of(model)
    if name is not None:
        try:
            return token_counter(name.rpartition("/")[2])
        except ConfigError:
            pass  # not a known name
    if hasattr(model, "get_num_tokens"):
        return token_counter(model)
    what = f"the model {name!r}" if name else f"a {type(model).__name__}"
    raise ConfigError(
        f"The tokenizer of {what} is not known. Pass `tokenizer`: a name such as 'o200k_base', a Hugging Face "
        "tokenizer, or a callable that counts tokens."
    )


# --- the prompt -------------------------------------------------------------------------------------------------------


def _texts_in(prompt: Any) -> Iterator[str]:
    """The text of each message; of a string, the string."""
    if isinstance(prompt, str):
        yield prompt
        return
    if hasattr(prompt, "to_messages"):  # LangChain's prompt values
        prompt = prompt.to_messages()
    if isinstance(prompt, Mapping) or hasattr(prompt, "content"):
        prompt = [prompt]
    if not isinstance(prompt, Sequence) or isinstance(prompt, (bytes, bytearray)):
        raise InputError(
            f"Expected the prompt as a string or messages, got {type(prompt).__name__}. Fill a template first, with an "
            "empty context: template.format_messages(context='', question=question)."
        )
    for message in prompt:
        yield _text_of(message)


def _text_of(message: Any) -> str:
    """The text of a message, with the calls of tools in it."""
    if isinstance(message, str):
        return message
    if isinstance(message, Mapping) and "content" in message:
        content, calls = message["content"], message.get("tool_calls")
    elif isinstance(message, (tuple, list)) and len(message) == 2:
        content, calls = message[1], None
    elif hasattr(message, "content"):
        content, calls = getattr(message, "blocks", message.content), getattr(message, "tool_calls", None)
    else:
        raise InputError(
            f"Expected messages in the prompt, got {type(message).__name__}. Write ('human', text), or a dict with "
            "`role` and `content`."
        )
    return "\n".join([*_blocks(content), *([json.dumps(calls, default=str)] if calls else [])])


def _blocks(content: Any) -> Iterator[str]:
    """The texts of a message's content."""
    if content is None:
        return
    for block in [content] if isinstance(content, str) else content:
        text = block.get("text") if isinstance(block, Mapping) else getattr(block, "text", block)
        if not isinstance(text, str):
            kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
            raise InputError(
                f"The prompt has content of the kind {kind!r}, whose tokens cannot be counted from text. Leave it out, "
                "and lower `context_window` by its tokens."
            )
        yield text

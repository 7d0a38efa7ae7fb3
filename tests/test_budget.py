"""What an LLM's context window leaves for retrieved context."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LLMMetadata, TextBlock
from llama_index.core.llms import MockLLM

from moos_integrations import ConfigError, InputError, budget_for
from moos_integrations.budget import TOKENS_PER_MESSAGE, TOKENS_PER_PROMPT
from moos_integrations.core.tokens import token_counter

TEXT = "Answer the question from the context alone, in one sentence."


def words(text: str) -> int:
    return len(text.split())


class Small(MockLLM):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=2_048, model_name="claude-sonnet-4-5")


def test_the_window_less_prompt_and_answer() -> None:
    left = 1_000 - 100 - words(TEXT) - TOKENS_PER_MESSAGE - TOKENS_PER_PROMPT
    assert budget_for("my-model", TEXT, 100, context_window=1_000, tokenizer=words) == left


@pytest.mark.parametrize(
    "prompt",
    [
        [("system", TEXT), ("human", "When?")],
        [{"role": "system", "content": TEXT}, {"role": "user", "content": [{"type": "text", "text": "When?"}]}],
        [SystemMessage(TEXT), HumanMessage([{"type": "text", "text": "When?"}])],
        ChatPromptTemplate.from_messages([("system", TEXT), ("human", "{question}")]).invoke({"question": "When?"}),
        [ChatMessage(role="system", content=TEXT), ChatMessage(role="user", blocks=[TextBlock(text="When?")])],
        (TEXT, "When?"),
    ],
)
def test_messages_of_all_kinds_count_alike(prompt: Any) -> None:
    left = 1_000 - 100 - words(TEXT) - 1 - 2 * TOKENS_PER_MESSAGE - TOKENS_PER_PROMPT
    assert budget_for("my-model", prompt, 100, context_window=1_000, tokenizer=words) == left


def test_calls_of_tools_count() -> None:
    call = {"name": "search", "args": {"query": "one two three"}, "id": "1"}

    def left(message: AIMessage) -> int:
        return budget_for("m", [message], 10, context_window=1_000, tokenizer=words)

    assert left(AIMessage("", tool_calls=[call])) <= left(AIMessage("")) - 3


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("gpt-4o", 128_000),
        ("openai/gpt-4o-mini-2024-07-18", 128_000),
        ("gpt-4", 8_192),
        ("gpt-4-0613", 8_192),
        ("gpt-4-turbo-2024-04-09", 128_000),
        ("gpt-4.1-mini", 1_047_576),
        ("gpt-3.5-turbo", 16_385),
        ("gpt-5-mini", 272_000),
        ("o3-mini", 200_000),
        ("claude-3-5-sonnet-20241022", 200_000),
        ("anthropic.claude-sonnet-4-20250514-v1:0", 200_000),
        ("claude-2.0", 100_000),
        ("claude-2.1", 200_000),
        ("models/gemini-2.5-flash", 1_048_576),
    ],
)
def test_windows_by_name(name: str, window: int) -> None:
    assert budget_for(name, "", 0, tokenizer=words) == window - TOKENS_PER_MESSAGE - TOKENS_PER_PROMPT


def test_a_model_says_its_window_itself() -> None:
    exact = token_counter("claude-sonnet-4-5").count(TEXT) + TOKENS_PER_MESSAGE + TOKENS_PER_PROMPT
    assert budget_for(Small(max_tokens=None), TEXT, 48) == 2_000 - exact
    chat = FakeListChatModel(responses=["x"], profile={"max_input_tokens": 500})
    assert budget_for(chat, TEXT, 100, tokenizer=words) == 400 - words(TEXT) - TOKENS_PER_MESSAGE - TOKENS_PER_PROMPT
    assert budget_for(chat, TEXT, 100, context_window=600, tokenizer=words) > 400


def test_a_model_counts_if_its_name_is_unknown() -> None:
    class Counting(FakeListChatModel):
        def get_num_tokens(self, text: str) -> int:
            return 2 * words(text)

    chat = Counting(responses=["x"], profile={"max_input_tokens": 500})
    assert budget_for(chat, TEXT, 100) == 400 - 2 * words(TEXT) - TOKENS_PER_MESSAGE - TOKENS_PER_PROMPT


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("llama-3.1-8b", {}, "context window of the model 'llama-3.1-8b' is not known. Pass it as `context_window`"),
        ("gpt-4-new", {}, "'gpt-4-new' is not known"),
        (object(), {}, "context window of a object is not known"),
        ("my-model", {"context_window": 1_000}, "tokenizer of the model 'my-model' is not known. Pass `tokenizer`"),
        ("gpt-4", {"max_answer_tokens": 8_192}, "Nothing is left for context: the window has 8192 tokens"),
        ("gpt-4", {"max_answer_tokens": -1}, "`max_answer_tokens` must be"),
        ("gpt-4", {"max_answer_tokens": True}, "`max_answer_tokens` must be"),
        ("gpt-4", {"context_window": 0}, "`context_window` must be"),
    ],
)
def test_what_is_not_known_is_said(model: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        budget_for(model, TEXT, **{"max_answer_tokens": 10, **settings})


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (7, "as a string or messages, got int"),
        (ChatPromptTemplate.from_messages([("human", "{context}")]), "Fill a template first"),
        ([7], "Expected messages in the prompt, got int"),
        ([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])], "of the kind 'image_url'"),
        ([ChatMessage(role="user", blocks=[ImageBlock(image=b"x")])], "of the kind 'ImageBlock'"),
    ],
)
def test_a_prompt_that_cannot_be_counted_is_refused(prompt: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        budget_for("gpt-4o", prompt, 10)


def test_one_token_left_is_enough() -> None:
    used = words(TEXT) + TOKENS_PER_MESSAGE + TOKENS_PER_PROMPT
    assert budget_for("m", TEXT, 10, context_window=used + 11, tokenizer=words) == 1
    with pytest.raises(ConfigError, match="Nothing is left"):
        budget_for("m", TEXT, 10, context_window=used + 10, tokenizer=words)

from __future__ import annotations

from typing import Any

import pytest
import tiktoken
from hypothesis import given
from layouts import HARD
from tiny import byte_bpe

from moos_integrations import ConfigError, TokenizerError
from moos_integrations.core import tokens
from moos_integrations.core.tokens import token_counter


@given(HARD)
def test_starts_of_tiktoken_are_offsets_of_characters(text: str) -> None:
    counter = token_counter("o200k_base")
    starts = counter.starts(text)
    assert len(starts) == counter.count(text)
    assert (starts >= 0).all()
    assert (starts < max(len(text), 1)).all()
    assert (starts[1:] >= starts[:-1]).all()


def test_starts_point_at_the_tokens() -> None:
    text = "Zürich costs 1,499 € — naïve 你好"
    encoding = token_counter("o200k_base")._encoding
    pieces = [encoding.decode([token]) for token in encoding.encode_ordinary(text)]
    for start, piece in zip(token_counter("o200k_base").starts(text), pieces, strict=True):
        if "\ufffd" not in piece:
            assert text[start:].startswith(piece)


@pytest.mark.parametrize("tokenizer", ["cl100k_base", "gpt-4o", byte_bpe(), lambda text: len(text.split())])
def test_kinds_of_tokenizer(tokenizer: Any) -> None:
    counter = token_counter(tokenizer)
    assert counter.count("") == 0
    assert counter.count("one two three") >= 3
    assert len(counter.starts("one two three")) == counter.count("one two three")
    assert counter.name


def test_special_tokens_in_the_text_are_plain_text() -> None:
    assert token_counter("o200k_base").count("<|endoftext|>") > 1


def test_special_tokens_of_a_hugging_face_tokenizer_do_not_count() -> None:
    tokenizer = byte_bpe()
    assert token_counter(tokenizer).count("a") == len(tokenizer("a")["input_ids"]) - 2


@pytest.mark.parametrize("bad", [3.5, None, [], object()])
def test_other_types_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="`tokenizer` must be a tiktoken encoding"):
        token_counter(bad)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"o200k_base.*got 'no_such_encoding'"):
        token_counter("no_such_encoding")


@pytest.mark.parametrize("value", [-1, 2.5, None, True, "3"])
def test_callables_must_return_a_count(value: Any) -> None:
    with pytest.raises(TokenizerError, match="must return a number of tokens"):
        token_counter(lambda text: value).count("a")


def test_a_failing_callable_is_named() -> None:
    def broken(text: str) -> int:
        raise RuntimeError("boom")

    with pytest.raises(TokenizerError, match=r"broken.* failed on a text: boom"):
        token_counter(broken).count("a")


def test_no_network_and_no_cache_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def no_network(name: str) -> None:
        raise ConnectionError("unreachable")

    monkeypatch.setattr(tokens, "_llama_index_cache", lambda: None)
    monkeypatch.setattr(tiktoken, "get_encoding", no_network)
    tokens._tiktoken_counter.cache_clear()
    with pytest.raises(TokenizerError, match=r"'cl100k_base'.*ConnectionError.*llama-index-core.*TIKTOKEN_CACHE_DIR"):
        token_counter("cl100k_base")
    tokens._tiktoken_counter.cache_clear()


def test_the_cache_of_llama_index_is_used_and_the_environment_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    with tokens._cache_of_llama_index("o200k_base"):
        assert "tiktoken_cache" in tokens.os.environ["TIKTOKEN_CACHE_DIR"]
    assert "TIKTOKEN_CACHE_DIR" not in tokens.os.environ
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "mine")
    with tokens._cache_of_llama_index("o200k_base"):
        assert tokens.os.environ["TIKTOKEN_CACHE_DIR"] == "mine"

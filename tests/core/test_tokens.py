from __future__ import annotations

import hashlib
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from layouts import HARD
from tiktoken_ext import openai_public
from tiny import byte_bpe

from moos_integrations import ConfigError, TokenizerError
from moos_integrations.core import tokens
from moos_integrations.core.tokens import _without_long_runs, token_counter


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


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine without a network, where nothing was downloaded before: the empty cache folder of tiktoken."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "llama_index", None)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    tokens._tiktoken_counter.cache_clear()
    yield tmp_path
    tokens._tiktoken_counter.cache_clear()


@pytest.mark.parametrize(("name", "expected"), [("o200k_base", 11), ("gpt-oss-20b", 11), ("gpt-4", 12)])
def test_current_models_need_no_network(offline: Path, name: str, expected: int) -> None:
    assert token_counter(name).count("Zürich costs 1,499 € 你好") == expected
    assert not list(offline.iterdir())


@pytest.mark.usefixtures("offline")
def test_other_encodings_say_what_to_do_without_a_network() -> None:
    with pytest.raises(TokenizerError, match=r"'gpt2' could not be loaded.*o200k_base.*TIKTOKEN_CACHE_DIR"):
        token_counter("gpt2")


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base", "o200k_harmony"])
def test_the_shipped_encodings_are_those_of_tiktoken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected: list[str] = []

    def load(url: str, expected_hash: str) -> dict[bytes, int]:
        expected.append(expected_hash)
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", load)
    definition = openai_public.ENCODING_CONSTRUCTORS[name]()
    encoding = token_counter(name)._encoding
    assert encoding._pat_str == definition["pat_str"]
    ranks = sorted(encoding._mergeable_ranks.items(), key=lambda item: item[1])
    file = b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ranks)
    assert hashlib.sha256(file).hexdigest() == expected[0]


def test_a_callable_says_nothing_of_places_so_tokens_are_spread_evenly() -> None:
    counter = token_counter(lambda text: 4)
    assert not counter.locates
    assert counter.starts("abcdefgh").tolist() == [0, 2, 4, 6]


def test_an_encoding_of_tiktoken_counts_as_its_name_does() -> None:
    by_name = token_counter("cl100k_base")
    by_value = token_counter(by_name._encoding)
    assert by_value.name == "cl100k_base"
    assert by_value.starts("one two three").tolist() == by_name.starts("one two three").tolist() == [0, 3, 7]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\t", "\n"])
def test_a_million_blanks_are_counted(blank: str) -> None:
    counter = token_counter("o200k_base")
    text = f"one{blank * 1_100_000}two"
    tokens = counter.count(text)
    assert 2 < tokens < len(text)
    starts = counter.starts(text)
    assert len(starts) == tokens
    assert starts[0] == 0
    assert (np.diff(starts) >= 0).all()


def test_only_very_long_runs_of_blanks_are_cut() -> None:
    run = " " * 99_999
    assert list(_without_long_runs(f"a{run}b{run}c")) == [f"a{run}b{run}c"]
    long = " " * 250_000
    pieces = list(_without_long_runs(f"a{long}b{run}c"))
    assert "".join(pieces) == f"a{long}b{run}c"
    assert [len(piece) for piece in pieces] == [100_001, 100_000, 50_000 + 1 + 99_999 + 1]
    assert list(_without_long_runs("")) == [""]

"""Counting tokens as the target LLM does: by tiktoken name, Hugging Face tokenizer, or callable."""

from __future__ import annotations

import gzip
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import regex
import tiktoken

from moos_integrations.core.text import well_formed
from moos_integrations.core.types import IntArray
from moos_integrations.errors import ConfigError, TokenizerError

TokenizerLike = Any
"""A tiktoken encoding or model name, a Hugging Face tokenizer, or a callable `text -> number of tokens`."""

_VOCABULARIES = Path(__file__).parent / "encodings"
# tiktoken's patterns that split a text before tokens are merged.
_CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_O200K_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
# Encodings that need no download: the file of their vocabulary, and their pattern.
_SHIPPED = {
    "cl100k_base": ("cl100k_base", _CL100K_PATTERN),
    "o200k_base": ("o200k_base", _O200K_PATTERN),
    "o200k_harmony": ("o200k_base", _O200K_PATTERN),
}


# tiktoken panics from about a million blanks in a row: longer runs than this are counted in pieces of this length.
_LONGEST_RUN = 100_000
_LONG_RUN = regex.compile(rf"(?<!\s)\s{{{_LONGEST_RUN},}}+")


class TokenCounter(Protocol):
    """Counts tokens, and finds where they start."""

    name: str
    locates: bool  # whether `starts` comes from the tokenizer itself

    def count(self, text: str) -> int:
        """Tokens of `text`, without special tokens; 0 for an empty text."""
        ...

    def starts(self, text: str) -> IntArray:
        """Offset in code points at which each token of `text` starts. Shape: `(tokens,)`."""
        ...


def token_counter(tokenizer: TokenizerLike) -> TokenCounter:
    """The counter for the user's `tokenizer`.

    Raises:
        ConfigError: If it is of no known kind, or not the name of a known encoding or model.
        TokenizerError: If the encoding is known but cannot be loaded (no network).
    """
    if isinstance(tokenizer, str):
        return _tiktoken_counter(tokenizer)
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "get_vocab"):
        return HuggingFaceCounter(tokenizer)
    if isinstance(tokenizer, tiktoken.Encoding):
        return TiktokenCounter(tokenizer)
    if callable(tokenizer):
        return CallableCounter(tokenizer)
    raise _not_understood(tokenizer)


def check_tokenizer(tokenizer: TokenizerLike) -> TokenizerLike:
    """The same tokenizer, if it is of a known kind. Nothing is loaded, so a download may still fail later.

    Raises:
        ConfigError: If it is of no known kind, or not the name of a known encoding or model.
    """
    if isinstance(tokenizer, str):
        _encoding_name(tokenizer)
    elif not (callable(tokenizer) or hasattr(tokenizer, "encode")):
        raise _not_understood(tokenizer)
    return tokenizer


def _not_understood(tokenizer: Any) -> ConfigError:
    return ConfigError(
        "`tokenizer` must be a tiktoken encoding or model name such as 'o200k_base' or 'gpt-4o', a Hugging Face "
        f"tokenizer, or a callable that counts tokens; got {type(tokenizer).__name__}."
    )


class TiktokenCounter:
    """Counts with a tiktoken encoding."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        """Wrap a loaded encoding."""
        self.locates = True
        self.name = encoding.name
        self._encoding = encoding
        self._token_bytes: IntArray | None = None

    def count(self, text: str) -> int:
        """Tokens of `text`; text that looks like a special token counts as plain text."""
        return len(self._encode(text))

    def starts(self, text: str) -> IntArray:
        """Offsets at which tokens start; a token that starts inside a character counts for that character."""
        if self._token_bytes is None:
            self._token_bytes = _token_lengths(self._encoding)
        text = well_formed(text)
        lengths = self._token_bytes[self._encode(text)]
        byte_starts = np.cumsum(lengths) - lengths
        if text.isascii():
            return byte_starts
        bytes_of_text = np.frombuffer(text.encode(), np.uint8)
        character_of_byte = np.cumsum((bytes_of_text & 0xC0) != 0x80) - 1
        return np.asarray(character_of_byte[byte_starts], np.int64)

    def _encode(self, text: str) -> list[int]:
        if len(text) < _LONGEST_RUN:
            return self._encoding.encode_ordinary(text)
        return [token for piece in _without_long_runs(text) for token in self._encoding.encode_ordinary(piece)]


def _without_long_runs(text: str) -> Iterator[str]:
    """The text in pieces: a very long run of white space is cut, everything else is left in one."""
    begun = 0
    for match in _LONG_RUN.finditer(text) if len(text) >= _LONGEST_RUN else ():
        for end in range(match.start() + _LONGEST_RUN, match.end(), _LONGEST_RUN):
            yield text[begun:end]
            begun = end
    yield text[begun:]


def _token_lengths(encoding: tiktoken.Encoding) -> IntArray:
    lengths = np.zeros(encoding.n_vocab, np.int64)
    for token in range(encoding.n_vocab):
        try:
            lengths[token] = len(encoding.decode_single_token_bytes(token))
        except KeyError:  # encodings have holes between the ordinary and the special tokens
            continue
    return lengths


class HuggingFaceCounter:
    """Counts with a Hugging Face tokenizer (fast or slow), special tokens left out."""

    def __init__(self, tokenizer: Any) -> None:
        """Wrap a `transformers` tokenizer."""
        self.locates = bool(getattr(tokenizer, "is_fast", False))
        self.name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """Tokens of `text`."""
        return len(self._encode(text)["input_ids"])

    def starts(self, text: str) -> IntArray:
        """Offsets at which tokens start; spread evenly for slow tokenizers, which have no offsets."""
        if not self.locates:
            return _even_starts(text, self.count(text))
        offsets = self._encode(text, return_offsets_mapping=True)["offset_mapping"]
        return np.array([start for start, _ in offsets], np.int64)

    def _encode(self, text: str, **options: bool) -> Any:
        return self._tokenizer(well_formed(text), add_special_tokens=False, truncation=False, verbose=False, **options)


class CallableCounter:
    """Counts with a function of the user."""

    def __init__(self, function: Callable[[str], int]) -> None:
        """Wrap a callable that takes a text and returns its number of tokens."""
        self.locates = False
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self._function = function

    def count(self, text: str) -> int:
        """The number that the callable returns, checked.

        Raises:
            TokenizerError: If it raises, or returns anything but a whole number from 0 on.
        """
        try:
            value = self._function(text)
        except Exception as error:
            raise TokenizerError(f"The `tokenizer` callable {self.name!r} failed on a text: {error}") from error
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise TokenizerError(
                f"The `tokenizer` callable {self.name!r} must return a number of tokens (an int >= 0), got {value!r}."
            )
        return int(value)

    def starts(self, text: str) -> IntArray:
        """Offsets spread evenly over the text, because the callable returns only a number."""
        return _even_starts(text, self.count(text))


def _even_starts(text: str, tokens: int) -> IntArray:
    return np.linspace(0, len(text), tokens, endpoint=False).astype(np.int64)


# --- loading tiktoken ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _tiktoken_counter(name: str) -> TiktokenCounter:
    encoding_name = _encoding_name(name)
    if encoding_name in _SHIPPED:
        return TiktokenCounter(_shipped_encoding(encoding_name))
    try:
        return TiktokenCounter(tiktoken.get_encoding(encoding_name))
    except Exception as error:  # requests' errors, a ValueError on a bad hash, OSError on the cache folder
        raise TokenizerError(
            f"The tiktoken encoding {encoding_name!r} could not be loaded ({type(error).__name__}). tiktoken downloads "
            f"it once. Without a network, use an encoding that needs no download ({', '.join(_SHIPPED)}), or set "
            f"TIKTOKEN_CACHE_DIR to a folder that `tiktoken.get_encoding({encoding_name!r})` has filled on a connected "
            "machine, or pass a Hugging Face tokenizer or a callable as `tokenizer`."
        ) from error


def _encoding_name(name: str) -> str:
    """The encoding of that name, or of the model of that name."""
    if name in tiktoken.list_encoding_names():
        return name
    try:
        return tiktoken.encoding_name_for_model(name)
    except KeyError:
        raise ConfigError(
            f"`tokenizer` must name a tiktoken encoding ({', '.join(tiktoken.list_encoding_names())}) or a model that "
            f"tiktoken knows, got {name!r}. For another LLM pass its Hugging Face tokenizer or a callable."
        ) from None


def _shipped_encoding(name: str) -> tiktoken.Encoding:
    """The encoding, from its file in this package. It has no special tokens: text is counted as plain text."""
    vocabulary, pattern = _SHIPPED[name]
    lines = gzip.decompress((_VOCABULARIES / f"{vocabulary}.txt.gz").read_bytes()).split()
    ranks = {b64decode(line): rank for rank, line in enumerate(lines)}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

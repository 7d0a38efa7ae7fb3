"""Counting tokens as the target LLM does: by name, Hugging Face tokenizer, LangChain model, or callable."""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import math
import numbers
import sys
import threading
import weakref
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import regex
import tiktoken
from cachetools import LRUCache

from moos_integrations.core.text import well_formed
from moos_integrations.core.token_families import FAMILIES, Family, family_of, token_weights
from moos_integrations.core.types import IntArray
from moos_integrations.errors import ConfigError, TokenizerError
from moos_integrations.messages import Notice

TokenizerLike = Any
"""What counts tokens.

A name of a tiktoken encoding, of a model of OpenAI, or, approximately, of Claude, Gemini, Llama, Mistral, Qwen or
DeepSeek; a tokenizer of transformers or tokenizers; a LangChain model; or a callable that takes a text and returns its
tokens or their number.
"""

_REFERENCE = "o200k_base"
_PROBE = "The meeting, which was long, ended at 17:30 on 3 May 2024."
# A callable may round the count of a few characters down to 0. From this length on, 0 is wrong.
_NEVER_ZERO = 16
_MOST_COUNTS = 4096
_ROUNDING = 1e-6
_AT_ONCE = 100_000  # tokens that become an array in one step: all other threads wait for it

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
    """Counts tokens, and finds about where they start."""

    name: str
    locates: bool  # whether `starts` comes from the tokenizer itself
    # May have `approximate: Family`: then counts are upper bounds for usual text.

    def count(self, text: str) -> int:
        """Tokens of `text`, without special tokens; 0 for an empty text."""
        ...

    def starts(self, text: str) -> IntArray:
        """Offset in code points at which each token of `text` starts. Shape: `(tokens,)`.

        If the tokenizer has no offsets, those of the tokens of `o200k_base`; nothing is counted for them.
        """
        ...


def token_counter(tokenizer: TokenizerLike) -> TokenCounter:
    """The counter for the user's `tokenizer`.

    Raises:
        ConfigError: If it is of no known kind, not the name of a known encoding or model, or gives no counts.
        TokenizerError: If the encoding is known but cannot be loaded (no network), or a callable fails.
    """
    if isinstance(tokenizer, str):
        family = _family(tokenizer)
        return _tiktoken_counter(tokenizer) if family is None else _approximate_counter(tokenizer, family)
    if isinstance(tokenizer, tiktoken.Encoding):
        return TiktokenCounter(tokenizer)
    owner = _owner(tokenizer)
    if owner is not None:
        return token_counter(owner)
    backend = _backend(tokenizer)
    if backend is not None:
        return _backend_counter(tokenizer, backend)
    if hasattr(tokenizer, "get_vocab") and hasattr(tokenizer, "tokenize"):
        return SlowCounter(tokenizer)
    counter = CallableCounter(_counting(tokenizer), _name(tokenizer))
    if _PROBED.get(tokenizer) is None:
        counter.probe()
        _PROBED.put(tokenizer, True)
    return counter


def estimated(counter: TokenCounter) -> tuple[Notice, ...]:
    """The warning that counts are approximate; empty if they are exact."""
    family: Family | None = getattr(counter, "approximate", None)
    if family is None:
        return ()
    text = (
        f"Tokens are counted approximately: no tokenizer of {family.name} ships with this package. Counts are upper "
        "bounds for usual text, so that a budget may not be filled. For exact counts pass the model's Hugging Face "
        "tokenizer, its LangChain model, or a callable as `tokenizer`."
    )
    return (Notice("approximate counts", text),)


def check_tokenizer(tokenizer: TokenizerLike) -> TokenizerLike:
    """The same tokenizer, if it can count. Nothing is downloaded, so that may still fail later.

    A callable counts a sentence, once per object.

    Raises:
        ConfigError: If it is of no known kind, not the name of a known encoding or model, or gives no counts.
        TokenizerError: If a callable fails.
    """
    if not isinstance(tokenizer, str):
        token_counter(tokenizer)
    elif _family(tokenizer) is None:
        _encoding_name(tokenizer)
    return tokenizer


def _not_understood(tokenizer: Any) -> ConfigError:
    return ConfigError(
        "`tokenizer` must be a tiktoken encoding or model name such as 'o200k_base' or 'gpt-4o', a name of a model of "
        f"{_families()}, a Hugging Face tokenizer, a LangChain model, or a callable that counts tokens; got "
        f"{type(tokenizer).__name__}."
    )


# --- what users pass -------------------------------------------------------------------------------------------------


class _Remembered:
    """What is known of objects, while they live; objects without weak references are not remembered."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def get(self, key: Any) -> Any:
        """The value, or None."""
        reference, value = self._values.get(id(key), (None, None))
        return value if reference is not None and reference() is key else None

    def put(self, key: Any, value: Any) -> None:
        """Remember a value, which must not refer to the object."""
        number = id(key)
        with contextlib.suppress(TypeError):
            self._values[number] = (weakref.ref(key, lambda _: self._values.pop(number, None)), value)


_PROBED = _Remembered()
_BACKENDS = _Remembered()
_METHODS = ("encode", "encode_ordinary", "tokenize", "__call__")


def _owner(tokenizer: Any) -> Any:
    """The tokenizer whose method this is, such as `tokenizer.encode`; None for anything else.

    LlamaIndex passes tokenizers so, also inside of `functools.partial`.
    """
    method = tokenizer.func if isinstance(tokenizer, partial) else tokenizer
    owner = getattr(method, "__self__", None)
    if owner is None or getattr(method, "__name__", "") not in _METHODS:
        return None
    known = isinstance(owner, tiktoken.Encoding) or hasattr(owner, "get_vocab") or _backend(owner) is not None
    return owner if known else None


def _backend(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` of or in a tokenizer; None if it has none."""
    library = sys.modules.get("tokenizers")  # without it there is no such object
    if library is None:
        return None
    found = (tokenizer, *(getattr(tokenizer, name, None) for name in ("backend_tokenizer", "_tokenizer")))
    return next((item for item in found if isinstance(item, library.Tokenizer)), None)


def _backend_counter(tokenizer: Any, backend: Any) -> BackendCounter:
    """The counter of a tokenizer; copied once, and again when tokens were added to it."""
    size = backend.get_vocab_size(with_added_tokens=True)
    known: tuple[int, BackendCounter] | None = _BACKENDS.get(tokenizer)
    if known is None or known[0] != size:
        known = size, BackendCounter(backend, _name(tokenizer))
        _BACKENDS.put(tokenizer, known)
    return known[1]


def _counting(tokenizer: Any) -> Callable[[str], Any]:
    """What counts in an object: LangChain's `get_num_tokens`, a callable itself, or a method `encode`."""
    for found in (getattr(tokenizer, "get_num_tokens", None), tokenizer, getattr(tokenizer, "encode", None)):
        if callable(found) and not isinstance(found, type):
            return cast("Callable[[str], Any]", found)
    raise _not_understood(tokenizer)


def _name(tokenizer: Any) -> str:
    function = tokenizer.func if isinstance(tokenizer, partial) else tokenizer
    found = getattr(tokenizer, "name_or_path", "") or getattr(function, "__qualname__", "")
    return found if isinstance(found, str) and found else type(tokenizer).__name__


# --- counters --------------------------------------------------------------------------------------------------------


class TiktokenCounter:
    """Counts with a tiktoken encoding."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        """Wrap a loaded encoding."""
        self.locates = True
        self.name = encoding.name
        self.encoding = encoding
        self._token_lengths: IntArray | None = None

    def count(self, text: str) -> int:
        """Tokens of `text`; text that looks like a special token counts as plain text."""
        return len(self.encode(text))

    def starts(self, text: str) -> IntArray:
        """Offsets at which tokens start; a token that starts inside a character counts for that character."""
        if self._token_lengths is None:
            self._token_lengths = _token_lengths(self.encoding)
        text = well_formed(text)
        tokens = self.encode(text)
        parts = range(0, max(len(tokens), 1), _AT_ONCE)
        lengths: IntArray = np.concatenate([self._token_lengths[tokens[start : start + _AT_ONCE]] for start in parts])
        byte_starts = np.cumsum(lengths) - lengths
        if text.isascii():
            return np.asarray(byte_starts, np.int64)
        bytes_of_text = np.frombuffer(text.encode(), np.uint8)
        character_of_byte = np.cumsum((bytes_of_text & 0xC0) != 0x80) - 1
        return np.asarray(character_of_byte[byte_starts], np.int64)

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`; text that looks like a special token is plain text."""
        if len(text) < _LONGEST_RUN:
            return self.encoding.encode_ordinary(text)
        return [token for piece in _without_long_runs(text) for token in self.encoding.encode_ordinary(piece)]


def _without_long_runs(text: str) -> Iterator[str]:
    """The text in pieces: a very long run of white space is cut, everything else is left in one."""
    begun = 0
    for match in _LONG_RUN.finditer(text) if len(text) >= _LONGEST_RUN else ():
        for end in range(match.start() + _LONGEST_RUN, match.end(), _LONGEST_RUN):
            yield text[begun:end]
            begun = end
    yield text[begun:]


def _token_lengths(encoding: tiktoken.Encoding) -> IntArray:
    return np.array([len(token) for token in _token_bytes(encoding)], np.int64)


def _token_bytes(encoding: tiktoken.Encoding) -> list[bytes]:
    """The bytes of each token; empty for the holes between the ordinary and the special tokens."""
    found = [b""] * encoding.n_vocab
    for token in range(encoding.n_vocab):
        with contextlib.suppress(KeyError):
            found[token] = encoding.decode_single_token_bytes(token)
    return found


class ApproximateCounter:
    """Counts for a family of models by weighing the tokens of `o200k_base`: an upper bound for usual text."""

    def __init__(self, name: str, family: Family) -> None:
        """Count for the model of that name."""
        self.name, self.approximate, self.locates = name, family, True
        self._base = _tiktoken_counter(_REFERENCE)
        self._weights = token_weights(family, _token_bytes(self._base.encoding))

    def count(self, text: str) -> int:
        """About the tokens of `text`, rounded up."""
        return math.ceil(float(self._weights[self._base.encode(text)].sum()) - _ROUNDING)

    def starts(self, text: str) -> IntArray:
        """Offsets of the tokens of `o200k_base`, each as often as it weighs."""
        text = well_formed(text)
        upto = np.cumsum(self._weights[self._base.encode(text)])
        return self._base.starts(text)[np.searchsorted(upto, np.arange(self.count(text)), side="right")]


class BackendCounter:
    """Counts with a `tokenizers.Tokenizer`, such as that in a fast tokenizer of transformers; no special tokens.

    It works on a copy without truncation and padding. Another thread may change the original meanwhile, as
    transformers do in every call with `truncation=True`.
    """

    def __init__(self, backend: Any, name: str) -> None:
        """Copy the tokenizer.

        Raises:
            ConfigError: If it makes no tokens, because it was not trained.
        """
        self.name, self.locates = name, True
        self._tokenizer = _copied(backend)
        if not len(self._encode(_PROBE)):
            raise ConfigError(
                f"The `tokenizer` {name!r} makes no tokens of {_PROBE!r}: expected a trained tokenizer. Load one with "
                "its vocabulary."
            )

    def count(self, text: str) -> int:
        """Tokens of `text`."""
        return len(self._encode(text))

    def starts(self, text: str) -> IntArray:
        """Offsets at which tokens start."""
        return np.array([start for start, _ in self._encode(text).offsets], np.int64)

    def _encode(self, text: str) -> Any:
        return self._tokenizer.encode(well_formed(text), add_special_tokens=False)


def _copied(backend: Any) -> Any:
    """A tokenizer of the same model, which does not change, with its own copies of all that may change."""
    twin = type(backend)(backend.model)
    for part in ("normalizer", "pre_tokenizer"):
        if getattr(backend, part) is not None:
            setattr(twin, part, _part(getattr(backend, part)))
    added = list(backend.get_added_tokens_decoder().values())
    twin.add_special_tokens([token for token in added if token.special])
    twin.add_tokens([token for token in added if not token.special])
    twin.encode_special_tokens = backend.encode_special_tokens
    return twin


def _part(part: Any) -> Any:
    try:
        return copy.deepcopy(part)
    except Exception:  # parts written in Python cannot be copied; they have no state that truncation would change
        return part


class SlowCounter:
    """Counts with a tokenizer written in Python, through a copy if it can be copied; special tokens left out."""

    locates = False

    def __init__(self, tokenizer: Any) -> None:
        """Copy the tokenizer.

        Raises:
            ConfigError: If it makes no tokens.
            TokenizerError: If it fails on a text.
        """
        self.name = _name(tokenizer)
        try:
            self._tokenizer = copy.deepcopy(tokenizer)
        except Exception:  # `tokenize` neither reads nor writes truncation and padding, so the original will do
            self._tokenizer = tokenizer
        if not self.count(_PROBE):
            raise ConfigError(f"The `tokenizer` {self.name!r} makes no tokens of {_PROBE!r}: expected a trained one.")

    def count(self, text: str) -> int:
        """Tokens of `text`.

        Raises:
            TokenizerError: If the tokenizer fails.
        """
        try:
            return len(self._tokenizer.tokenize(well_formed(text)))
        except Exception as error:
            raise TokenizerError(f"The `tokenizer` {self.name!r} failed on a text: {error}") from error

    def starts(self, text: str) -> IntArray:
        """Offsets of the tokens of `o200k_base`."""
        return _reference_starts(text)


class CallableCounter:
    """Counts with a function of the user, as seldom as it can: counts are remembered by the text's hash."""

    locates = False

    def __init__(self, function: Callable[[str], Any], name: str) -> None:
        """Wrap a callable that takes a text and returns its tokens, or their number."""
        self.name = name
        self._function = function
        self._known: LRUCache[bytes, int] = LRUCache(_MOST_COUNTS)
        self._lock = threading.Lock()

    def probe(self) -> None:
        """Count a sentence.

        Raises:
            ConfigError: If the callable does not return a number of tokens above 0, or the tokens.
            TokenizerError: If it raises.
        """
        value = self._call(_PROBE)
        if not _tokens_in(value):
            raise ConfigError(self._complaint(_PROBE, value))

    def count(self, text: str) -> int:
        """The number that the callable returns, or that of the tokens that it returns.

        Raises:
            TokenizerError: If it raises, or returns neither; or if it returns 0 for a text with letters or digits, of
                16 characters or more.
        """
        if not text:
            return 0
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = self._checked(text)
            with self._lock:
                self._known[key] = known
        return known

    def starts(self, text: str) -> IntArray:
        """Offsets of the tokens of `o200k_base`."""
        return _reference_starts(text)

    def _checked(self, text: str) -> int:
        value = self._call(text)
        tokens = _tokens_in(value)
        if tokens is None or (not tokens and len(text) >= _NEVER_ZERO and any(map(str.isalnum, text))):
            raise TokenizerError(self._complaint(text, value))
        return tokens

    def _call(self, text: str) -> Any:
        try:
            return self._function(well_formed(text))
        except Exception as error:
            raise TokenizerError(
                f"The `tokenizer` callable {self.name!r} failed on a text: {type(error).__name__}: {error}"
            ) from error

    def _complaint(self, text: str, value: Any) -> str:
        return (
            f"The `tokenizer` callable {self.name!r} must return a number of tokens (an int above 0), or a list of "
            f"tokens; for {_short(text)} it returned {_short(value)} ({type(value).__name__}). Pass the name of an "
            "encoding or model, or a callable that counts every text."
        )


def _tokens_in(value: Any) -> int | None:
    """The number of tokens that a callable means: a whole number, tokens, or what tokenizers return; else None."""
    if isinstance(value, numbers.Integral):
        return None if isinstance(value, bool) or value < 0 else int(value)
    value = value.get("input_ids") if isinstance(value, Mapping) else getattr(value, "input_ids", value)
    value = getattr(value, "ids", value)
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
        return None
    shape = getattr(value, "shape", None)
    if shape is not None:
        return _tokens_of_shape(tuple(shape), value)
    # A batch of one text.
    inner = value[0] if len(value) == 1 and isinstance(value, (list, tuple)) else None
    return len(inner) if isinstance(inner, (list, tuple)) else len(value)


def _tokens_of_shape(shape: tuple[int, ...], value: Any) -> int | None:
    """Tokens in an array: a whole number as an array, tokens, or a batch of one text."""
    if len(shape) == 0:
        return _tokens_in(value.item())
    if len(shape) == 2:
        return int(shape[1]) if shape[0] == 1 else None
    return int(shape[0]) if len(shape) == 1 else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _reference_starts(text: str) -> IntArray:
    return _tiktoken_counter(_REFERENCE).starts(text)


# --- loading tiktoken ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _approximate_counter(name: str, family: Family) -> ApproximateCounter:
    return ApproximateCounter(name, family)


def _family(name: str) -> Family | None:
    """The family by which a model's tokens are approximated; None for the names that tiktoken knows."""
    try:
        _encoding_name(name)
    except ConfigError:
        return family_of(name)
    return None


def _families() -> str:
    return ", ".join(dict.fromkeys(family.name.split(" ")[0] for family in FAMILIES))


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
            f"`tokenizer` must name a tiktoken encoding ({', '.join(tiktoken.list_encoding_names())}), a model that "
            f"tiktoken knows, or a model of {_families()}, got {name!r}. For another LLM pass its Hugging Face "
            "tokenizer or a callable."
        ) from None


def _shipped_encoding(name: str) -> tiktoken.Encoding:
    """The encoding, from its file in this package. It has no special tokens: text is counted as plain text."""
    vocabulary, pattern = _SHIPPED[name]
    lines = gzip.decompress((_VOCABULARIES / f"{vocabulary}.txt.gz").read_bytes()).split()
    ranks = {b64decode(line): rank for rank, line in enumerate(lines)}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

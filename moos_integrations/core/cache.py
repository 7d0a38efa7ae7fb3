"""Scores cached by content, in memory, in a directory, and in stores of the frameworks: a text is scored once.

A key is a hash of everything that the scores depend on: the scorer's fingerprint (weights, tokenizer, precision and
settings), the question and the text. Nothing is looked up by a document's id, so a changed document never gets old
scores.

Outside of memory, an entry is plain bytes with a checksum (`packed`, `unpacked`). Reading one runs no code and
reserves no memory beyond the entry's size. An entry that is damaged, or that does not fit its text, counts as unknown
and is written anew.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import sqlite3
import struct
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from cachetools import LRUCache

from moos_integrations.core.checks import CACHE_FILE
from moos_integrations.core.config import DEFAULT_CACHE_BYTES, DEFAULT_DIRECTORY_BYTES
from moos_integrations.core.threads import Lock
from moos_integrations.core.types import Scorer, SegmentedText, WordScores
from moos_integrations.errors import ConfigError
from moos_integrations.messages import stack_level

MOST_BYTES = 2**28
"""Longest entry that is read or written outside of memory."""
COLLECTION = "moos_scores"
"""Namespace of the entries in a LlamaIndex store; the keys in a LangChain store begin with it."""
_ARRAYS = tuple(field.name for field in fields(WordScores) if field.name != "passage_probability")
_BUSY_SECONDS = 30.0
_TOUCH_SECONDS = 60.0  # how exactly the last use of an entry is known: reading must not write all the time
_OBJECT_BYTES = 200  # about the size of the objects around a text's arrays
_T = TypeVar("_T")
_KEYS_AT_ONCE = 500  # old builds of SQLite allow 999 variables in a statement


class ScoreStore(Protocol):
    """Keeps scores by key. Implementations are safe to share between threads."""

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """The stored scores of these keys; unknown keys are left out."""
        ...

    def put(self, scores: dict[str, WordScores]) -> None:
        """Store scores; what does not fit is dropped."""
        ...


class CachedScorer:
    """A `Scorer` that calls another one only for texts that are not in the stores."""

    def __init__(self, scorer: Scorer, fingerprint: str, *stores: ScoreStore) -> None:
        """Wrap a scorer.

        Args:
            scorer: Its scores of a document must not depend on the other documents, as `Scorer` requires.
            fingerprint: Changes whenever the scorer would score differently.
            stores: Searched one after another; scores found in a later one are copied into the earlier ones.
        """
        self._scorer, self.fingerprint, self._stores = scorer, fingerprint, stores
        self.computed = 0  # texts that were in no store; for reports, and not exact while several threads score
        self.languages = getattr(scorer, "languages", None)
        self.query_aware = bool(getattr(scorer, "query_aware", False))

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Stored scores where there are any, the others from the scorer, each text once."""
        keys = [self._key(document.text, query) for document in documents]
        by_key = dict(zip(keys, documents, strict=True))
        known: dict[str, WordScores] = {}
        for index, store in enumerate(self._stores):
            read = store.get([key for key in by_key if key not in known])
            found = {key: scores for key, scores in read.items() if key in by_key and not scores.misfit(by_key[key])}
            for earlier in self._stores[:index] if found else ():
                earlier.put(found)
            known |= found
        missing = {key: document for key, document in by_key.items() if key not in known}
        if missing:
            self.computed += len(missing)
            fresh = dict(zip(missing, self._scorer.score(list(missing.values()), query), strict=True))
            kept = {key: _own(scores) for key, scores in fresh.items() if not scores.misfit(missing[key])}
            for store in self._stores:
                store.put(kept)
            known |= fresh | kept
        return [known[key] for key in keys]

    def _key(self, text: str, query: str | None) -> str:
        digest = hashlib.blake2b(digest_size=20)
        for part in (self.fingerprint, "" if query is None else f"q{query}", text):
            own = part.encode("utf-8", "surrogatepass")
            digest.update(len(own).to_bytes(8, "little") + own)
        return digest.hexdigest()


def cached(scorer: Scorer, fingerprint: str, stores: Sequence[ScoreStore]) -> Scorer:
    """The scorer behind the stores; the scorer alone if there are none."""
    return CachedScorer(scorer, fingerprint, *stores) if stores else scorer


# --- memory -----------------------------------------------------------------------------------------------------------


class MemoryStore:
    """Scores in memory; the least recently used ones are dropped first."""

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Keep at most `max_bytes` of scores."""
        self._max_bytes, self._lock = max_bytes, Lock()
        self._entries = self._empty()

    def _empty(self) -> LRUCache[str, WordScores]:
        return LRUCache(self._max_bytes, getsizeof=_bytes_of)

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """The stored scores of these keys; unknown keys are left out."""
        with self._lock as intact:
            if not intact:
                self._entries = self._empty()
            return {key: self._entries[key] for key in keys if key in self._entries}

    def put(self, scores: dict[str, WordScores]) -> None:
        """Store scores, read-only, as callers share them, and without the arrays that they are views of."""
        for key, fresh in scores.items():
            kept = _own(fresh)
            with self._lock, contextlib.suppress(ValueError):  # larger than the whole store
                self._entries[key] = kept

    def __len__(self) -> int:
        """Number of texts with scores."""
        return len(self._entries)


def _bytes_of(scores: WordScores) -> int:
    arrays = [getattr(scores, name) for name in _ARRAYS]
    return _OBJECT_BYTES + sum(int(array.nbytes) for array in arrays if array is not None)


def _own(scores: WordScores) -> WordScores:
    """The scores with read-only arrays; a view, which would keep the array of a whole batch alive, is copied."""
    changed: dict[int, Any] = {}
    for name in _ARRAYS:
        array = getattr(scores, name)
        if array is not None and id(array) not in changed:
            changed[id(array)] = array if array.base is None else array.copy()
            changed[id(array)].flags.writeable = False
    kept = {name: changed[id(array)] for name in _ARRAYS if (array := getattr(scores, name)) is not None}
    return replace(scores, **kept)


# --- bytes ------------------------------------------------------------------------------------------------------------

_MAGIC = b"moos-scores-1\n"
_DIGEST = 16
_TYPES: dict[bytes, Any] = {b"d": np.dtype("<f8"), b"f": np.dtype("<f4")}
_NONE, _HEAD, _SIZE = b"-", struct.Struct("<d"), struct.Struct("<Q")


def packed(key: str, scores: WordScores) -> bytes:
    """An entry: a magic number, a checksum, the passage probability, then type, shape and bytes of each array.

    The checksum is also over the key, so that an entry in the place of another one is found out.
    """
    parts = [_HEAD.pack(scores.passage_probability)]
    for name in _ARRAYS:
        array = getattr(scores, name)
        if array is None:
            parts.append(_NONE)
            continue
        single = array.dtype == np.float32
        array = np.ascontiguousarray(array, _TYPES[b"f" if single else b"d"])
        shape = b"".join(map(_SIZE.pack, (array.ndim, *array.shape)))
        parts += [b"f" if single else b"d", shape, array.tobytes()]
    payload = b"".join(parts)
    return _MAGIC + _checksum(key, payload) + payload


def unpacked(key: str, value: Any) -> WordScores | None:
    """The scores of an entry; None if it is damaged, is another one's, or has another format."""
    start = len(_MAGIC) + _DIGEST
    if not isinstance(value, bytes) or not start < len(value) <= MOST_BYTES or not value.startswith(_MAGIC):
        return None
    payload = value[start:]
    if value[len(_MAGIC) : start] != _checksum(key, payload):
        return None
    try:
        return _read(payload)
    except (ValueError, struct.error, KeyError, OverflowError):  # a wrong entry with a right checksum
        return None


def _read(payload: bytes) -> WordScores:
    (probability,), at = _HEAD.unpack_from(payload), _HEAD.size
    arrays: dict[str, Any] = {}
    for name in _ARRAYS:
        kind, at = payload[at : at + 1], at + 1
        if kind == _NONE:
            arrays[name] = None
            continue
        (dimensions,), at = _SIZE.unpack_from(payload, at), at + _SIZE.size
        if dimensions > 2:
            raise ValueError("too many dimensions")
        shape = [_SIZE.unpack_from(payload, at + axis * _SIZE.size)[0] for axis in range(dimensions)]
        at += dimensions * _SIZE.size
        size = math.prod(shape)  # of Python: never wraps around
        if size * _TYPES[kind].itemsize > len(payload) - at:
            raise ValueError("longer than the entry")
        # A copy: a view would keep the whole entry alive, and may be misaligned.
        values = np.frombuffer(payload, _TYPES[kind], size, at).reshape(shape)
        arrays[name] = values.astype(values.dtype.newbyteorder("="))
        at += size * _TYPES[kind].itemsize
    if at != len(payload):
        raise ValueError("bytes are left over")
    return WordScores(passage_probability=probability, **arrays)


def _checksum(key: str, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST, key=key.encode()[:64]).digest()


class _Bytes:
    """Base of the stores that keep bytes: what is damaged, and a store that fails, are reported once."""

    name: str

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def _unpacked(self, entries: Iterable[tuple[str, Any]]) -> dict[str, WordScores]:
        """The readable ones of some entries."""
        found: dict[str, WordScores] = {}
        for key, value in entries:
            scores = unpacked(key, value)
            if scores is None:
                self._report("damaged", f"The score cache {self.name} has damaged entries; they are computed anew.")
            else:
                found[key] = scores
        return found

    def _report(self, kind: str, message: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            warnings.warn(message, RuntimeWarning, stacklevel=stack_level())


# --- a directory ------------------------------------------------------------------------------------------------------


class DirectoryStore(_Bytes):
    """An SQLite file in a directory, safe with several threads and processes, also when one of them is killed.

    If the file cannot be used (damaged, disk full, locked for long), the scores are computed as without it. One warning
    reports this: a cache must never break a chain. From a file that can only be read, scores are read.
    """

    def __init__(self, directory: str | Path, max_bytes: int = DEFAULT_DIRECTORY_BYTES) -> None:
        """Use a directory, which is created if it is missing.

        Args:
            directory: The folder of the file.
            max_bytes: About how large its content may get; when it is full, the least recently used tenth is deleted.

        Raises:
            ConfigError: If the directory cannot be created.
        """
        super().__init__()
        self._path, self._max_bytes = Path(directory) / CACHE_FILE, max_bytes
        self.name = str(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"The cache directory {str(directory)!r} cannot be used: {error}.") from error

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """The stored scores of these keys; unknown keys are left out."""

        def read(database: sqlite3.Connection) -> list[tuple[bytes, Any]]:
            rows: list[tuple[bytes, Any]] = []
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                part = list(keys[start : start + _KEYS_AT_ONCE])
                marks = ",".join("?" * len(part))
                values = f"SELECT key, CASE WHEN LENGTH(value) <= {MOST_BYTES} THEN value END FROM scores"
                rows += database.execute(f"{values} WHERE key IN ({marks})", part).fetchall()
                _touch(database, part, marks)
            return rows

        return self._unpacked((key.decode(errors="replace"), value) for key, value in self._use(read) or ())

    def put(self, scores: dict[str, WordScores]) -> None:
        """Store scores."""
        entries = ((key, packed(key, own), time.time()) for key, own in scores.items())
        rows = [row for row in entries if len(row[1]) <= MOST_BYTES]

        def write(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO scores (key, value, used) VALUES (?, ?, ?)", rows)
            if _pages_of(database) > self._max_bytes:
                (held,) = database.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM scores").fetchone()
                if held > self._max_bytes:
                    _forget(database, held - int(0.9 * self._max_bytes))

        self._use(write, writes=True)

    def _use(self, work: Callable[[sqlite3.Connection], _T], *, writes: bool = False) -> _T | None:
        """The result of `work`; None if the file cannot be used.

        Each use opens a connection: nothing is shared between threads, or with forked processes.
        """
        try:
            return self._with(self._open, work)
        except sqlite3.Error as error:
            if not writes:
                with contextlib.suppress(sqlite3.Error):
                    return self._with(self._open_to_read, work)
            elif _only_readable(error):
                self._report("read-only", f"The score cache {self.name} can only be read; new scores are not kept.")
                return None
            message = f"The score cache {self.name} cannot be used and is ignored: {error}."
            self._report("unusable", f"{message} Delete it if it is damaged.")
            return None

    @staticmethod
    def _with(connect: Callable[[], sqlite3.Connection], work: Callable[[sqlite3.Connection], _T]) -> _T:
        with contextlib.closing(connect()) as database, database:
            database.text_factory = bytes  # damaged text must not fail the whole query
            return work(database)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
        try:
            if database.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                # SQLite does not wait here: it fails at once while another connection makes the same change.
                with contextlib.suppress(sqlite3.OperationalError):
                    database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value BLOB NOT NULL, used REAL NOT NULL)"
            )
        except BaseException:
            database.close()
            raise
        return database

    def _open_to_read(self) -> sqlite3.Connection:
        """A connection that writes nothing, not even beside the file; the checksums guard what it reads."""
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?immutable=1", uri=True)


def _touch(database: sqlite3.Connection, keys: Sequence[str], marks: str) -> None:
    """Note the use of entries, unless it is known closely enough, or the file cannot be written now."""
    now = time.time()
    with contextlib.suppress(sqlite3.OperationalError):
        database.execute("PRAGMA busy_timeout = 0")
        database.execute(
            f"UPDATE scores SET used = ? WHERE key IN ({marks}) AND used < ?", [now, *keys, now - _TOUCH_SECONDS]
        )


def _pages_of(database: sqlite3.Connection) -> int:
    """Bytes of the pages in use: at once, and never less than those of the values."""
    count, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (count - free) * size


def _only_readable(error: sqlite3.Error) -> bool:
    return "readonly" in str(error) or "read-only" in str(error)


def _forget(database: sqlite3.Connection, excess: int) -> None:
    for key, size in database.execute("SELECT key, LENGTH(value) FROM scores ORDER BY used").fetchall():
        if excess <= 0:
            return
        database.execute("DELETE FROM scores WHERE key = ?", (key.decode(errors="surrogateescape"),))
        excess -= size


# --- stores of the frameworks -----------------------------------------------------------------------------------------


class FrameworkStore(_Bytes):
    """Scores in a LangChain `BaseStore[str, bytes]` or a LlamaIndex `BaseKVStore`.

    In a LangChain store an entry is `bytes` under `moos_scores-KEY`; in a LlamaIndex store a dict with the bytes in
    base64, in the collection `moos_scores`. A store that fails is passed over, with one warning.
    """

    def __init__(self, store: Any) -> None:
        """Wrap a store; `checks.check_store` has checked its methods."""
        super().__init__()
        self._store, self.name = store, type(store).__name__
        self._of_langchain = hasattr(store, "mget")

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """The stored scores of these keys; unknown keys are left out."""
        values = self._guarded(lambda: self._read(keys)) if keys else None
        known = zip(keys, values or (), strict=False)
        return self._unpacked((key, value) for key, value in known if value is not None)

    def put(self, scores: dict[str, WordScores]) -> None:
        """Store scores."""
        entries = {key: packed(key, own) for key, own in scores.items()}
        self._guarded(lambda: self._write({key: own for key, own in entries.items() if len(own) <= MOST_BYTES}))

    def _read(self, keys: Sequence[str]) -> list[Any]:
        if self._of_langchain:
            return list(self._store.mget([f"{COLLECTION}-{key}" for key in keys]))
        return [_from_json(self._store.get(key, collection=COLLECTION)) for key in keys]

    def _write(self, entries: Mapping[str, bytes]) -> None:
        if self._of_langchain:
            self._store.mset([(f"{COLLECTION}-{key}", value) for key, value in entries.items()])
            return
        for key, value in entries.items():
            self._store.put(key, {"scores": base64.b64encode(value).decode()}, collection=COLLECTION)

    def _guarded(self, work: Callable[[], _T]) -> _T | None:
        try:
            return work()
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            self._report("unusable", f"The score cache {self.name} cannot be used and is ignored: {cause}.")
            return None


def _from_json(value: Any) -> Any:
    """The bytes of a LlamaIndex entry; None for no entry, and no bytes for a damaged one."""
    if value is None:
        return None
    try:
        return base64.b64decode(value["scores"], validate=True)
    except (KeyError, TypeError, ValueError):
        return b""

"""Scores cached by content, in memory, and in a directory across processes: the same text is scored once.

A key is a hash of everything that the scores depend on: the scorer's fingerprint (weights and settings), the question
and the text. Nothing is looked up by a document's id, so a changed document never gets old scores.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from cachetools import LRUCache

from moos_integrations.core.config import DEFAULT_CACHE_BYTES
from moos_integrations.core.types import Scorer, SegmentedText, WordScores
from moos_integrations.errors import ConfigError

DEFAULT_DIRECTORY_BYTES = 2**30
_FILE = "scores.sqlite"
_ARRAYS = tuple(field.name for field in fields(WordScores) if field.name != "passage_probability")
_BUSY_SECONDS = 30.0
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
        self.languages = getattr(scorer, "languages", None)
        self.query_aware = bool(getattr(scorer, "query_aware", False))

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Stored scores where there are any, the others from the scorer, each text once."""
        keys = [self._key(document.text, query) for document in documents]
        known: dict[str, WordScores] = {}
        for index, store in enumerate(self._stores):
            found = store.get([key for key in dict.fromkeys(keys) if key not in known])
            for earlier in self._stores[:index] if found else ():
                earlier.put(found)
            known |= found
        missing = {key: document for key, document in zip(keys, documents, strict=True) if key not in known}
        if missing:
            fresh = dict(zip(missing, self._scorer.score(list(missing.values()), query), strict=True))
            for store in self._stores:
                store.put(fresh)
            known |= fresh
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


class MemoryStore:
    """Scores in memory; the least recently used ones are dropped first."""

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Keep at most `max_bytes` of scores."""
        self._entries: LRUCache[str, WordScores] = LRUCache(max_bytes, getsizeof=_bytes_of)
        self._lock = threading.Lock()

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """The stored scores of these keys; unknown keys are left out."""
        with self._lock:
            return {key: self._entries[key] for key in keys if key in self._entries}

    def put(self, scores: dict[str, WordScores]) -> None:
        """Store scores; they are marked read-only, as callers share them."""
        with self._lock:
            for key, fresh in scores.items():
                _freeze(fresh)
                with contextlib.suppress(ValueError):  # larger than the whole store
                    self._entries[key] = fresh

    def __len__(self) -> int:
        """Number of texts with scores."""
        return len(self._entries)


def _bytes_of(scores: WordScores) -> int:
    arrays = [getattr(scores, name) for name in _ARRAYS]
    return _OBJECT_BYTES + sum(int(array.nbytes) for array in arrays if array is not None)


def _freeze(scores: WordScores) -> None:
    for name in _ARRAYS:
        array = getattr(scores, name)
        if array is not None:
            array.flags.writeable = False


class DirectoryStore:
    """An SQLite file in a directory: safe with several threads and processes, and without code that reading would run.

    If the file cannot be used (damaged, disk full, locked for long), the scores are computed as without it. One warning
    reports this: a cache must never break a chain.
    """

    def __init__(self, directory: str | Path, max_bytes: int = DEFAULT_DIRECTORY_BYTES) -> None:
        """Use a directory, which is created if it is missing.

        Args:
            directory: The folder of the file.
            max_bytes: About how large its content may get; when it is full, the least recently used tenth is deleted.

        Raises:
            ConfigError: If the directory cannot be created.
        """
        self._path, self._max_bytes = Path(directory) / _FILE, max_bytes
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"The cache directory {str(directory)!r} cannot be used: {error}.") from error
        self._warned = False

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """The stored scores of these keys; unknown keys are left out."""

        def read(database: sqlite3.Connection) -> dict[str, WordScores]:
            found: dict[str, WordScores] = {}
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                part = list(keys[start : start + _KEYS_AT_ONCE])
                marks = ",".join("?" * len(part))
                rows = database.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", part).fetchall()
                database.execute(f"UPDATE scores SET used = ? WHERE key IN ({marks})", [time.time(), *part])
                found |= {key: own for key, value in rows if (own := _unpack(value)) is not None}
            return found

        return self._use(read) or {}

    def put(self, scores: dict[str, WordScores]) -> None:
        """Store scores."""
        rows = [(key, _pack(own), time.time()) for key, own in scores.items()]

        def write(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO scores (key, value, used) VALUES (?, ?, ?)", rows)
            (held,) = database.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM scores").fetchone()
            if held > self._max_bytes:
                _forget(database, held - int(0.9 * self._max_bytes))

        self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """The result of `work`; None if the file cannot be used.

        Each use opens a connection: nothing is shared between threads, or with forked processes.
        """
        try:
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
                with database:
                    return work(database)
            finally:
                database.close()
        except sqlite3.Error as error:
            if not self._warned:
                self._warned = True
                message = f"The score cache {self._path} cannot be used and is ignored: {error}."
                warnings.warn(f"{message} Delete it if it is damaged.", RuntimeWarning, stacklevel=4)
            return None


def _forget(database: sqlite3.Connection, excess: int) -> None:
    for key, size in database.execute("SELECT key, LENGTH(value) FROM scores ORDER BY used").fetchall():
        if excess <= 0:
            return
        database.execute("DELETE FROM scores WHERE key = ?", (key,))
        excess -= size


def _pack(scores: WordScores) -> bytes:
    stream = io.BytesIO()
    for array in (np.array(scores.passage_probability), *(getattr(scores, name) for name in _ARRAYS)):
        # A single NaN without dimensions means None: `np.save` would need pickle for None itself.
        np.save(stream, np.array(np.nan) if array is None else array, allow_pickle=False)
    return stream.getvalue()


def _unpack(value: bytes) -> WordScores | None:
    """The scores, or None if the bytes have another format."""
    stream = io.BytesIO(value)
    try:
        probability, *arrays = [np.load(stream, allow_pickle=False) for _ in range(1 + len(_ARRAYS))]
    except (ValueError, EOFError, OSError):
        return None
    known: dict[str, Any] = {name: array if array.ndim else None for name, array in zip(_ARRAYS, arrays, strict=True)}
    return WordScores(passage_probability=float(probability), **known)

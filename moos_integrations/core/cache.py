"""Scores kept by content, so that the same text is not read twice: in memory, and in a directory across processes.

A key is a hash of everything that the scores depend on: the scorer's fingerprint (weights and settings), the question
and the text. Nothing is ever looked up by a document's id, so that a changed document can never get old scores.
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
_OBJECT_BYTES = 200  # of the objects around a text's arrays, about
_T = TypeVar("_T")
_KEYS_AT_ONCE = 500  # SQLite's bound on the variables of a statement is 999 in old builds


class ScoreStore(Protocol):
    """Keeps scores by key. Implementations are safe to share between threads."""

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """What is known of these keys."""
        ...

    def put(self, scores: dict[str, WordScores]) -> None:
        """Keep scores; what does not fit is forgotten."""
        ...


class CachedScorer:
    """A `Scorer` that asks another one only for what is not in the store."""

    def __init__(self, scorer: Scorer, fingerprint: str, *stores: ScoreStore) -> None:
        """Wrap a scorer.

        Args:
            scorer: Its scores of a document must not depend on the other documents, as `Scorer` says.
            fingerprint: Changes whenever the scorer would score differently.
            stores: Asked one after another; what a later one knows is put into the earlier ones.
        """
        self._scorer, self.fingerprint, self._stores = scorer, fingerprint, stores

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Known scores from the stores, the others from the scorer, each text once."""
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
    """The scorer behind the stores; itself if there are none."""
    return CachedScorer(scorer, fingerprint, *stores) if stores else scorer


class MemoryStore:
    """The least recently used scores give way when the memory is used up."""

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Keep at most `max_bytes` of scores."""
        self._entries: LRUCache[str, WordScores] = LRUCache(max_bytes, getsizeof=_bytes_of)
        self._lock = threading.Lock()

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """What is known of these keys."""
        with self._lock:
            return {key: self._entries[key] for key in keys if key in self._entries}

    def put(self, scores: dict[str, WordScores]) -> None:
        """Keep scores; they are marked read-only, as callers share them."""
        with self._lock:
            for key, fresh in scores.items():
                _freeze(fresh)
                with contextlib.suppress(ValueError):  # larger than the whole store
                    self._entries[key] = fresh

    def __len__(self) -> int:
        """Number of texts known."""
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
    """An SQLite file in a directory: safe with several threads and processes, and read without running any code in it.

    If the file cannot be used (damaged, disk full, locked for long), the scores are computed as without it and one
    warning says so: a cache must never break a chain.
    """

    def __init__(self, directory: str | Path, max_bytes: int = DEFAULT_DIRECTORY_BYTES) -> None:
        """Use a directory, which is made if need be.

        Args:
            directory: Where the file stands.
            max_bytes: About how much it may hold; the least recently used tenth gives way when it is full.

        Raises:
            ConfigError: If the directory cannot be made.
        """
        self._path, self._max_bytes = Path(directory) / _FILE, max_bytes
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"The cache directory {str(directory)!r} cannot be used: {error}.") from error
        self._warned = False

    def get(self, keys: Sequence[str]) -> dict[str, WordScores]:
        """What is known of these keys."""

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
        """Keep scores."""
        rows = [(key, _pack(own), time.time()) for key, own in scores.items()]

        def write(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO scores (key, value, used) VALUES (?, ?, ?)", rows)
            (held,) = database.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM scores").fetchone()
            if held > self._max_bytes:
                _forget(database, held - int(0.9 * self._max_bytes))

        self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """The result of `work`; None if the file cannot be used.

        Each use has a connection of its own: nothing is shared between threads, or with forked processes.
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
                message = f"The score cache {self._path} cannot be used and is passed over: {error}."
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
        # An empty object array cannot be told from None otherwise: a lone NaN of no dimension stands for None.
        np.save(stream, np.array(np.nan) if array is None else array, allow_pickle=False)
    return stream.getvalue()


def _unpack(value: bytes) -> WordScores | None:
    """The scores, or None if the bytes are not ours."""
    stream = io.BytesIO(value)
    try:
        probability, *arrays = [np.load(stream, allow_pickle=False) for _ in range(1 + len(_ARRAYS))]
    except (ValueError, EOFError, OSError):
        return None
    known: dict[str, Any] = {name: array if array.ndim else None for name, array in zip(_ARRAYS, arrays, strict=True)}
    return WordScores(passage_probability=float(probability), **known)

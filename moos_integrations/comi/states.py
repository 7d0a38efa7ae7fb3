"""Context states kept by content, so that a second question on known documents costs only the question."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING, Any

import torch
from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from moos_integrations.comi.network import ContextStates


class StateStore:
    """Keeps context states in memory; the least recently used ones are dropped first. Safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        """Keep at most `max_bytes`; 0 keeps nothing."""
        self._entries: LRUCache[str, ContextStates] = LRUCache(max(max_bytes, 0), getsizeof=lambda own: own.bytes)
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    def get(self, key: str) -> ContextStates | None:
        """The states of a key, or None."""
        with self._lock:
            found: ContextStates | None = self._entries.get(key)
            self.hits += found is not None
            self.misses += found is None
            return found

    def put(self, key: str, states: ContextStates) -> None:
        """Store states; what is larger than the whole store is dropped."""
        with self._lock, contextlib.suppress(ValueError):
            self._entries[key] = states

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        """Number of segments."""
        return len(self._entries)


def segment_key(fingerprint: str, ids: Tensor) -> str:
    """A hash of the encoder and of a segment's tokens."""
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=20)
    digest.update(ids.to("cpu", torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def fingerprint_of(tensors: Iterable[tuple[str, Any]]) -> str:
    """A short hash of named weights: of names, shapes, and numbers spread over each tensor.

    The numbers are rounded to bfloat16, so that a model loaded in float32 and in bfloat16 has the same hash.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        flat = tensor.detach().reshape(-1)
        picked = flat[:: max(1, len(flat) // 4096)].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + picked.numpy().tobytes())
    return digest.hexdigest()[:16]

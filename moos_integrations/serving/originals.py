"""Full texts of what was pruned, by a hash of their content, in a limited memory."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from moos_integrations.agents.pruning import output_id

HASH_LENGTH = 24
"""Hexadecimal digits of the hashes in marks: 96 bits, so that nobody can guess the hash of another's text."""

_KEY_LENGTH = len(output_id(""))
_OBJECT_BYTES = 200  # about the size of the objects around a text


def hash_of(text: str) -> str:
    """The hash of a text in marks; it begins with the text's `output_id`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH]


class Originals:
    """Keeps texts by their hash; the least recently used ones go first. Safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        """Keep at most so many bytes of text."""
        self._max_bytes, self._bytes = max_bytes, 0
        self._texts: OrderedDict[str, tuple[str, str, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, text: str) -> str:
        """Keep a text, unless it is larger than all the room; return its hash."""
        name, size = hash_of(text), len(text.encode("utf-8", "surrogatepass")) + _OBJECT_BYTES
        with self._lock:
            if size <= self._max_bytes and self._texts.pop(output_id(text), None) is None:
                self._bytes += size
            if size <= self._max_bytes:
                self._texts[output_id(text)] = name, text, size
            while self._bytes > self._max_bytes:
                _, (_, _, freed) = self._texts.popitem(last=False)
                self._bytes -= freed
        return name

    def get(self, name: str) -> str | None:
        """The text of a hash or an `output_id`; None if it is not there, or not any more."""
        with self._lock:
            found, text, _ = self._texts.get(name[:_KEY_LENGTH], ("", "", 0))
            if not found or not found.startswith(name):
                return None
            self._texts.move_to_end(name[:_KEY_LENGTH])
            return text

    def __len__(self) -> int:
        return len(self._texts)

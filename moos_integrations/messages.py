"""Messages outside of results and errors: one logger, each message once per call site."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

logger = logging.getLogger("moos_integrations")
"""Silent until the application configures logging, as a library should be. Messages are logged at WARNING."""
logger.addHandler(logging.NullHandler())

_PACKAGE = str(Path(__file__).resolve().parent) + os.sep
_MOST_SITES = 4096  # call sites remembered; a host that generates code must not grow our memory
_LOCK = threading.Lock()
_said: dict[tuple[str, str, int], None] = {}


class Notice(str):
    """The text of a warning, with its kind.

    Attributes:
        kind: A few words that stay the same from call to call, such as "budget not filled".
    """

    __slots__ = ("kind",)
    kind: str

    def __new__(cls, kind: str, text: str) -> Notice:
        """Make a notice from its kind and its full text."""
        notice = super().__new__(cls, text)
        notice.kind = kind
        return notice

    def __reduce__(self) -> tuple[type[Notice], tuple[str, str]]:
        """Arguments from which pickle and copy rebuild it."""
        return Notice, (self.kind, str(self))


def warn_once(notice: Notice) -> None:
    """Log a warning once per kind and call site, so that a chain in a loop does not repeat it.

    The call site is the line of the nearest caller outside of this package.
    """
    site = (notice.kind, *_call_site())
    with _LOCK:
        if site in _said:
            return
        if len(_said) >= _MOST_SITES:
            del _said[next(iter(_said))]  # the oldest
        _said[site] = None
    logger.warning("%s", notice)


def forget_call_sites() -> None:
    """Reset `warn_once`: every warning is logged again at its next occurrence."""
    with _LOCK:
        _said.clear()


def _call_site() -> tuple[str, int]:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def stack_level() -> int:
    """`stacklevel` for `warnings.warn` in the calling function: the nearest caller outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level

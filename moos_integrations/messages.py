"""The package's logger, and a warning that is logged once per place in the user's code.

The logger is called `moos_integrations` and writes nowhere unless the host program configures logging.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

logger = logging.getLogger("moos_integrations")
logger.addHandler(logging.NullHandler())

_PACKAGE = str(Path(__file__).resolve().parent) + os.sep
_MOST_SITES = 1_000
_logged: dict[tuple[str, str, int], None] = {}
_LOCK = threading.Lock()


def warn_once(kind: str, message: str) -> None:
    """Log at WARNING, once per kind and call site.

    Args:
        kind: What the warning is about. The message of the same kind may differ from call to call.
        message: What the user reads.
    """
    site = (kind, *_call_site())
    with _LOCK:
        if site in _logged:
            return
        if len(_logged) >= _MOST_SITES:  # the oldest goes: a long-lived host must not grow without bound
            del _logged[next(iter(_logged))]
        _logged[site] = None
    logger.warning(message)


def _call_site() -> tuple[str, int]:
    """File and line of the first frame outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno

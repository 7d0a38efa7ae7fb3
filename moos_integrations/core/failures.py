"""When something fails: panics of native libraries as errors, and which of many items it fails on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from moos_integrations.errors import CompressionError, CompressionTimeoutError, ConfigError, InputError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

NEVER_PASSED_THROUGH = (ConfigError, InputError)
"""Mistakes of the caller, which `on_error="passthrough"` must not hide."""


@contextmanager
def guarded() -> Iterator[None]:
    """A panic of a native library in this block becomes an error.

    Rust's panics (tiktoken, tokenizers, safetensors) are no `Exception`s in Python: no handler of errors sees them.

    Raises:
        CompressionError: In place of a panic.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # KeyboardInterrupt, SystemExit and all others are not ours
            raise
        raise CompressionError(f"A native library failed (a panic): {error}") from error


def isolated(
    work: Callable[[list[_Item]], Sequence[_Result]], items: Sequence[_Item]
) -> tuple[dict[int, _Result], dict[int, Exception]]:
    """Results of `work` on many items; where it fails, on each half, down to the items that it fails on alone.

    Args:
        work: One result per item, in order. It is called again and again with fewer items.
        items: What to work on.

    Returns:
        The results and the errors, by index of the item. Where everything fails, `work` is called about twice the
        logarithm of the number of items; the others get the last error.

    Raises:
        ConfigError: As `work` raises it, and likewise `InputError` and `CompressionTimeoutError`.
    """
    results: dict[int, _Result] = {}
    errors: dict[int, Exception] = {}
    failures, most = 0, 4 + 2 * math.ceil(math.log2(len(items) + 1))
    parts = [range(len(items))] if items else []
    while parts:
        part = parts.pop()
        try:
            with guarded():
                found = work([items[index] for index in part])
            results.update(zip(part, found, strict=True))
            failures = 0
        except (*NEVER_PASSED_THROUGH, CompressionTimeoutError):
            raise
        except Exception as error:
            failures += 1
            if len(part) == 1 or failures >= most:
                errors.update(dict.fromkeys(part, error))
            if failures >= most:
                errors.update((index, error) for rest in parts for index in rest)
                break
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
    return results, errors

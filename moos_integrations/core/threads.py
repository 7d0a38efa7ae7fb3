"""Threads of the package: where async calls run, when a call has to stop, what may not stop the other threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakSet

from moos_integrations.errors import CompressionTimeoutError

_T = TypeVar("_T")

THREADS = min(8, (os.cpu_count() or 1) + 2)
"""Most async calls that run at the same time; others wait. Each thread may hold Python's lock for 5 ms at a time, so
that the delay of the event loop grows with their number."""


# --- locks ------------------------------------------------------------------------------------------------------------


class Lock:
    """A lock that a forked process gets unlocked; a pickled or copied one is new.

    `with lock as intact:` is False once in a process that was forked while another thread had the lock: what it guards
    may then be half changed.
    """

    def __init__(self) -> None:
        """Make it, unlocked."""
        self._lock, self._intact = threading.Lock(), True
        _LOCKS.add(self)

    def __enter__(self) -> bool:
        self._lock.acquire()
        intact, self._intact = self._intact, True
        return intact

    def __exit__(self, *error: object) -> None:
        if self._lock.locked():  # not in a process that was forked inside of this block
            self._lock.release()

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()

    def _after_fork(self) -> None:
        self._intact = not self._lock.locked()
        self._lock = threading.Lock()


_LOCKS: WeakSet[Lock] = WeakSet()


# --- garbage collection -----------------------------------------------------------------------------------------------

LARGE = 100_000
"""Characters of a text from which on its many objects make Python look for garbage."""
_LONGEST_PAUSE = 30.0


class _Collector:
    """Python's garbage collector, off while any thread is inside of a block of `pause`."""

    def __init__(self) -> None:
        self._lock, self._inside, self._paused, self._since = Lock(), 0, False, 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        with self._lock:
            if not self._inside and gc.isenabled():
                gc.disable()
                self._paused, self._since = True, time.monotonic()
            self._inside += 1
            self._bound()
        try:
            yield
        finally:
            with self._lock:
                self._inside = max(self._inside - 1, 0)  # a process that was forked inside of the block begins at 0
                self._bound()

    def _bound(self) -> None:
        """End the pause if nobody needs it, or if it is long: blocks of many threads may overlap without an end."""
        if self._paused and (not self._inside or time.monotonic() - self._since > _LONGEST_PAUSE):
            self.resume()

    def resume(self) -> None:
        if self._paused:
            gc.enable()
        self._paused = False

    def after_fork(self) -> None:
        self.resume()
        self._inside = 0


_COLLECTOR = _Collector()


@contextmanager
def without_collection(characters: int) -> Iterator[None]:
    """Python's garbage collector is off in this block, if the text is large; nothing else changes.

    The hundreds of thousands of objects of a large text make Python look at all objects of the process, again and
    again. Every thread waits meanwhile, and so does an event loop: 150 ms and more. What is in no cycle is freed as
    always. Off means off for the whole process, at most for the time of the block, and about 30 seconds where blocks of
    many threads overlap. A collector that the application has turned off stays so.

    Args:
        characters: Length of the text.
    """
    if characters < LARGE:
        yield
        return
    with _COLLECTOR.pause():
        yield


# --- when a call has to stop ------------------------------------------------------------------------------------------


class Stop:
    """When one call has to stop: after some seconds, or once nobody waits for it any more."""

    def __init__(self, seconds: float | None) -> None:
        """Start the clock; None for no limit."""
        self.seconds, self._cancelled = seconds, False
        self._outer: Stop | None = None
        self._end = None if seconds is None else time.monotonic() + seconds

    def cancel(self) -> None:
        """Nobody waits for the call any more."""
        self._cancelled = True

    @property
    def remaining(self) -> float | None:
        """Seconds that are left, from 0 on; None without a limit."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise if the call has to stop.

        Raises:
            CancelledError: If nobody waits for it. Not an `Exception`: nothing on the way may handle it.
            CompressionTimeoutError: If its time is over.
        """
        if self._cancelled:
            raise asyncio.CancelledError
        if self._outer is not None:
            self._outer.check()
        if self._end is not None and time.monotonic() >= self._end:
            raise self.error()

    def within(self, outer: Stop | None) -> Stop:
        """This one, which also stops when the call that it is a part of has to."""
        self._outer = outer if outer is not self else None
        return self

    def error(self) -> CompressionTimeoutError:
        """What a call without time left raises."""
        return CompressionTimeoutError(
            f"Compression did not end within `timeout={self.seconds:g}` seconds, waiting for a free thread and loading "
            "the model included. Allow more time, compress less at once, load the model before the first call "
            "(`load`), or set `on_error='passthrough'` to get the documents unchanged."
        )


_CURRENT: contextvars.ContextVar[Stop | None] = contextvars.ContextVar("moos_integrations_stop", default=None)


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """`check_stop` in this block checks this one, and those of the blocks around it."""
    token = _CURRENT.set(stop.within(_CURRENT.get()))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def check_stop() -> None:
    """Stop here if the current call has to; called between texts and before each batch of the model.

    Raises:
        CancelledError: If nobody waits for the call.
        CompressionTimeoutError: If its time is over.
    """
    stop = _CURRENT.get()
    if stop is not None:
        stop.check()


# --- threads of async calls -------------------------------------------------------------------------------------------

_pools: dict[str, ThreadPoolExecutor] = {}
_pools_lock = Lock()


async def in_thread(work: Callable[[], _T], stop: Stop) -> _T:
    """Run `work` in a thread of the package, never in those of the event loop.

    A task that is cancelled goes on at once, and so does one whose time is over. Work that has not begun is then never
    begun; work that runs ends at its next `check_stop`.

    Args:
        work: Runs with a copy of this task's context variables.
        stop: When it has to stop.

    Raises:
        CompressionTimeoutError: If the time is over.
    """
    running = asyncio.wrap_future(_submit("calls", THREADS, work, stop))
    try:
        await asyncio.wait({running}, timeout=stop.remaining)
        if running.done():
            return running.result()
        raise stop.error()
    finally:
        if not running.done():
            stop.cancel()
            running.cancel()


async def in_spare_thread(work: Callable[[], _T]) -> _T:
    """Run short work in a thread that is free while long calls have all others."""
    return await asyncio.wrap_future(_submit("spare", 1, work, Stop(None)))


def _submit(name: str, threads: int, work: Callable[[], _T], stop: Stop) -> Future[_T]:
    context = contextvars.copy_context()
    with _pools_lock:
        pool = _pools.get(name)
        if pool is None:
            pool = _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=f"moos-{name}")
        return pool.submit(context.run, _run, work, stop)


def _run(work: Callable[[], _T], stop: Stop) -> _T:
    if not threading.main_thread().is_alive():  # the interpreter ends, and waits for this thread
        raise asyncio.CancelledError
    with stopping(stop):
        check_stop()
        return work()


def _after_fork() -> None:
    """The child has none of the parent's other threads."""
    _pools.clear()
    for lock in list(_LOCKS):
        lock._after_fork()
    _COLLECTOR.after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)

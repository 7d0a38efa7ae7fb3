"""Concurrent requests run together: what waits while a batch runs is the next batch."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from moos_integrations.core.threads import Stop, in_thread
from moos_integrations.errors import CompressionTimeoutError, MoosError
from moos_integrations.messages import logger
from moos_integrations.serving.limits import Limits

_SMOOTHING = 0.2  # weight of the last batch in the mean time of a request


class QueueFullError(MoosError, RuntimeError):
    """The server has as many requests as it takes.

    Attributes:
        retry_after: Whole seconds after which a place should be free.
    """

    def __init__(self, size: int, retry_after: int) -> None:
        """Name the limit, and when to come again."""
        super().__init__(
            f"The server has {size} requests, as many as it takes (`queue_size`). Send this one again in {retry_after} "
            "s, send fewer at a time, or start more servers."
        )
        self.retry_after = retry_after


class ServerStoppingError(MoosError, RuntimeError):
    """The server takes no more requests."""


class Observer(Protocol):
    """Sees each batch: how many requests it has, and how long it took."""

    def __call__(self, requests: int, seconds: float) -> None:
        """A batch has ended."""
        ...


@dataclass(eq=False)
class _Job:
    """A request that waits or runs."""

    key: Hashable
    payload: Any
    weight: int
    end: float  # in the time of the event loop
    answer: asyncio.Future[Any]


class Batcher:
    """Runs requests in batches, in the order in which they came.

    There is no waiting for a batch to fill: a request that finds the server idle starts at once, and those that come
    while a batch runs wait. The next batch is the oldest of them with those that have the same key.
    """

    def __init__(
        self,
        run: Callable[[Any, Sequence[Any]], Sequence[Any]],
        limits: Limits,
        observe: Observer = lambda requests, seconds: None,
    ) -> None:
        """Set it up; `start` makes it run.

        Args:
            run: Called in a thread of the package with a key and the payloads of a batch. It returns a result or an
                exception for each.
            limits: `queue_size`, `max_batch`, `max_batch_tokens` and `parallel` are used.
            observe: Called after each batch.
        """
        self._run, self._limits, self._observe = run, limits, observe
        self._waiting: deque[_Job] = deque()
        self._inside = 0
        self._came = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._seconds = 0.0  # of a request, as its share of its batch
        self._stopping = False

    # --- places ------------------------------------------------------------------------------------------------------

    @property
    def inside(self) -> int:
        """Requests that have a place: those that are read, wait, or run."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Requests that wait for a batch."""
        return len(self._waiting)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for requests; it is free again at the end of the block.

        Raises:
            QueueFullError: If there is none.
        """
        if self._inside >= self._limits.queue_size:
            raise QueueFullError(self._limits.queue_size, self._retry_after())
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def _retry_after(self) -> int:
        """Seconds in which about half of the requests in the server will be done, from 1 to 60."""
        return min(max(math.ceil(self._inside / 2 * self._seconds / self._limits.parallel), 1), 60)

    # --- requests ----------------------------------------------------------------------------------------------------

    async def submit(self, key: Hashable, payload: Any, *, tokens: int, timeout: float) -> Any:
        """The result of one request.

        A task that is cancelled, or whose time is over, goes on at once. Its request leaves the queue; if it runs, its
        batch stops once nobody waits for any part of it.

        Args:
            key: Requests with equal keys may run together.
            payload: What `run` gets.
            tokens: Its size.
            timeout: Seconds, the wait for a batch included.

        Raises:
            CompressionTimeoutError: If the time is over.
            ServerStoppingError: If the server was stopped before the request came.
        """
        if self._stopping or not self._workers:
            raise ServerStoppingError("The server is stopping and takes no more requests. Send it to another one.")
        loop = asyncio.get_running_loop()
        job = _Job(key, payload, tokens, loop.time() + timeout, loop.create_future())
        self._waiting.append(job)
        self._came.set()
        try:
            await asyncio.wait({job.answer}, timeout=timeout)
            if not job.answer.done():
                raise CompressionTimeoutError(
                    f"The request did not end within {timeout:g} seconds, its wait included. Send less at once, send "
                    "it again when the server has less to do, or raise `request_timeout`."
                )
            return job.answer.result()
        finally:
            if not job.answer.done():
                job.answer.cancel()

    # --- batches -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers; in the event loop that sends the requests."""
        self._stopping = False
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._limits.parallel)]

    async def stop(self) -> None:
        """Take no more requests, finish those that were taken, and end."""
        self._stopping = True
        self._came.set()
        await asyncio.gather(*self._workers)
        self._workers = []

    async def _work(self) -> None:
        while True:
            batch = self._next()
            if batch:
                await self._finish_or_fail(batch)
            elif self._stopping:
                return
            else:
                self._came.clear()
                await self._came.wait()
                if self._stopping:
                    self._came.set()  # for the other workers

    async def _finish_or_fail(self, batch: Sequence[_Job]) -> None:
        """`_finish`; whatever happens, each request gets an answer and the worker goes on."""
        try:
            await self._finish(batch)
        except Exception as error:
            logger.exception("A batch could not be finished.")
            for job in batch:
                if not job.answer.done():
                    job.answer.set_exception(error)

    def _next(self) -> list[_Job]:
        """The oldest request, and those behind it that may run with it and fit."""
        batch: list[_Job] = []
        others: deque[_Job] = deque()
        tokens = 0
        while self._waiting:
            job = self._waiting.popleft()
            if job.answer.done():  # nobody waits for it
                continue
            fits = len(batch) < self._limits.max_batch and tokens + job.weight <= self._limits.max_batch_tokens
            if not batch or (job.key == batch[0].key and fits):
                batch.append(job)
                tokens += job.weight
            else:
                others.append(job)
        self._waiting = others
        return batch

    async def _finish(self, batch: Sequence[_Job]) -> None:
        """Run a batch and answer its requests; end early if nobody waits for any of them."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        stop = Stop(max(max(job.end for job in batch) - start, 1e-3))
        work = partial(self._run, batch[0].key, [job.payload for job in batch])
        running = asyncio.ensure_future(in_thread(work, stop))
        for job in batch:
            job.answer.add_done_callback(partial(_stop_unless_awaited, running, batch))
        await asyncio.wait({running})
        _answer(batch, running)
        seconds = loop.time() - start
        self._seconds += (_SMOOTHING if self._seconds else 1.0) * (seconds / len(batch) - self._seconds)
        self._observe(len(batch), seconds)


def _stop_unless_awaited(running: asyncio.Future[Any], batch: Sequence[_Job], _: object) -> None:
    if all(job.answer.done() for job in batch) and not running.done():
        running.cancel()


def _answer(batch: Sequence[_Job], done: asyncio.Future[Sequence[Any]]) -> None:
    if done.cancelled():
        results: Sequence[Any] = [asyncio.CancelledError()] * len(batch)
    else:
        failed = done.exception()
        results = done.result() if failed is None else [failed] * len(batch)
    for job, result in zip(batch, results, strict=True):
        if job.answer.done():
            continue
        if isinstance(result, BaseException):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)

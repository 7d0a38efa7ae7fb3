"""Requests in batches: each gets its answer, none waits for nobody, and the limits hold."""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import Any

import pytest

from moos_integrations import CompressionTimeoutError
from moos_integrations.core.threads import Stop, check_stop, in_thread, stopping
from moos_integrations.serving.batching import Batcher, QueueFullError, ServerStoppingError
from moos_integrations.serving.limits import Limits


class Work:
    """What a batch does: doubles numbers, once it may; numbers below 0 fail alone."""

    def __init__(self) -> None:
        self.open, self.entered, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self.batches: list[tuple[Any, list[int]]] = []

    def __call__(self, key: Any, numbers: Any) -> list[Any]:
        self.batches.append((key, list(numbers)))
        self.entered.set()
        try:
            while not self.open.wait(0.002):
                check_stop()
        except BaseException:
            self.stopped.set()
            raise
        return [ValueError(f"{number}") if number < 0 else 2 * number for number in numbers]


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


async def test_a_random_load_gets_every_answer_in_batches_within_the_limits() -> None:
    random, work = Random(7), Work()
    limits = Limits(max_batch=5, max_batch_tokens=60, parallel=2, queue_size=500)
    batcher = Batcher(work, limits)
    batcher.start()
    sizes = {number: random.choice([1, 10, 30, 100]) for number in range(300)}

    async def one(number: int) -> int | None:
        await asyncio.sleep(0)
        call = batcher.submit(number % 3, number, tokens=sizes[number], timeout=30)
        if number % 7:
            return await call
        task = asyncio.create_task(call)  # a client that hangs up
        await asyncio.sleep(0)
        task.cancel()
        return None

    tasks = [asyncio.create_task(one(number)) for number in sizes]
    await until(work.entered)
    work.open.set()
    answers = await asyncio.gather(*tasks)
    await batcher.stop()
    assert answers == [None if number % 7 == 0 else 2 * number for number in sizes]
    for key, numbers in work.batches:
        assert len(numbers) <= limits.max_batch
        assert {number % 3 for number in numbers} == {key}
        assert len(numbers) == 1 or sum(sizes[number] for number in numbers) <= limits.max_batch_tokens
        assert numbers == sorted(numbers), "in the order in which they came"
    ran = [number for _, numbers in work.batches for number in numbers]
    assert len(ran) == len(set(ran))
    assert len(work.batches) < 260, "those that wait run together"


async def test_one_that_fails_fails_alone() -> None:
    work = Work()
    batcher = Batcher(work, Limits())
    batcher.start()
    tasks = [asyncio.create_task(batcher.submit("a", number, tokens=1, timeout=60)) for number in (1, -2, 3)]
    work.open.set()
    first, failed, last = await asyncio.gather(*tasks, return_exceptions=True)
    await batcher.stop()
    assert (first, last) == (2, 6)
    assert isinstance(failed, ValueError)


async def test_a_batch_that_cannot_be_finished_fails_and_the_next_one_runs() -> None:
    batcher = Batcher(lambda key, numbers: [] if key == "too few" else list(numbers), Limits())
    batcher.start()
    with pytest.raises(ValueError, match=r"shorter|longer"):
        await batcher.submit("too few", 1, tokens=1, timeout=60)
    assert await batcher.submit("a", 2, tokens=1, timeout=60) == 2
    await batcher.stop()


async def test_places_are_limited_and_are_free_again() -> None:
    batcher = Batcher(Work(), Limits(queue_size=2))
    with batcher.place(), batcher.place():
        with pytest.raises(QueueFullError, match="has 2 requests, as many as it takes") as caught, batcher.place():
            raise AssertionError
        assert caught.value.retry_after == 1
        batcher._seconds = 7.0
        assert batcher._retry_after() == 7, "about half of two are done in the time of one"
    with batcher.place():
        assert batcher.inside == 1


async def test_work_stops_once_nobody_waits_for_any_part_of_the_batch() -> None:
    work = Work()
    batcher = Batcher(work, Limits())
    batcher.start()
    first = asyncio.create_task(batcher.submit("a", 1, tokens=1, timeout=60))
    await until(work.entered)
    second, third = (asyncio.create_task(batcher.submit("a", number, tokens=1, timeout=60)) for number in (2, 3))
    await asyncio.sleep(0)
    first.cancel()
    await until(work.stopped)
    work.stopped.clear()
    while len(work.batches) < 2:
        await asyncio.sleep(0)
    assert work.batches[1] == ("a", [2, 3])
    second.cancel()
    await asyncio.sleep(0.01)
    assert not work.stopped.is_set(), "somebody waits for the third"
    work.open.set()
    assert await third == 6
    await batcher.stop()


async def test_time_that_is_over_ends_the_wait_and_the_work() -> None:
    work = Work()
    batcher = Batcher(work, Limits())
    batcher.start()
    with pytest.raises(CompressionTimeoutError, match=r"did not end within 0\.05 seconds"):
        await batcher.submit("a", 1, tokens=1, timeout=0.05)
    if work.entered.is_set():  # else it never began
        await until(work.stopped)
    work.open.set()
    assert await batcher.submit("a", 2, tokens=1, timeout=30) == 4
    await batcher.stop()


async def test_stopping_finishes_what_was_taken_and_takes_no_more() -> None:
    work = Work()
    batcher = Batcher(work, Limits(max_batch=1))
    batcher.start()
    tasks = [asyncio.create_task(batcher.submit("a", number, tokens=1, timeout=60)) for number in range(4)]
    await until(work.entered)
    stopping_ = asyncio.create_task(batcher.stop())
    await asyncio.sleep(0)
    with pytest.raises(ServerStoppingError, match="takes no more requests"):
        await batcher.submit("a", 9, tokens=1, timeout=60)
    work.open.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6]
    await stopping_


async def test_a_call_inside_of_another_stops_with_it() -> None:
    entered, stopped = threading.Event(), threading.Event()

    def work() -> None:
        with stopping(Stop(60)):  # as `compress` does
            entered.set()
            try:
                while True:
                    check_stop()
            except asyncio.CancelledError:
                stopped.set()
                raise

    task = asyncio.create_task(in_thread(work, Stop(None)))
    await until(entered)
    task.cancel()
    await until(stopped)

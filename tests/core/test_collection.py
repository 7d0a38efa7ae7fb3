"""Python's garbage collector: calls leave no garbage in cycles, and large texts do not make every thread wait."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from layouts import EXCHANGES, SECTIONS, STRUCTURED
from tiny import HashScorer

from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.core import threads
from moos_integrations.core.threads import LARGE, without_collection


@pytest.fixture
def compressor() -> ContextCompressor:
    compressor = ContextCompressor(HashScorer(), CompressorConfig(cache_bytes=0, min_tokens=0))
    compressor.compress("Loads.", "What?")
    return compressor


@pytest.fixture
def full_collections() -> Iterator[list[Any]]:
    found: list[Any] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            found.append(info)

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def test_a_call_leaves_no_garbage_in_cycles(compressor: ContextCompressor) -> None:
    sections = [make([("Prices", ["It costs 5 euros.", "It is long."])]) for make in SECTIONS.values()]
    exchanges = [make([("When did the meeting end?", "It ended at 17:30.")]) for make in EXCHANGES.values()]
    lines = ["".join(make(Random(0), 5)) for make in STRUCTURED.values()]
    text = "\n\n".join([*sections, *exchanges, *lines])
    gc.collect()
    gc.disable()
    try:
        for target in ({"budget_tokens": 40}, {"rate": 0.5}, {"threshold": 0.1}):
            compressor.compress([text, text[:200]], "When did the meeting end?", **target).explain()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_large_text_makes_python_look_at_no_other_objects(
    compressor: ContextCompressor, full_collections: list[Any]
) -> None:
    result = compressor.compress("The meeting ended at 17:30.\nNobody knows why.\n" * (LARGE // 40), "When?", rate=0.1)
    assert len(result.documents[0].text) > 1000
    assert not full_collections
    assert gc.isenabled()


def test_what_the_application_set_stays() -> None:
    with without_collection(LARGE - 1):
        assert gc.isenabled()
    gc.disable()
    try:
        with without_collection(LARGE):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(KeyError), without_collection(LARGE):
        raise KeyError
    assert gc.isenabled()


def test_blocks_of_many_threads_overlap_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with without_collection(LARGE):
            inside.set()
            leave.wait(5)

    other = threading.Thread(target=wait)
    other.start()
    assert inside.wait(5)
    with without_collection(LARGE):
        pass
    assert not gc.isenabled()  # the other thread needs it
    monkeypatch.setattr(threads, "_LONGEST_PAUSE", 0.0)
    with without_collection(LARGE):
        assert gc.isenabled()
    leave.set()
    other.join()
    assert gc.isenabled()


def test_a_forked_process_collects() -> None:
    with without_collection(LARGE):
        assert not gc.isenabled()
        threads._after_fork()
        assert gc.isenabled()
    with without_collection(LARGE):
        assert not gc.isenabled()
    assert gc.isenabled()


READ_GENERATORS = ("all", "any", "fromiter", "max", "min", "sorted", "sum")


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["The meeting on 3 May ended at 17:30, {}.\n", "It was long, and {} knew. ", "{} | b\n"]
)
def test_no_native_call_on_a_large_text_is_long(compressor: ContextCompressor, line: str) -> None:
    """Python gives other threads a turn between native calls only; a limit of 50 ms for 2 MB, with all of a margin."""
    longest, begun = [(0.0, "")], [0.0]

    def watch(frame: Any, event: str, called: Any) -> None:
        if event == "c_call":
            begun[0] = time.thread_time()
        elif event == "c_return" and called.__name__ not in ("encode_ordinary", *READ_GENERATORS):
            # The first one lets other threads run, and so do the generators that the others read.
            longest[0] = max(longest[0], (time.thread_time() - begun[0], repr(called)))

    text = "".join(line.format(number) for number in range(500_000 // len(line)))
    sys.setprofile(watch)
    try:
        compressor.compress(text, "When did it end?", budget_tokens=1000)
    finally:
        sys.setprofile(None)
    assert longest[0][0] < 0.025, longest

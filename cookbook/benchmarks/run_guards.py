"""Does the core hold up: fuzzed input, threads, coroutines, killed processes, memory.

    python cookbook/benchmarks/run_guards.py --part fuzz --inputs 100000 --with-model 5000
    python cookbook/benchmarks/run_guards.py --part threads

Each part writes its own entry of `results/guards.json`. The laws are checked without code of the package: tokens are
counted with tiktoken's own vocabulary where it is on disk, spans are cut from the sources and put together again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import random
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import llama_index.core
import numpy as np
import tiktoken

from moos_integrations import CompressionResult, CompressorConfig, ContextCompressor, SegmentedText, WordScores
from moos_integrations.core.cache import CachedScorer, DirectoryStore
from moos_integrations.core.text import segment

RESULT = Path(__file__).parent / "results" / "guards.json"
SEPARATOR = "\n\n"
PIECES = (
    "The meeting ended at 17:30.",
    "Do not restart the server",
    "It costs 1\u00a0240 €",
    "Dr. Karvea said: no.",
    "## Prices",
    "- item one",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "def f(x):\n    return x - 1",
    "key: value",
    "Q: Why?\nA: Because.",
    "対象外です。",
    "ไม่มีวรรคตอน",
    "Größe 12,5 mm; z. B. hier",
    "\ud800",
    "e\u0301\u0301",
    "👩‍👩‍👧",
    "\u200b",
    "\x00",
    "\r\n",
    "\u2028",
    "a+" * 40,
    "```\ncode\n```",
    "http://example.org/a?b=c#d",
    '{"a": [1, 2, {"b": null}]}',
    "Vitamin C\u00a0; x",
    "...",
    "?!",
    "2024-05-01T02:14:00Z ERROR x=1",
    "<b>bold</b>",
    "\\begin{x}\\end{x}",
    " " * 60,
    "\t\t",
    "— “quoted” ‘text’",
    "A. B. C. D.",
)
JOINTS = ("\n", " ", "\n\n", "", "\n    ", ". ")
QUESTIONS = (None, "When did the meeting end?", "", "Was kostet es?", "\ud800", "a+" * 30, "対象は？")


class FakeScorer:
    """Scores words by their text and place, without a model."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """A number in [0, 1) for each word."""
        return [
            WordScores.from_preserve(
                [zlib.crc32(f"{word}|{at}|{query}".encode("utf-8", "surrogatepass")) / 2**32 for at, word in numbered]
            )
            for numbered in (list(enumerate(document.words())) for document in documents)
        ]


# --- fuzzing ----------------------------------------------------------------------------------------------------------


def fuzzed(rng: random.Random) -> tuple[list[str], str | None, dict[str, Any]]:
    """Documents, a question and a target."""
    documents = [
        "".join(rng.choice(PIECES) + rng.choice(JOINTS) for _ in range(rng.choice((0, 1, 2, 4, 8, 16))))
        for _ in range(rng.choice((0, 1, 1, 2, 3, 5)))
    ]
    target = rng.choice(
        ({"rate": rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))}, {"budget_tokens": rng.randrange(120)}, {"threshold": 0.01})
    )
    return documents, rng.choice(QUESTIONS), target


def broken_laws(
    documents: Sequence[str], target: dict[str, Any], result: CompressionResult, count: Callable[[str], int]
) -> list[str]:
    """Names of the laws that an output breaks."""
    broken = []
    tokens, source = count(result.text), count(SEPARATOR.join(text for text in documents if text))
    ceiling = target.get("budget_tokens", math.inf)
    if "rate" in target:
        ceiling = math.floor(target["rate"] * source + 1e-9)
    if tokens > ceiling:
        broken.append("above the ceiling")
    if tokens != result.kept_tokens or source != result.original_tokens:
        broken.append("wrong count")
    counts = [(own.original_tokens, own.kept_tokens) for own in result.documents]
    if counts != [(count(text), count(own.text)) for text, own in zip(documents, result.documents, strict=True)]:
        broken.append("wrong count of a document")
    for text, document in zip(documents, result.documents, strict=True):
        borders = [border for span in document.spans for border in span]
        if borders != sorted(borders) or (borders and not 0 <= borders[0] <= borders[-1] <= len(text)):
            broken.append("spans out of order")
        if "".join(text[start:end] for start, end in document.spans) != document.text:
            broken.append("spans are not the text")
    if SEPARATOR.join(own.text for own in result.documents if own.text) != result.text:
        broken.append("text is not its documents")
    if target.get("rate") == 1.0 and [own.text for own in result.documents] != list(documents):
        broken.append("all of it is not the source")
    return broken


def fuzz(
    compressor: ContextCompressor, count: Callable[[str], int], inputs: int, seed: int, minutes: float
) -> dict[str, Any]:
    """Failures by law, with one example of each."""
    failures: Counter[str] = Counter()
    examples: dict[str, Any] = {}
    start, end, done = time.process_time(), time.monotonic() + 60 * minutes, 0
    for number in range(inputs):
        if time.monotonic() > end:
            break
        done += 1
        documents, question, target = fuzzed(random.Random(f"{seed}-{number}"))
        try:
            names = broken_laws(documents, target, compressor.compress(documents, question, **target), count)
        except Exception as error:
            names = [f"{type(error).__name__}: {str(error)[:200]}"]
        failures.update(set(names))
        for name in names:
            examples.setdefault(name, {"number": number, "documents": documents, "question": question, **target})
    seconds = round(time.process_time() - start, 1)
    return {"inputs": done, "failures": dict(failures), "examples": examples, "cpu_seconds": seconds}


def counter_of_tiktoken() -> tuple[Callable[[str], int], str]:
    """Counts with `cl100k_base`, and where its vocabulary is from."""
    folder = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"  # llama-index-core has the file
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))
    encoding = tiktoken.get_encoding("cl100k_base")
    return lambda text: len(encoding.encode_ordinary(text)), "tiktoken.get_encoding('cl100k_base')"


def part_fuzz(options: argparse.Namespace) -> dict[str, Any]:
    """Fuzzed input with a fake scorer and with the bundled model."""
    count, source = counter_of_tiktoken()
    settings: dict[str, Any] = {"tokenizer": "cl100k_base"}
    fake = ContextCompressor(FakeScorer(), CompressorConfig(**settings))
    result: dict[str, Any] = {
        "tokens_counted_with": source,
        "fake": fuzz(fake, count, options.inputs, options.seed, options.minutes),
    }
    if options.with_model:
        model = ContextCompressor.from_pretrained(dtype="float32", **settings)
        result["model"] = fuzz(model, count, options.with_model, options.seed + 1, options.minutes)
    return result


# --- threads, coroutines ----------------------------------------------------------------------------------------------


async def delays(done: asyncio.Event, every: float = 0.002) -> list[tuple[float, float]]:
    """By how many milliseconds the event loop was late, and for how many of them other threads used a processor.

    On a busy machine, a loop is also late because other processes run. The second number leaves that out.
    """
    found = []
    while not done.is_set():
        start, others = time.perf_counter(), time.process_time() - time.thread_time()
        await asyncio.sleep(every)
        late = 1000 * (time.perf_counter() - start - every)
        found.append((late, min(late, 1000 * (time.process_time() - time.thread_time() - others))))
    return found


async def beside(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of async work, how late the loop was beside it, and how long the host's own pool needed."""
    done = asyncio.Event()
    watching = asyncio.create_task(delays(done))
    running = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    start = time.perf_counter()
    await asyncio.to_thread(int)
    pool = 1000 * (time.perf_counter() - start)
    result = await running
    done.set()
    found = await watching
    late = sorted(delay for delay, _ in found)
    return result, {
        "loop_delay_ms_max": round(late[-1], 1),
        "loop_delay_ms_p99": round(late[int(0.99 * (len(late) - 1))], 1),
        "loop_delay_while_we_computed_ms_max": round(max(own for _, own in found), 1),
        "host_pool_ms": round(pool, 1),
    }


def part_threads(options: argparse.Namespace) -> dict[str, Any]:
    """Results of 64 threads and 500 coroutines against those one by one."""
    requests = [fuzzed(random.Random(f"t-{number}"))[0] or ["One."] for number in range(500)]
    texts = [[f"Report {number}. The meeting ended at 17:{number % 60:02}. Nobody knows why."] for number in range(64)]
    result = {}
    for name, make, own in (
        ("fake", lambda: ContextCompressor(FakeScorer(), CompressorConfig(cache_bytes=0)), requests),
        ("model", lambda: ContextCompressor.from_pretrained(dtype="float32", cache_bytes=0), texts),
    ):
        compressor = make()
        expected = [compressor.compress(request, rate=0.5).documents for request in own]
        with ThreadPoolExecutor(64) as pool:
            threads = [one.documents for one in pool.map(partial(compressor.compress, rate=0.5), own)]

        async def all_at_once(own: Any = own, compressor: ContextCompressor = compressor) -> list[CompressionResult]:
            return await asyncio.gather(*(compressor.acompress(request, rate=0.5) for request in own))

        async def measured(work: Any = all_at_once) -> Any:
            return await beside(work)

        found, times = asyncio.run(measured())
        result[name] = {
            "requests": len(own),
            "threads_64_equal": threads == expected,
            "coroutines_equal": [one.documents for one in found] == expected,
            **times,
        }
    _, idle = asyncio.run(beside(partial(asyncio.sleep, 5)))  # what the machine itself does to a loop without work
    return {**result, "two_megabytes": asyncio.run(_large()), "without_work": idle, "load": os.getloadavg()[0]}


async def _large() -> dict[str, Any]:
    text = "The meeting on 3 May ended at 17:30; nobody knows why. It was long.\n" * 30_000
    compressor = ContextCompressor(FakeScorer(), CompressorConfig(cache_bytes=0))
    compressor.load()
    start = time.perf_counter()
    result, times = await beside(lambda: compressor.acompress(text, "When did it end?", budget_tokens=1000))
    return {
        "characters": len(text),
        "kept_tokens": result.kept_tokens,
        "seconds": round(time.perf_counter() - start, 1),
    } | times


# --- processes --------------------------------------------------------------------------------------------------------


def _fill(folder: str, seed: int) -> None:
    """Score texts for ever; write down each that is in the cache."""
    scorer = CachedScorer(FakeScorer(), "fake", DirectoryStore(folder))
    rng = random.Random(seed)
    with Path(folder, f"done-{seed}.txt").open("a", encoding="utf-8") as log:
        while True:
            number = rng.randrange(20_000)
            scorer.score([segment(f"Text number {number} is here.")], None)
            log.write(f"{number}\n")
            log.flush()


class _Refusing:
    def __init__(self) -> None:
        self.asked = 0

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.asked += len(documents)
        return FakeScorer().score(documents, query)


def part_processes(options: argparse.Namespace) -> dict[str, Any]:
    """8 processes on one folder, killed again and again: is all there that was written down?"""
    context, rng = multiprocessing.get_context("spawn"), random.Random(0)
    with TemporaryDirectory() as folder:
        workers = [context.Process(target=_fill, args=(folder, seed)) for seed in range(8)]
        for worker in workers:
            worker.start()
        time.sleep(15)
        for kill in range(options.kills):
            place = rng.randrange(8)
            os.kill(workers[place].pid or 0, signal.SIGKILL)
            workers[place].join()
            workers[place] = context.Process(target=_fill, args=(folder, 100 + kill))
            workers[place].start()
            time.sleep(1)
        for worker in workers:
            worker.kill()
            worker.join()
        lines = [line for path in Path(folder).glob("done-*.txt") for line in path.read_text().split("\n")[:-1]]
        written = sorted({int(line) for line in lines})
        documents = [segment(f"Text number {number} is here.") for number in written]
        asked = _Refusing()
        found = CachedScorer(asked, "fake", DirectoryStore(folder)).score(documents, None)
        right = FakeScorer().score(documents, None)
        wrong = sum(not np.array_equal(one.metric, two.metric) for one, two in zip(found, right, strict=True))
    return {"processes": 8, "kills": options.kills, "written": len(written), "lost": asked.asked, "wrong": wrong}


# --- memory -----------------------------------------------------------------------------------------------------------


def part_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory over many calls with ever new texts."""
    compressor = ContextCompressor(FakeScorer(), CompressorConfig(cache_bytes=2**20))
    sizes = []
    for number in range(options.calls + 1):
        compressor.compress([f"Call {number}. " + "The meeting ended at 17:30. " * 8, "Two."], "When?", rate=0.5)
        if number % (options.calls // 10) == 0:
            sizes.append(round(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20, 1))
    return {"calls": options.calls, "rss_mb": sizes, "growth_mb_after_first_tenth": round(sizes[-1] - sizes[1], 1)}


PARTS = {"fuzz": part_fuzz, "threads": part_threads, "processes": part_processes, "memory": part_memory}


def main() -> None:
    """Run what the command line says and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--with-model", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end each fuzzing earlier, after this time")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.part or PARTS:
        part = PARTS[name](options)
        known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        known[name] = part
        RESULT.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(part, indent=1)[:3000])


if __name__ == "__main__":
    main()

"""Load on `moos serve` over the loopback: requests per second, and how long each takes.

    python cookbook/benchmarks/run_serve.py --data DIR

* one to 16 clients, each with its next request as soon as it has an answer; all questions differ, so that nothing is
  known from the cache;
* one question for all, with batches of up to 16 requests and with single ones;
* more clients than places: every request is refused and sent again until it is answered, and each answer is compared
  with that of a compressor in this process.

A request has 5 Wikipedia passages of `nq_20docs.jsonl.gz`, cut to 50 words, and a budget of 100 tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from common import write_result
from moos_benchmarks import command_line
from run_speed import texts_of

BUDGET, WORDS, DOCUMENTS = 100, 50, 5
CLIENTS = (1, 4, 16)
REQUESTS = 48  # of each measurement
PLACES, CROWD = 4, 16
START_SECONDS = 300
_PATIENT = ("--request-timeout", "600")
_NUMBERS = itertools.count()


@contextmanager
def served(*options: str) -> Iterator[str]:
    """The address of a server with these options, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moos_integrations.cli", "serve", "--port", str(port), *_PATIENT, *options]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUTF8": "1"}, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def wait_for(address: str) -> None:
    """Wait until a server answers."""
    for _ in range(10 * START_SECONDS):
        try:
            httpx.get(f"{address}/health").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(f"The server did not start within {START_SECONDS} seconds.")


def requests_of(texts: Sequence[str], count: int, *, same_question: bool = False) -> list[dict[str, Any]]:
    """Requests that no server has seen: their passages and questions are numbered."""
    found = []
    for number in itertools.islice(_NUMBERS, count):
        documents = [f"{number}. {texts[(number + place) % len(texts)]}" for place in range(DOCUMENTS)]
        question = "Who was the first to win it?" if same_question else f"Who was the first to win it in {number}?"
        found.append({"documents": documents, "query": question, "budget_tokens": BUDGET})
    return found


async def load(address: str, requests: Sequence[dict[str, Any]], clients: int) -> dict[str, Any]:
    """Send all requests with so many clients; each that is refused is sent again."""
    left, seconds, statuses, answers = iter(list(enumerate(requests))), [], Counter[int](), {}

    async def client(http: httpx.AsyncClient) -> None:
        for index, request in left:
            start = time.perf_counter()
            while index not in answers:
                answer = await http.post("/v1/compress", json=request)
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    await asyncio.sleep(float(answer.headers["retry-after"]))
                else:
                    answers[index] = answer.json().get("text")
            seconds.append(time.perf_counter() - start)

    limits = httpx.Limits(max_connections=clients)
    start = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    whole = time.perf_counter() - start
    return {"answers": [answers[index] for index in range(len(requests))], "statuses": statuses} | {
        "clients": clients,
        "requests": len(requests),
        "requests_per_second": round(len(requests) / whole, 2),
        "p50_milliseconds": round(1000 * float(np.percentile(seconds, 50))),
        "p99_milliseconds": round(1000 * float(np.percentile(seconds, 99))),
    }


def measured(address: str, requests: Sequence[dict[str, Any]], clients: int) -> dict[str, Any]:
    """The numbers of one load, after a warm-up."""
    found = asyncio.run(load(address, requests, clients))
    statuses = found.pop("statuses")
    del found["answers"]
    assert set(statuses) == {200}, statuses
    print(found, file=sys.stderr)
    return found


def compared(texts: Sequence[str], requests: int, addresses: dict[str, str]) -> dict[str, float]:
    """Requests per second of 16 clients with one question, with each server in turn; the better of two."""
    found: dict[str, list[float]] = {name: [] for name in addresses}
    for _ in range(2):
        for name, address in addresses.items():
            own = requests_of(texts, requests, same_question=True)
            found[name].append(measured(address, own, 16)["requests_per_second"])
    return {name: max(speeds) for name, speeds in found.items()}


def overload(address: str, requests: Sequence[dict[str, Any]], clients: int) -> dict[str, Any]:
    """Whether each request got its answer where there are more clients than places."""
    from moos_integrations import ContextCompressor

    found = asyncio.run(load(address, requests, clients))
    compressor = ContextCompressor.from_pretrained(budget_tokens=BUDGET)
    wanted = [compressor.compress(request["documents"], request["query"]).text for request in requests]
    right = sum(answer == own for answer, own in zip(found.pop("answers"), wanted, strict=True))
    statuses = found.pop("statuses")
    return {**found, "places": PLACES, "refused": statuses[429], "answered": statuses[200], "right_answers": right}


def main(
    data: command_line.Data,
    requests: Annotated[int, typer.Option(help="Requests of each measurement.")] = REQUESTS,
) -> None:
    """Measure requests per second and their time."""
    texts = texts_of(data, 200, WORDS)
    with served() as usual, served("--max-batch", "1") as single:
        for address in (usual, single):
            measured(address, requests_of(texts, 2), 1)  # warm-up
        levels = [measured(usual, requests_of(texts, requests), clients) for clients in CLIENTS]
        one_question = compared(texts, requests, {"batches_of_16": usual, "batches_of_1": single})
    with served("--queue-size", str(PLACES)) as small:
        crowd = overload(small, requests_of(texts, 2 * CROWD), CROWD)
    path = write_result(
        "serve",
        {
            "documents": DOCUMENTS,
            "words": WORDS,
            "budget_tokens": BUDGET,
            "levels": levels,
            "one_question_requests_per_second_of_16_clients": one_question,
            "overload": crowd,
            "load_average_after": round(os.getloadavg()[0], 1),
        },
    )
    print(path)


if __name__ == "__main__":
    command_line.start(main)

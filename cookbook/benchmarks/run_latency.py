"""Where the time of a call goes when there is a question, and what known texts cost.

    python cookbook/benchmarks/run_latency.py --data DIR

* a new question over new texts: the whole call, and the share of it in the model's forward pass;
* a new question over texts that were precomputed, relevance by embeddings of the user's own: everything but the
  embedding of the question, which is the user's;
* the same question over the same texts again;
* 250 to 2,000 documents: time and peak memory, each in a process of its own.

Texts are Wikipedia passages of `nq_20docs.jsonl.gz`, cut to 150 words; budget 500 tokens; median after a warm-up.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import typer
from common import write_result
from moos_benchmarks import command_line
from run_speed import peak_mib, texts_of

BUDGET, WORDS, CALLS = 500, 150, 15
MANY = (250, 500, 1000, 2000)
QUESTIONS = [
    f"Who was the first to {verb} in {year}?" for verb in ("win", "rule", "sing") for year in range(1900, 1920)
]


class Given:
    """Embeddings that cost nothing: what is timed is ours, not an embedding model."""

    def __init__(self) -> None:
        """Draw the vectors."""
        self.vectors = np.random.default_rng(0).standard_normal((4096, 384)).astype(np.float32)

    def embed_documents(self, texts: list[str]) -> list[Any]:
        """A vector per text."""
        return [self.vectors[hash(text) % len(self.vectors)] for text in texts]

    def embed_query(self, text: str) -> Any:
        """A vector."""
        return self.vectors[hash(text) % len(self.vectors)]


def timed(call: Callable[[str], Any], questions: Sequence[str]) -> dict[str, float]:
    """Milliseconds per call, each with another question."""
    call("Is this a warm-up?")
    seconds = []
    for question in questions:
        start = time.perf_counter()
        call(question)
        seconds.append(time.perf_counter() - start)
    return {"milliseconds": round(1000 * statistics.median(seconds), 2), "max": round(1000 * max(seconds), 2)}


def new_question(texts: list[str]) -> dict[str, Any]:
    """A question that was never asked over texts that were never seen; then the same one again."""
    from moos_integrations import ContextCompressor

    compressor = ContextCompressor.from_pretrained(budget_tokens=BUDGET, cache_bytes=0)
    model = compressor.scorer.classifier.model  # type: ignore[attr-defined]
    spent, started = [0.0], [0.0]

    def before(*_: Any) -> None:
        started[0] = time.perf_counter()

    def after(*_: Any) -> None:
        spent[0] += time.perf_counter() - started[0]

    model.register_forward_pre_hook(before)
    model.register_forward_hook(after)
    asked = QUESTIONS[:CALLS]
    found = timed(lambda question: compressor.compress(texts, question), asked)
    spent[0], start = 0.0, time.perf_counter()
    for question in asked:
        compressor.compress(texts, question)
    share = spent[0] / (time.perf_counter() - start)
    again = ContextCompressor.from_pretrained(budget_tokens=BUDGET)
    repeated = timed(lambda _: again.compress(texts, "Who was the first?"), asked)
    return {"new_question": {**found, "forward_share": round(share, 3)}, "same_question_again": repeated}


def known_texts(texts: list[str]) -> dict[str, Any]:
    """A new question over known texts, with embeddings."""
    from moos_integrations import ContextCompressor

    compressor = ContextCompressor.from_pretrained(budget_tokens=BUDGET, embeddings=Given())
    compressor.precompute(texts)
    return timed(lambda question: compressor.compress(texts, question), QUESTIONS[:CALLS])


def many(texts: list[str]) -> dict[str, Any]:
    """One call over many documents."""
    from moos_integrations import ContextCompressor

    compressor = ContextCompressor.from_pretrained(budget_tokens=BUDGET, cache_bytes=0)
    compressor.compress(texts[:20], "Is this a warm-up?")
    before, start = peak_mib(), time.perf_counter()
    result = compressor.compress(texts, QUESTIONS[0])
    seconds = time.perf_counter() - start
    return {
        "documents": len(texts),
        "seconds": round(seconds, 2),
        "kept_tokens": result.kept_tokens,
        "peak_mib": peak_mib(),
        "peak_mib_before": before,
    }


def main(
    data: command_line.Data,
    many_documents: Annotated[
        int | None, typer.Option("--many", help="One call over so many documents, printed as JSON.")
    ] = None,
) -> None:
    """Measure the latency of a question."""
    if many_documents:
        print(json.dumps(many(texts_of(data, many_documents, WORDS))))
        return
    texts = texts_of(data, 20, WORDS)
    found = {**new_question(texts), "known_texts": known_texts(texts), "many": []}
    for count in MANY:
        command = [sys.executable, __file__, "--data", str(data), "--many", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found["many"].append(json.loads(done.stdout.strip().splitlines()[-1]))
    print(write_result("latency", {"documents": 20, "words": WORDS, "budget_tokens": BUDGET, **found}))


if __name__ == "__main__":
    command_line.start(main)

"""Is the ceiling ever exceeded, and how much of it stays unused? Ten thousand random requests.

    python cookbook/benchmarks/run_ceiling.py --data DIR

A request is up to eight documents cut at random places out of Wikipedia passages, tables, code and logs, some of them
twice, some of them noise; a budget from nothing to more than everything; a tokenizer; a setting of the budgets; with or
without a question. Scores are random: the ceiling must hold whatever the model says. The output is counted anew, by the
tokenizer itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import typer
from common import read_passages, write_result
from moos_benchmarks import command_line
from tqdm import tqdm

from moos_integrations import CompressorConfig, ContextCompressor, SegmentedText, WordScores
from moos_integrations.core.config import GainSettings
from moos_integrations.core.tokens import token_counter

SETS = ("nq_20docs", "tatqa_tables", "code_functions", "loghub_logs")
NOISE = (
    "",
    " \n ",
    "x" * 900,
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪 1️⃣ " * 9,
    "东京タワー กรุงเทพ हिन्दी Ελλάδα " * 9,
    "a\u0301" * 60,
    "\ud800 b",
    "=" * 200,
)
TOKENIZERS: dict[str, Any] = {
    "o200k_base": "o200k_base",
    "cl100k_base": "cl100k_base",
    "characters / 4": lambda text: -(-len(text) // 4),
    "words": lambda text: len(text.split()),
}


class RandomScorer:
    """Random scores of words, units and documents."""

    def __init__(self, seed: int) -> None:
        """Seed it."""
        self._rng = np.random.default_rng(seed)

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Any scores do."""
        return [self._score(document, query) for document in documents]

    def _score(self, document: SegmentedText, query: str | None) -> WordScores:
        rng, units = self._rng, len(document.unit_starts)
        scores = WordScores.from_preserve(rng.random(len(document)))
        if query is None:
            return scores
        vectors = rng.standard_normal((units, 8)).astype(np.float32)
        return replace(
            scores, passage_probability=rng.random(), unit_similarity=rng.normal(0, 3, units), unit_vectors=vectors
        )


def documents_of(texts: Sequence[str], rng: random.Random) -> list[str]:
    """Up to eight pieces of the texts."""
    found = []
    for _ in range(rng.randrange(1, 9)):
        text = rng.choice(texts)
        start = rng.randrange(max(len(text), 1))
        found.append(rng.choice(NOISE) if rng.random() < 0.1 else text[start : start + rng.randrange(1, 1200)])
    return found + rng.sample(found, rng.randrange(len(found) + 1)) if rng.random() < 0.2 else found


def config_of(rng: random.Random) -> tuple[str, CompressorConfig]:
    """A tokenizer by name, and settings with it."""
    name = rng.choice(list(TOKENIZERS))
    return name, CompressorConfig(
        tokenizer=TOKENIZERS[name],
        gains=GainSettings(
            whole_from=rng.choice((0.0, 0.5, 1.0)),
            temperature=rng.choice((0.2, 1.0, 4.0)),
            redundancy=rng.choice(("greedy", "symmetric")),
        ),
        order=rng.choice(("source", "relevance", "ends")),
        top_n=rng.choice((None, None, 2)),
        separator=rng.choice(("\n\n", "\n---\n", " ", "")),
        protect=rng.choice(((), ("numbers",))),
    )


def draw(texts: Sequence[str], rng: random.Random) -> dict[str, Any]:
    """One request: its budget, what was used of it, and whether the result said why not all was."""
    name, config = config_of(rng)
    compressor = ContextCompressor(RandomScorer(rng.randrange(2**32)), config)
    documents = documents_of(texts, rng)
    count = token_counter(config.tokenizer).count
    whole = count(config.separator.join(document for document in documents if document))
    budget = rng.choice((0, 1, rng.randrange(64), rng.randrange(max(whole, 1) + 8), rng.randrange(2 * whole + 8)))
    result = compressor.compress(documents, rng.choice((None, "Who built the bridge?")), budget_tokens=budget)
    used = count(result.text)
    return {
        "tokenizer": name,
        "budget": budget,
        "used": used,
        "counted": result.kept_tokens,
        "everything": all(document.text == source for document, source in zip(result, documents, strict=True)),
        "told": bool(result.warnings),
        "limited": config.top_n is not None,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts, and quantiles of the unused part where something had to go."""
    cut = [row for row in rows if not row["everything"] and not row["limited"]]
    unused = np.array([row["budget"] - row["used"] for row in cut])
    share = np.array([1 - row["used"] / row["budget"] for row in cut if row["budget"] >= 50])
    silent = [row for row in cut if not row["told"] and row["budget"] - row["used"] > max(8, 0.05 * row["budget"])]
    return {
        "draws": len(rows),
        "above_the_ceiling": sum(row["used"] > row["budget"] for row in rows),
        "counted_wrongly": sum(row["used"] != row["counted"] for row in rows),
        "unused_tokens": {str(q): float(np.quantile(unused, q)) for q in (0.5, 0.9, 0.99, 1.0)},
        "unused_share_from_50_tokens_on": {str(q): round(float(np.quantile(share, q)), 4) for q in (0.5, 0.9, 0.99)},
        "much_unused_and_not_told": len(silent),
    }


def main(
    data: command_line.Data,
    draws: Annotated[int, typer.Option(help="Requests.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Draw requests and hold them against their ceilings."""
    texts = [passage.text for name in SETS for passage in read_passages(data, name, 60)]
    rng = random.Random(seed)
    rows = [draw(texts, rng) for _ in tqdm(range(draws))]
    by_tokenizer = {name: summary([row for row in rows if row["tokenizer"] == name]) for name in TOKENIZERS}
    payload = {"seed": seed, **summary(rows), "tokenizers": by_tokenizer}
    print(write_result("ceiling", payload))


if __name__ == "__main__":
    command_line.start(main)

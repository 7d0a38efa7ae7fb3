"""The default target: the smallest that keeps 99 % of the answers which the full context holds, over all sets together.

    python cookbook/benchmarks/run_calibration.py --data DIR

Both kinds are tried, `rate` (a share of the tokens) and `threshold` (adaptive), each by halving; the one that keeps
fewer tokens is the default. Every set has the same weight: at most `--limit` questions of each.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.budgets import read_set

from moos_integrations import ContextCompressor
from moos_integrations.evaluation import calibrate
from moos_integrations.evaluation.metrics import normalise, survives

SETS = ("nq_20docs", "nq_10docs", "hotpotqa", "2wikimqa", "musique", "covidqa_long", "tatqa_tables")
Row = tuple[str, list[str], tuple[str, ...]]


def questions(data: Path, limit: int) -> dict[str, list[Row]]:
    """Question, texts and answers of each set, as far as an answer stands in the texts."""
    found = defaultdict(list)
    for name in SETS:
        records = list(read_set(data, name))
        for record in records[:: max(1, len(records) // limit)][:limit]:
            texts = [document.text for document in record.documents]
            if survives(record.answers, normalise("\n\n".join(texts))):
                found[name].append((record.question, texts, record.answers))
    return dict(found)


def outcome(compressor: ContextCompressor, rows: list[Row], **target: Any) -> dict[str, Any]:
    """Answers and tokens kept."""
    results = [compressor.compress(texts, question, **target) for question, texts, _ in rows]
    kept = [survives(answers, normalise(result.text)) for result, (_, _, answers) in zip(results, rows, strict=True)]
    return {
        "questions": len(rows),
        "recall": round(sum(kept) / len(rows), 4),
        "kept": round(sum(result.rate for result in results) / len(rows), 4),
    }


def main(
    data: command_line.Data,
    limit: Annotated[int, typer.Option(help="Questions per set.")] = 100,
    min_recall: Annotated[float, typer.Option(help="Share of the answers to keep.")] = 0.99,
) -> None:
    """Find the default target."""
    by_set = questions(data, limit)
    rows = [row for own in by_set.values() for row in own]
    compressor = ContextCompressor.from_pretrained(cache_bytes=2**30)
    asked, texts, answers = (list(column) for column in zip(*rows, strict=True))
    found = calibrate(compressor, asked, texts, answers, min_recall=min_recall)
    best: dict[str, tuple[float, float, float]] = {}
    for name, value, recall, kept in found.tried:
        if recall >= min_recall and (name not in best or kept < best[name][2]):
            best[name] = (value, recall, kept)
    (name, value), *_ = [
        (name, value) for name in ("rate", "threshold") if (value := getattr(found.config, name)) is not None
    ]
    payload = {
        "min_recall": min_recall,
        "model": compressor.scorer.fingerprint,  # type: ignore[attr-defined]
        "targets": [
            {"target": target, "value": f"{own[0]:.3g}", "recall": round(own[1], 4), "kept": round(own[2], 4)}
            for target, own in best.items()
        ],
        "chosen": f"{name} {value:.3g}",
        "sets": {own: outcome(compressor, members, **{name: value}) for own, members in by_set.items()},
        "tried": [
            {"target": target, "value": value, "recall": round(recall, 4), "kept": round(kept, 4)}
            for target, value, recall, kept in found.tried
        ],
    }
    print(write_result("calibration", payload))


if __name__ == "__main__":
    command_line.start(main)

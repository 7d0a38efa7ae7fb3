"""Does anything here answer? Calibration of the documents' relevance, and what a floor (`min_relevance`) then does.

    python cookbook/benchmarks/run_answering.py --data DIR --data DIR/dev --scores CACHE --rows ROWS

A document answers if it has marked evidence or, where none is marked, an answer word by word. A logistic regression
over its best sentence and passage is fitted on one half of the questions and measured on the other, both ways; what is
in the model's config.json is fitted on all. Without the documents that answer, each question of several documents is
one that nothing answers; questions that were made without an answer are measured apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import write_result
from moos_benchmarks import command_line
from run_two_stages import SETS, Row, rows_of

from moos_integrations import ContextCompressor
from moos_integrations.core.answering import ENCODER, READER, Answering, probability
from moos_integrations.core.types import BoolArray, FloatArray

FLOORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_BINS, _DECAY, _STEPS = 10, 1e-3, 50


def fit(members: Sequence[Row], kind: str) -> Answering:
    """Logistic regression by Newton's method, over all documents alike."""
    rows = np.concatenate([own.documents[kind] for own in members])
    labels = np.concatenate([own.answers for own in members]).astype(float)
    weights = np.full(len(rows), 1 / len(rows))
    mean, spread = rows.mean(0), rows.std(0) + 1e-9
    scaled = np.concatenate([np.ones((len(rows), 1)), (rows - mean) / spread], 1)
    found = np.zeros(scaled.shape[1])
    decay = _DECAY * np.diag([0.0] + [1.0] * rows.shape[1])
    for _ in range(_STEPS):
        likely = probability(scaled @ found)
        slope = scaled.T @ (weights * (likely - labels)) + decay @ found
        curve = (scaled * (weights * likely * (1 - likely))[:, None]).T @ scaled + decay + 1e-9 * np.eye(len(found))
        found = found - np.linalg.solve(curve, slope)
    slopes = found[1:] / spread
    return Answering(float(found[0] - slopes @ mean), tuple(slopes.tolist()))


def two_fold(members: Sequence[Row], kind: str) -> list[FloatArray]:
    """The probability of each question's documents by a fit on the other half."""
    halves = [[own for index, own in enumerate(members) if index % 2 == half] for half in (0, 1)]
    models = [fit(half, kind) for half in halves[::-1]]
    return [probability(models[index % 2].of(own.documents[kind])) for index, own in enumerate(members)]


def reliability(likely: FloatArray, labels: BoolArray) -> dict[str, Any]:
    """How often documents of about the same probability do answer; expected error, and area under the curve."""
    place = np.minimum((likely * _BINS).astype(int), _BINS - 1)
    bins = [
        {
            "documents": int((place == index).sum()),
            "mean probability": round(float(likely[place == index].mean()), 4),
            "share that answers": round(float(labels[place == index].mean()), 4),
        }
        for index in range(_BINS)
        if (place == index).any()
    ]
    error = sum(own["documents"] * abs(own["mean probability"] - own["share that answers"]) for own in bins)
    order = np.argsort(likely, kind="stable")
    ranks = np.empty(len(likely))
    ranks[order] = np.arange(1, len(likely) + 1)
    good, bad = int(labels.sum()), int((~labels).sum())
    area = (ranks[labels].sum() - good * (good + 1) / 2) / max(good * bad, 1)
    return {"bins": bins, "expected error": round(error / len(likely), 4), "area": round(float(area), 4)}


def floors(likely: Sequence[FloatArray], members: Sequence[Row]) -> dict[str, Any]:
    """Per floor: questions that still have a document that answers; those without one that are found out."""
    answered = [(own, found) for own, found in zip(members, likely, strict=True) if own.answers.any()]
    without = [found[~own.answers] for own, found in zip(members, likely, strict=True) if not own.answers.all()]
    table = {}
    for floor in FLOORS:
        table[str(floor)] = {
            "answered, kept": _mean([found[own.answers].max() >= floor for own, found in answered]),
            "without answer, found out": _mean([found.max() < floor for found in without]),
            "documents kept": round(float(np.mean(np.concatenate(likely) >= floor)), 4),
        }
    return {"answered": len(answered), "without answer": len(without), "floors": table}


def _mean(flags: Sequence[bool]) -> float | None:
    """The share of true ones; None of none."""
    return round(float(np.mean(flags)), 4) if flags else None


def _of(name: str, likely: Sequence[FloatArray], members: Sequence[Row]) -> tuple[list[FloatArray], list[Row]]:
    """Those of one set."""
    places = [index for index, own in enumerate(members) if own.name == name]
    return [likely[index] for index in places], [members[index] for index in places]


def main(
    data: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder with data sets; repeatable.")],
    model: Annotated[str, typer.Option(help="The reader.")] = command_line.DEFAULT_MODEL,
    encoder: Annotated[str, typer.Option(help="The encoder; 'own' for the reader's own.")] = "all-MiniLM-L6-v2",
    sets: Annotated[list[str] | None, typer.Option(help="Some of the sets; repeatable.")] = None,
    scores: Annotated[Path | None, typer.Option(help="Folder that keeps scores.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Folder that keeps what is made of them.")] = None,
) -> None:
    """Calibrate, and measure the calibration."""
    own = None if encoder == "own" else encoder
    cache = None if scores is None else str(scores)
    compressor = ContextCompressor.from_pretrained(model, encoder=own, cache_dir=cache, cache_bytes=2**26, lazy=True)
    key = f"{Path(model).name}-{Path(encoder).name}"
    chosen = command_line.chosen(sets, list(SETS))
    members = [row for name in chosen for row in rows_of(compressor, data, name, rows, key)]
    found: dict[str, Any] = {"questions": len(members)}
    for kind in (READER, ENCODER):
        likely = two_fold(members, kind)
        labels = np.concatenate([one.answers for one in members])
        of_sets = {
            name: floors(*_of(name, likely, members))
            for name in dict.fromkeys(one.name for one in members)
            if not name.endswith("without answer")
        }
        made = [p for p, m in zip(likely, members, strict=True) if m.name.endswith("without answer")]
        package = fit(members, kind)
        found[kind] = {
            "package": [round(package.bias, 4), *(round(value, 4) for value in package.weights)],
            "reliability": reliability(np.concatenate(likely), labels),
            "all": floors(likely, members),
            "made without answer, found out": {
                "questions": len(made),
                **{str(floor): _mean([bool(p.max() < floor) for p in made]) for floor in FLOORS},
            },
            "sets": of_sets,
        }
        typer.echo(f"{kind}: {json.dumps({**found[kind], 'sets': None})}")
    print(write_result("answering", {"model": model, "encoder": encoder, **found}))


if __name__ == "__main__":
    command_line.start(main)

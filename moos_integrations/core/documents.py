"""Scores of whole documents: the direction of a retriever's, and the relevance that this package finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from moos_integrations.core.answering import ENCODER, READER, Answering
from moos_integrations.core.marginal_gain import UnitGains, log_odds, reader_relevance
from moos_integrations.core.table import Table
from moos_integrations.core.types import FloatArray
from moos_integrations.messages import Notice

_LEAST_SCORES = 4  # fewer scores rise by chance too often
_LEAST, _MOST = -15.0, 25.0  # log-odds beyond which a sentence is not better or worse

RISING = Notice(
    "scores rise",
    "The retriever's scores rise from the first document to the last, so they look like distances or the list is not "
    "best first: they are left out. Scores must be higher for better documents. Pass `-distance` or `1 - distance`.",
)


def rise(scores: Sequence[float | None] | None, least: int = _LEAST_SCORES) -> bool:
    """Whether scores rise strictly down the list: a retriever lists the best first, so they are no similarities.

    Args:
        scores: One per document; None for a document without one.
        least: So many scores prove it.
    """
    known = [score for score in scores or () if score is not None]
    return len(known) >= least and all(first < second for first, second in pairwise(known))


def features_of(table: Table, *, encoder: bool) -> FloatArray:
    """What a calibration needs of each document; the least there is for one without units.

    Shape: `(documents, 2)`, with an encoder `(documents, 4)`.
    """
    columns = [
        _best(table, np.clip(reader_relevance(table), _LEAST, _MOST), _LEAST),
        np.where(np.isnan(table.passage_probability), _LEAST, log_odds(np.nan_to_num(table.passage_probability))),
    ]
    if encoder:
        cosines = np.zeros((table.units, 2)) if table.cosines is None else table.cosines
        columns += [_best(table, cosines[:, 0], 0.0), _best(table, cosines[:, 1], 0.0)]
    return np.stack(columns, 1)


def _best(table: Table, values: FloatArray, least: float) -> FloatArray:
    """The largest value of each document's units. Shape: `(documents,)`."""
    best = np.full(table.documents, -np.inf)
    np.maximum.at(best, table.document_of_unit, values)
    return np.where(np.isfinite(best), best, least)


def answer_log_odds(table: Table, known: Mapping[str, Answering]) -> FloatArray | None:
    """Log-odds that each document answers, by the calibration that fits the scores.

    Returns:
        None if no question was read, or there is no calibration for what was. Shape: `(documents,)`.
    """
    if not table.reads_question:
        return None
    kind = READER if table.cosines is None else ENCODER
    return known[kind].of(features_of(table, encoder=kind == ENCODER)) if kind in known else None


def relevances(
    table: Table, gains: UnitGains | None, query: str | None, known: Mapping[str, Answering]
) -> tuple[float | None, ...]:
    """The relevance of each document; None without a question, and for a document without units.

    With a model that has a calibration, it is the log-odds that the document answers. With any other, it is the
    relevance of its best unit, which says which documents are better, not whether one is good.

    Args:
        table: The request.
        gains: Of its units.
        query: The question, if there is one.
        known: The calibrations of the scorer.
    """
    best = np.full(table.documents, -np.inf)
    answers = answer_log_odds(table, known) if query else None
    if answers is not None:
        filled = np.diff(table.unit_borders) > 0
        best[filled] = answers[filled]
    elif gains is not None and query:
        np.maximum.at(best, table.document_of_unit, gains.relevance)
    return tuple(float(value) if np.isfinite(value) else None for value in best)

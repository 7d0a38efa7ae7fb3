"""Scores of whole documents: the direction of a retriever's, and the relevance that this package finds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from moos_integrations.core.marginal_gain import UnitGains
from moos_integrations.core.table import Table
from moos_integrations.messages import Notice

_LEAST_SCORES = 4  # fewer scores rise by chance too often

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


def relevances(table: Table, gains: UnitGains | None, query: str | None) -> tuple[float | None, ...]:
    """The relevance of each document's best unit; None without a question, and for a document without units."""
    if gains is None or not query:
        return (None,) * table.documents
    best = np.full(table.documents, -np.inf)
    np.maximum.at(best, table.document_of_unit, gains.relevance)
    return tuple(float(value) if np.isfinite(value) else None for value in best)

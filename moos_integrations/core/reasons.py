"""Why words and sentences were kept or dropped: the data, the reasons in words, and what views show above them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from moos_integrations.core.config import Target

Reason = Literal[
    "whole input fits",
    "protected",
    "metric",
    "share of the budget",
    "odds",
    "kept text needs it",
    "fills the rest",
    "cheaper than its mark",
    "its sentence needs it",
    "below the cut",
    "does not fit",
    "repetition",
    "part of a mark",
    "beyond `top_n`",
    "below `min_relevance`",
]

IN_WORDS: Mapping[Reason, str] = {
    "whole input fits": "everything fits",
    "protected": "`protect` names it",
    "metric": "its words score above the cut",
    "share of the budget": "among the best for its length",
    "odds": "its odds reach the threshold",
    "kept text needs it": "kept text is under it, led into by it, or the other half of it",
    "fills the rest": "it fits what larger parts left of the budget",
    "cheaper than its mark": "an omission mark would cost as much",
    "its sentence needs it": "without it, its sentence would say something else",
    "below the cut": "others are worth more",
    "does not fit": "good enough, but too long for what is left of the budget",
    "repetition": "a better sentence says it already",
    "part of a mark": "part of an earlier omission mark",
    "beyond `top_n`": "its document is not among the best `top_n`",
    "below `min_relevance`": "its document is not likely enough to answer the question",
}
"""The reasons as a reader of a view sees them."""


@dataclass(frozen=True, slots=True)
class WordExplanation:
    """One word and what was decided about it.

    Attributes:
        document: Index of its document.
        start: Offset into the source.
        end: Offset behind it.
        text: The word.
        preserve_probability: `p_k` in [0, 1].
        outlier_score: `s_k^norm` in [0, 1]; None where it was not computed (`alpha = 1`).
        metric: `m_k`.
        kept: Whether it is in the output.
        reason: Of a kept word one of these.
            "whole input fits": nothing had to go, or the input is smaller than `min_tokens`.
            "protected": `protect` names it, and its value alone would not have kept it.
            "metric": its metric reaches the cut (words ranked without regard to their units).
            "share of the budget": its unit got enough of the budget for it, by marginal information gain.
            "odds": its unit's odds, as a share of the best unit's, reach the threshold.
            "kept text needs it": kept text is under it or introduced by it, or it is the other half of a pair.
            "fills the rest": it fits what larger parts left of the budget.
            "cheaper than its mark": an omission mark in its place would cost no less.
            "its sentence needs it": a sentence that is thinned keeps it, so that it says what the source says.
            Of a dropped word one of these.
            "below the cut": its value does not reach the cut.
            "does not fit": its value reaches the cut, but whole as it is it takes more than the budget has left.
            "repetition": the text of its unit is in a better unit of another document.
            "beyond `top_n`": its document is not among the best `top_n`.
            "below `min_relevance`": its document is not likely enough to answer the question.
            "part of a mark": it belongs to an earlier omission mark, which is part of a new one.
        passage_probability: How likely its document answers the query, in [0, 1]; None if unknown.
        value: What was compared with `Explanation.cutoff`; `Explanation.quantity` says what the number is.
    """

    document: int
    start: int
    end: int
    text: str
    preserve_probability: float
    outlier_score: float | None
    metric: float
    kept: bool
    reason: Reason
    passage_probability: float | None = None
    value: float = math.nan


@dataclass(frozen=True, slots=True)
class UnitExplanation:
    """One unit (sentence, line) and why it got its share of the budget.

    Attributes:
        document: Index of its document.
        start: Offset into the source.
        end: Offset behind it.
        text: The unit.
        relevance: Log-odds that the question needs it; higher is more relevant, also across documents.
        redundancy: How much it says that a better unit says already, at most 1.
        against: Index, in `Explanation.units`, of the unit that says it; None if there is none.
        repetition: Its text is in that unit.
        gain: Relevance minus weighted redundancy: what shares are given out by.
        share: Its share of the budget, in [0, 1]; what it cannot use goes on to the others.
        words: Words in it.
        kept_words: Words of it that are kept.
        under: Index, in `Explanation.units`, of the heading, lead-in, header row, key or opening line that it is under:
            that unit stays wherever this one does. None if there is none.
    """

    document: int
    start: int
    end: int
    text: str
    relevance: float
    redundancy: float
    against: int | None
    repetition: bool
    gain: float
    share: float
    words: int
    kept_words: int
    under: int | None = None


@dataclass(frozen=True, slots=True)
class ShownUnit:
    """One unit as views show it: all of its source, word by word.

    Attributes:
        index: Index in `Explanation.units`.
        document: Index of its document.
        number: Place among the units of its document, from 0.
        parts: The source in order; white space between words has no explanation.
        unit: The unit's numbers; None where words were ranked without their units.
        said_by: Start of the sentence that says it already; "" if it is no repetition.
    """

    index: int
    document: int
    number: int
    parts: tuple[tuple[str, WordExplanation | None], ...]
    unit: UnitExplanation | None
    said_by: str = ""

    @property
    def words(self) -> list[WordExplanation]:
        """Its words."""
        return [word for _, word in self.parts if word is not None]

    @property
    def text(self) -> str:
        """Its source, with the white space behind it."""
        return "".join(text for text, _ in self.parts)

    @property
    def state(self) -> Literal["kept", "thinned", "dropped"]:
        """What happened to it; a unit without words counts as dropped."""
        flags = {word.kept for word in self.words}
        return "thinned" if len(flags) == 2 else "kept" if True in flags else "dropped"

    @property
    def reasons(self) -> list[Reason]:
        """The reasons of its kept words, or of its words if all were dropped; each once."""
        words = self.words
        kept = [word for word in words if word.kept] or words
        return list(dict.fromkeys(word.reason for word in kept))


@dataclass(frozen=True, slots=True)
class Header:
    """The counts of a call, which views show first.

    Attributes:
        original_tokens: Tokens of the input.
        kept_tokens: Tokens of the output.
        seconds: Wall time of the call.
        documents: Number of documents.
        dropped_documents: Number of those of which nothing was kept.
        target: How much was to be kept; None if unknown.
        question: The question, if there was one.
        warnings: What could not be done as requested.
        left_alone: Whether the input was too small to compress.
    """

    original_tokens: int
    kept_tokens: int
    seconds: float
    documents: int
    dropped_documents: int = 0
    target: Target | None = None
    question: str | None = None
    warnings: tuple[str, ...] = ()
    left_alone: bool = False

    @property
    def tokens(self) -> str:
        """Tokens before and after."""
        share = self.kept_tokens / self.original_tokens if self.original_tokens else 1.0
        return f"{self.original_tokens:,} -> {self.kept_tokens:,} tokens ({share:.1%} kept)"

    @property
    def details(self) -> list[str]:
        """Target, documents and time, in words."""
        dropped = f", {self.dropped_documents} dropped" if self.dropped_documents else ""
        count = f"{self.documents} document{'' if self.documents == 1 else 's'}{dropped}"
        wanted = "left alone: smaller than `min_tokens`" if self.left_alone else target_in_words(self.target)
        return [part for part in (wanted, count, f"{1000 * self.seconds:,.0f} ms") if part]


def target_in_words(target: Target | None) -> str:
    """A target as a reader of a view sees it; "" for none."""
    if target is None:
        return ""
    if target.rate is not None:
        return f"target: at most {target.rate:.1%} of the tokens"
    if target.budget_tokens is not None:
        return f"target: at most {target.budget_tokens:,} tokens"
    return f"target: odds of at least {target.threshold:g} of the best sentence's"


def in_words(unit: ShownUnit) -> str:
    """Why a unit was kept or dropped, in words."""
    if not unit.words:
        return ""
    reasons = "; ".join(IN_WORDS[reason] for reason in unit.reasons)
    said_by = f' ("{unit.said_by}")' if "repetition" in unit.reasons and unit.said_by else ""
    return f"{unit.state}: {reasons}{said_by}"

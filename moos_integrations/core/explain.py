"""Why each word was kept or dropped, as data, as HTML for notebooks and as rich text for terminals."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moos_integrations.core.ordering import Order, Quantity
from moos_integrations.core.table import Table
from moos_integrations.core.types import Selection
from moos_integrations.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

Reason = Literal[
    "whole input fits",
    "protected",
    "metric",
    "share of the budget",
    "odds",
    "kept text needs it",
    "fills the rest",
    "cheaper than its mark",
    "below the cut",
    "does not fit",
    "repetition",
    "part of a mark",
    "beyond `top_n`",
    "below `min_relevance`",
]
# Longest text shown in colour; data for longer texts are in `words`.
_MAX_SHOWN = 200_000
_MAX_UNITS = 500
_UNIT_COLUMNS = ("document", "unit", "relevance", "redundancy", "with", "gain", "share", "kept words")
_KEPT_BY: Mapping[Quantity, Reason] = {"metric": "metric", "priority": "share of the budget", "odds": "odds"}


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
        reason: Of a kept word:
            "whole input fits": nothing had to go, or the input is smaller than `min_tokens`;
            "protected": `protect` names it, and its value alone would not have kept it;
            "metric": its metric reaches the cut (words ranked without regard to their units);
            "share of the budget": its unit got enough of the budget for it, by marginal information gain;
            "odds": its unit's odds, as a share of the best unit's, reach the threshold;
            "kept text needs it": kept text is under it or introduced by it, or it is the other half of a pair;
            "fills the rest": it fits what larger parts left of the budget;
            "cheaper than its mark": an omission mark in its place would cost no less.
            Of a dropped word:
            "below the cut": its value does not reach the cut;
            "does not fit": its value reaches the cut, but whole as it is it takes more than the budget has left;
            "repetition": the text of its unit is in a better unit of another document;
            "beyond `top_n`": its document is not among the best `top_n`;
            "below `min_relevance`": its document is not likely enough to answer the question;
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
        repetition: Its text stands in that unit.
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


class Explanation:
    """The words of all documents with their scores; iterate over it, or show it in a notebook or a rich terminal."""

    def __init__(
        self, table: Table, order: Order, selection: Selection, *, threshold: bool, temperature: float
    ) -> None:
        """Keep references; words and units are made on demand.

        Args:
            table: The request.
            order: Of its words.
            selection: What was kept.
            threshold: Whether a threshold decided, not a ceiling.
            temperature: At which units shared the budget.
        """
        self._table, self._order, self._selection = table, order, selection
        self._values = order.level if threshold else order.priority
        self._quantity, self._temperature = order.quantity(threshold=threshold), temperature

    def __iter__(self) -> Iterator[WordExplanation]:
        """Every word of every document, in source order."""
        for index in range(self._table.documents):
            yield from self._of_document(index)

    def __len__(self) -> int:
        """Number of words."""
        return self._table.words

    @property
    def words(self) -> list[WordExplanation]:
        """Every word of every document, in source order."""
        return list(self)

    @property
    def units(self) -> list[UnitExplanation]:
        """Every unit of every document, in source order; none where words were ranked without their units."""
        gains, table, kept = self._order.gains, self._table, self._selection.kept
        if gains is None:
            return []
        columns = (
            table.document_of_unit,
            gains.relevance,
            gains.redundancy,
            gains.against,
            gains.repeated,
            gains.gain,
            gains.shares(self._temperature),
            np.bincount(table.unit_of_word, minlength=table.units),
            np.bincount(table.unit_of_word[kept], minlength=table.units),
            table.parents,
        )
        rows = zip(self._unit_spans(), *(column.tolist() for column in columns), strict=True)
        return [
            UnitExplanation(
                document=document,
                start=start,
                end=end,
                text=table.texts[document].document.text[start:end],
                relevance=relevance,
                redundancy=redundancy,
                against=None if against < 0 else against,
                repetition=repeated,
                gain=gain,
                share=share,
                words=words,
                kept_words=kept_words,
                under=None if over < 0 else over,
            )
            for (start, end), document, relevance, redundancy, against, repeated, gain, share, words, kept_words, over
            in rows
        ]  # fmt: skip

    def _unit_spans(self) -> Iterator[tuple[int, int]]:
        for text in self._table.texts:
            yield from zip(text.document.unit_starts.tolist(), text.document.unit_ends.tolist(), strict=True)

    @property
    def quantity(self) -> Quantity:
        """By what words were compared.

        "metric" is MOOSComp's `m_k`. "priority" is the gain of a word's unit, in units of the temperature, less the
        logarithm of the tokens that the unit must get for the word to enter. "odds" are those of the word's unit as a
        share of the best unit's.
        """
        return self._quantity

    @property
    def cutoff(self) -> float:
        """Value of the worst word that was kept by its value; infinite if all words or none were."""
        return self._selection.cutoff

    def to_dicts(self) -> list[dict[str, Any]]:
        """The words as plain dictionaries, ready for JSON or a data frame."""
        return [asdict(word) for word in self]

    def _of_document(self, index: int) -> Iterator[WordExplanation]:
        document, scores = self._table.texts[index].document, self._table.scores[index]
        first = int(self._table.word_borders[index])
        part = slice(first, first + len(document))
        value, kept = self._values[part], self._selection.kept[part]
        columns = (
            document.word_starts,
            document.word_ends,
            scores.preserve,
            scores.outlier,
            scores.metric,
            value,
            kept,
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for word, (start, end, preserve, outlier, metric, worth, is_kept) in enumerate(rows, first):
            yield WordExplanation(
                document=index,
                start=start,
                end=end,
                text=document.text[start:end],
                preserve_probability=preserve,
                outlier_score=_known(outlier),
                metric=metric,
                kept=is_kept,
                reason=self._reason_kept(word) if is_kept else self._reason_dropped(word),
                passage_probability=_known(scores.passage_probability),
                value=worth,
            )

    def _reason_kept(self, word: int) -> Reason:
        selection = self._selection
        if math.isinf(selection.cutoff) and selection.cutoff < 0:
            return "whole input fits"
        if selection.restored is not None and selection.restored[word]:
            return "cheaper than its mark"
        if selection.needed is not None and selection.needed[word]:
            return "kept text needs it"
        if selection.filled is not None and selection.filled[word]:
            return "fills the rest"
        return "protected" if self._values[word] < selection.cutoff else _KEPT_BY[self._quantity]

    def _reason_dropped(self, word: int) -> Reason:
        table, gains = self._table, self._order.gains
        document = table.document_of_word[word]
        if self._order.answers is not None and not self._order.answers[document]:
            return "below `min_relevance`"
        if not self._order.eligible[document]:
            return "beyond `top_n`"
        if self._selection.absorbed is not None and self._selection.absorbed[word]:
            return "part of a mark"
        if gains is not None and gains.repeated[table.unit_of_word[word]]:
            return "repetition"
        return "below the cut" if self._values[word] < self._lowest_kept else "does not fit"

    @cached_property
    def _lowest_kept(self) -> float:
        """Value of the worst word that was kept for its value, what fills the rest included."""
        selection = self._selection
        by_value = self._values >= selection.cutoff
        values = self._values[selection.kept & (by_value if selection.filled is None else by_value | selection.filled)]
        return float(values.min()) if len(values) else math.inf

    def _heading(self, index: int) -> str:
        probability = self._table.scores[index].passage_probability
        return f"[{index}]" if math.isnan(probability) else f"[{index}] answers with probability {probability:.2f}"

    def _segments(self, index: int) -> Iterator[tuple[str, WordExplanation | None]]:
        """The source of a document cut into words and the white space between them."""
        source, position = self._table.texts[index].document.text, 0
        for word in self._of_document(index):
            yield source[position : word.start], None
            yield word.text, word
            position = word.end
        yield source[position:], None

    def _repr_html_(self) -> str:
        """Kept words on a green ground (yellow if protected), dropped ones grey; scores on hover. Escaped.

        Where units shared the budget, a table of them folds out.
        """
        documents = "".join(self._document_html(index) for index in range(self._table.documents))
        return documents + self._units_html()

    def _units_html(self) -> str:
        units = self.units[:_MAX_UNITS]
        if not units:
            return ""
        cells = [_unit_cells(unit, units) for unit in units]
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
        head = "".join(f"<th>{name}</th>" for name in _UNIT_COLUMNS)
        return f"<details><summary>Units</summary><table><tr>{head}</tr>{rows}</table></details>"

    def _document_html(self, index: int) -> str:
        parts, shown = [], 0
        for text, word in self._segments(index):
            if shown > _MAX_SHOWN:
                parts.append(" …")
                break
            shown += len(text)
            parts.append(html.escape(text) if word is None else self._word_html(word))
        style = "white-space:pre-wrap;line-height:1.6;margin:0 0 1em 0"
        return f'<div style="{style}"><b>{self._heading(index)}</b> {"".join(parts)}</div>'

    def _word_html(self, word: WordExplanation) -> str:
        outlier = "-" if word.outlier_score is None else f"{word.outlier_score:.3f}"
        compared = f"{self.quantity} {word.value:.3f}, the cut is {self.cutoff:.3f}"
        title = f"{word.reason} ({compared}); p={word.preserve_probability:.3f} outlier={outlier} m={word.metric:.3f}"
        colour = "color:#999;text-decoration:line-through"
        if word.kept:
            ground = "255,214,102" if word.reason == "protected" else "46,160,67"
            colour = f"background:rgba({ground},{0.15 + 0.45 * min(max(word.metric, 0.0), 1.0):.2f})"
        return f'<span style="{colour}" title="{html.escape(title, quote=True)}">{html.escape(word.text)}</span>'

    def __rich__(self) -> Text | Group:
        """Kept words bold green (yellow if protected), dropped ones dim and struck through; below, the units."""
        try:
            from rich.console import Group
            from rich.table import Table
            from rich.text import Text
        except ImportError as error:
            raise MissingExtraError("rich", extra="cli") from error
        text = Text()
        for index in range(self._table.documents):
            text.append(f"{self._heading(index)} ", style="bold")
            for part, word in self._segments(index):
                text.append(part, style=_rich_style(word))
            text.append("\n")
        units = self.units[:_MAX_UNITS]
        if not units:
            return text
        table = Table(*_UNIT_COLUMNS, title="Units")
        for unit in units:
            table.add_row(*map(Text, _unit_cells(unit, units)), style="" if unit.kept_words else "dim")
        return Group(text, table)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _unit_cells(unit: UnitExplanation, units: Sequence[UnitExplanation]) -> list[str]:
    other = "" if unit.against is None or unit.against >= len(units) else _start_of(units[unit.against])
    return [
        f"[{unit.document}]",
        _start_of(unit),
        f"{unit.relevance:.2f}",
        "repeated" if unit.repetition else f"{unit.redundancy:.2f}",
        other,
        f"{unit.gain:.2f}",
        f"{unit.share:.1%}",
        f"{unit.kept_words} of {unit.words}",
    ]


def _start_of(unit: UnitExplanation) -> str:
    text = " ".join(unit.text.split())
    return text if len(text) <= 40 else f"{text[:39]}…"


def _rich_style(word: WordExplanation | None) -> str:
    if word is None:
        return ""
    if not word.kept:
        return "dim strike"
    return "bold yellow" if word.reason == "protected" else "bold green"

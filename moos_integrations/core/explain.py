"""Why each word was kept or dropped, as data, as HTML for notebooks and as rich text for terminals."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moos_integrations.core.marginal_gain import UnitGains
from moos_integrations.core.text import enclosing_units
from moos_integrations.core.types import SegmentedText, Selection, WordScores
from moos_integrations.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

Reason = Literal["metric", "protected", "whole input fits", "below the cut"]
# Longest text shown in colour; data for longer texts are in `words`.
_MAX_SHOWN = 200_000
_MAX_UNITS = 500
_UNIT_COLUMNS = ("document", "unit", "relevance", "redundancy", "with", "gain", "share", "kept words")


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
        reason: "metric" or "protected" or "whole input fits" for kept words, "below the cut" for dropped ones.
        relevance: How likely its document answers the query, in [0, 1]; None where nothing tells.
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
    relevance: float | None = None


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
        under: Index, in `Explanation.units`, of the line that opens the block it stands in (`def`, `if`, the item above
            a nested list), by its indentation: that line stays wherever this one does, protected words apart. None if
            there is none.
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
        self,
        documents: Sequence[SegmentedText],
        scores: Sequence[WordScores],
        selection: Selection,
        gains: UnitGains | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Keep references; words and units are made on demand."""
        self._documents, self._scores, self._selection = documents, scores, selection
        self._gains, self._temperature = gains, temperature

    def __iter__(self) -> Iterator[WordExplanation]:
        """Every word of every document, in source order."""
        for index in range(len(self._documents)):
            yield from self._of_document(index)

    def __len__(self) -> int:
        """Number of words."""
        return sum(map(len, self._documents))

    @property
    def words(self) -> list[WordExplanation]:
        """Every word of every document, in source order."""
        return list(self)

    @property
    def units(self) -> list[UnitExplanation]:
        """Every unit of every document, in source order; none where words were ranked without their units."""
        gains = self._gains
        if gains is None:
            return []
        found: list[UnitExplanation] = []
        shares = gains.shares(self._temperature)
        for index, (document, kept) in enumerate(zip(self._documents, self._selection.kept, strict=True)):
            count = len(document.unit_starts)
            words = np.bincount(document.unit_of_word, minlength=count).tolist()
            kept_words = np.bincount(document.unit_of_word[kept], minlength=count).tolist()
            over, first = enclosing_units(document).tolist(), len(found)
            spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
            for unit, (start, end) in enumerate(spans):
                place = first + unit
                against = int(gains.against[place])
                found.append(
                    UnitExplanation(
                        document=index,
                        start=start,
                        end=end,
                        text=document.text[start:end],
                        relevance=float(gains.relevance[place]),
                        redundancy=float(gains.redundancy[place]),
                        against=None if against < 0 else against,
                        repetition=bool(gains.repeated[place]),
                        gain=float(gains.gain[place]),
                        share=float(shares[place]),
                        words=words[unit],
                        kept_words=kept_words[unit],
                        under=None if over[unit] < 0 else first + over[unit],
                    )
                )
        return found

    @property
    def cutoff(self) -> float:
        """Metric of the worst word that was kept by its metric."""
        return self._selection.cutoff

    def to_dicts(self) -> list[dict[str, Any]]:
        """The words as plain dictionaries, ready for JSON or a data frame."""
        return [asdict(word) for word in self]

    def _of_document(self, index: int) -> Iterator[WordExplanation]:
        document, scores = self._documents[index], self._scores[index]
        kept, protected = self._selection.kept[index].tolist(), self._selection.protected[index].tolist()
        value = self._selection.value[index]
        columns = (document.word_starts, document.word_ends, scores.preserve, scores.outlier, scores.metric, value)
        rows = zip(*(column.tolist() for column in columns), kept, protected, strict=True)
        for start, end, preserve, outlier, metric, worth, is_kept, is_protected in rows:
            yield WordExplanation(
                index, start, end, document.text[start:end], preserve, _known(outlier), metric,
                is_kept, self._reason(is_kept, is_protected, worth), _known(scores.relevance),
            )  # fmt: skip

    def _reason(self, kept: bool, protected: bool, metric: float) -> Reason:
        if not kept:
            return "below the cut"
        if self._selection.whole:
            return "whole input fits"
        return "protected" if protected and metric < self._selection.cutoff else "metric"

    def _heading(self, index: int) -> str:
        relevance = self._scores[index].relevance
        return f"[{index}]" if math.isnan(relevance) else f"[{index}] relevance {relevance:.2f}"

    def _segments(self, index: int) -> Iterator[tuple[str, WordExplanation | None]]:
        """The source of a document cut into words and the white space between them."""
        source, position = self._documents[index].text, 0
        for word in self._of_document(index):
            yield source[position : word.start], None
            yield word.text, word
            position = word.end
        yield source[position:], None

    def _repr_html_(self) -> str:
        """Kept words on a green ground (yellow if protected), dropped ones grey; scores on hover. Escaped.

        Where units shared the budget, a table of them folds out.
        """
        documents = "".join(self._document_html(index) for index in range(len(self._documents)))
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
            parts.append(html.escape(text) if word is None else _word_html(word))
        style = "white-space:pre-wrap;line-height:1.6;margin:0 0 1em 0"
        return f'<div style="{style}"><b>{self._heading(index)}</b> {"".join(parts)}</div>'

    def __rich__(self) -> Text | Group:
        """Kept words bold green (yellow if protected), dropped ones dim and struck through; below, the units."""
        try:
            from rich.console import Group
            from rich.table import Table
            from rich.text import Text
        except ImportError as error:
            raise MissingExtraError("rich", extra="cli") from error
        text = Text()
        for index in range(len(self._documents)):
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


def _word_html(word: WordExplanation) -> str:
    outlier = "-" if word.outlier_score is None else f"{word.outlier_score:.3f}"
    title = html.escape(
        f"p={word.preserve_probability:.3f} outlier={outlier} m={word.metric:.3f}: {word.reason}", quote=True
    )
    colour = "color:#999;text-decoration:line-through"
    if word.kept:
        ground = "255,214,102" if word.reason == "protected" else "46,160,67"
        colour = f"background:rgba({ground},{0.15 + 0.45 * min(max(word.metric, 0.0), 1.0):.2f})"
    return f'<span style="{colour}" title="{title}">{html.escape(word.text)}</span>'


def _rich_style(word: WordExplanation | None) -> str:
    if word is None:
        return ""
    if not word.kept:
        return "dim strike"
    return "bold yellow" if word.reason == "protected" else "bold green"

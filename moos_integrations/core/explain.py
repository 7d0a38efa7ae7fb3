"""Why each word was kept or dropped, as data, as HTML for notebooks and as text for terminals."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from moos_integrations.core.config import Target
from moos_integrations.core.ordering import Order, Quantity
from moos_integrations.core.reasons import Header, Reason, ShownUnit, UnitExplanation, WordExplanation
from moos_integrations.core.table import Table
from moos_integrations.core.terminal import plain, rich_view
from moos_integrations.core.types import Selection
from moos_integrations.core.views import (
    explanation_html,
    first_units,
    page,
    rest,
    start_of,
    unit_cells,
)

if TYPE_CHECKING:
    from rich.console import Group

_KEPT_BY: Mapping[Quantity, Reason] = {"metric": "metric", "priority": "share of the budget", "odds": "odds"}


class Explanation:
    """The words of all documents with their scores.

    Iterate over it for the words, or show it: notebooks, `print` and `rich.print` have a view each, and `to_html` is a
    page for a browser.
    """

    def __init__(
        self,
        table: Table,
        order: Order,
        selection: Selection,
        *,
        threshold: bool,
        temperature: float,
        target: Target | None = None,
        question: str | None = None,
    ) -> None:
        """Keep references; words and units are made on demand.

        Args:
            table: The request.
            order: Of its words.
            selection: What was kept.
            threshold: Whether a threshold decided, not a ceiling.
            temperature: At which units shared the budget.
            target: How much was to be kept, for the
            question: The question, for the
        """
        self._table, self._order, self._selection = table, order, selection
        self._values = order.level if threshold else order.priority
        self._quantity, self._temperature = order.quantity(threshold=threshold), temperature
        self._header: Header | None = None
        self.target = target
        self.question = question

    def with_header(self, header: Header) -> Explanation:
        """A copy whose views begin with these counts."""
        own = copy.copy(self)
        own._header = header
        return own

    def source(self, index: int) -> str:
        """The text of a document before compression; "" for one that was passed through unchanged."""
        return self._table.texts[index].document.text

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
        return list(self._units)

    @cached_property
    def _units(self) -> list[UnitExplanation]:
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
        if self._values[word] >= selection.cutoff:
            return _KEPT_BY[self._quantity]
        return "protected" if self._table.unit_of_word[word] in self._protected_units else "its sentence needs it"

    @cached_property
    def _protected_units(self) -> set[int]:
        return set(self._table.unit_of_word[self._table.protected].tolist())

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

    # --- views -------------------------------------------------------------------------------------------------------

    def _units_to_show(self) -> Iterator[ShownUnit]:
        """All units with all of their source, in source order; made while they are read."""
        units = self._units
        for index, text in enumerate(self._table.texts):
            document, first, position = text.document, int(self._table.unit_borders[index]), 0
            if document.text and not len(document.unit_starts):
                yield ShownUnit(first, index, 0, ((document.text, None),), None)
            words = groupby(zip(self._of_document(index), document.unit_of_word.tolist(), strict=True), lambda x: x[1])
            unit_words = next(words, None)
            for number, end in enumerate(document.unit_ends.tolist()):
                parts: list[tuple[str, WordExplanation | None]] = []
                if unit_words is not None and unit_words[0] == number:
                    for word, _ in unit_words[1]:
                        parts += [(document.text[position : word.start], None), (word.text, word)]
                        position = word.end
                    unit_words = next(words, None)
                # A word may reach over the end of its unit.
                parts.append((document.text[position:end], None))
                position = max(position, end)
                shown = tuple(part for part in parts if part[0])
                own = units[first + number] if units else None
                said_by = units[own.against].text if own and own.repetition and own.against is not None else ""
                yield ShownUnit(first + number, index, number, shown, own, start_of(said_by))

    @cached_property
    def _shown(self) -> list[ShownUnit]:
        return first_units(self._units_to_show())

    @property
    def _headings(self) -> list[str]:
        return [self._heading(index) for index in range(self._table.documents)]

    @property
    def _rest(self) -> str:
        """What the views leave out, in words."""
        characters = sum(len(text.document.text) for text in self._table.texts)
        return rest(self._shown, self._table.units, characters)

    @property
    def _numbers(self) -> list[list[str]]:
        units = self._units
        return [unit_cells(shown.unit, units) for shown in self._shown if shown.unit is not None]

    def _repr_html_(self) -> str:
        """Sentence by sentence: a bar of its relevance, its text, and in words why it was kept or dropped.

        Protected words are yellow, and words that other kept text needs are blue. Escaped, and at most 100,000
        characters of 500 sentences or lines; it says how much is left. Below, the numbers of the units fold out.
        """
        return explanation_html(self._header, self._shown, self._headings, self._rest, self._numbers)

    def to_html(self) -> str:
        """The view as a page for a browser; it loads nothing from elsewhere."""
        return page("What was kept, and why", self._repr_html_())

    def __str__(self) -> str:
        """The view as plain text: `+` for kept, `~` for thinned, `-` for dropped, and the reason in words."""
        return plain(self._header, self._shown, self._headings, self._rest)

    def __rich__(self) -> Group:
        """The view for `rich.print`: kept green, protected yellow, dropped dim and struck through; below, the units."""
        return rich_view(self._header, self._shown, self._headings, self._rest, self._numbers)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

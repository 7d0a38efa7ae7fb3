"""What both framework adapters use: the settings as pydantic fields, and the compressor built from them."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import PrivateAttr
from typing_extensions import Self

from moos_integrations.core.checks import unknown_setting
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig, Settings
from moos_integrations.core.omission import OmissionMark
from moos_integrations.core.result import Citation, CompressedDocument
from moos_integrations.errors import ConfigError
from moos_integrations.messages import Notice

METADATA_KEY = "moos"
"""The metadata key of everything that is added to a document."""

_BUILDING = threading.Lock()


class CompressorFields(Settings):
    """Mixin: every setting is a field, so that it is serialised; the weights load on first use, never here.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.
    """

    _compressor: ContextCompressor | None = PrivateAttr(None)

    def __init__(self, **settings: Any) -> None:
        """Check the settings, and log those that have no effect."""
        super().__init__(**settings)
        self.warn_of_settings_without_effect()

    @classmethod
    def from_config(cls, config: CompressorConfig, **fields: Any) -> Self:
        """A component with the settings of a config.

        Args:
            config: The settings, for example those that `calibrate` found.
            **fields: The component's other fields, such as `keep_empty`.

        Raises:
            ConfigError: If `config` is not a `CompressorConfig`, or a field is unknown or repeats a setting.
        """
        if not isinstance(config, CompressorConfig):
            raise ConfigError(f"`config` must be a `CompressorConfig`, got {type(config).__name__}.")
        repeated = [name for name in fields if name in Settings.model_fields]
        if repeated:
            raise ConfigError(
                f"`from_config` takes its settings from `config`; got {', '.join(repeated)} too. Change them in the "
                "config: `config.model_copy(update={...})`."
            )
        return cls(**{name: getattr(config, name) for name in config.model_fields_set}, **fields)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field; a changed setting is checked, and the compressor is rebuilt on its next use."""
        if name in Settings.model_fields:
            value = getattr(self._with({name: value}), name)
            super().__setattr__("_compressor", None)
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; with `update`, its settings are checked and its compressor is rebuilt.

        Raises:
            ConfigError: If a setting in `update` is unknown or cannot be used.
        """
        for name in set(update or {}) - set(type(self).model_fields):
            raise ConfigError(unknown_setting(name, (update or {})[name], type(self)))
        changed = {name: value for name, value in (update or {}).items() if name in Settings.model_fields}
        checked = self._with(changed) if changed else self
        values = {**(update or {}), **{name: getattr(checked, name) for name in changed}}
        copy = super().model_copy(update=values, deep=deep)
        if update:
            copy._compressor = None
        return copy

    def __getstate__(self) -> dict[Any, Any]:
        """State for pickling, without the loaded model: it is loaded again on first use."""
        state = super().__getstate__()
        if state.get("__pydantic_private__"):
            state["__pydantic_private__"] = {**state["__pydantic_private__"], "_compressor": None}
        return state

    @property
    def compressor(self) -> ContextCompressor:
        """The core compressor with these settings; its weights load when it first compresses."""
        with _BUILDING:  # threads that share this adapter share its compressor
            if self._compressor is None:
                self._compressor = ContextCompressor.from_pretrained(lazy=True, config=self.config_of_compressor())
            return self._compressor

    def config_of_compressor(self) -> CompressorConfig:
        """These settings as a `CompressorConfig`."""
        # They were checked when they were set, and the warnings were logged there.
        return CompressorConfig.model_construct(
            _fields_set=self.model_fields_set & set(Settings.model_fields),
            **{name: getattr(self, name) for name in Settings.model_fields},
        )

    def _with(self, changed: Mapping[str, Any]) -> CompressorConfig:
        """These settings with others for some, checked."""
        return CompressorConfig(**{**{name: getattr(self, name) for name in Settings.model_fields}, **changed})


def document_metadata(document: CompressedDocument, warnings: Sequence[Notice] = ()) -> dict[str, Any]:
    """The metadata entry under `METADATA_KEY`: JSON-ready, enough to map the text back to its source.

    Args:
        document: A compressed document.
        warnings: Of the whole call. The entry has their kinds as `warnings`, if there are any.
    """
    entry = {
        "original_tokens": document.original_tokens,
        "kept_tokens": document.kept_tokens,
        "spans": [list(span) for span in document.spans],
    }
    return entry | marks_metadata(document.marks) | warnings_metadata(warnings)


def marks_metadata(marks: Iterable[OmissionMark]) -> dict[str, Any]:
    """The part of the entry with the places of omission marks in the text; empty without any."""
    places = [[mark.start, mark.end] for mark in marks]
    return {"marks": places} if places else {}


def marks_in(entry: Mapping[str, Any] | None) -> tuple[OmissionMark, ...]:
    """The omission marks of an entry, by their places in the text alone.

    Raises:
        TypeError, ValueError: If the entry was changed so that they cannot be read.
    """
    places = (entry or {}).get("marks") or ()
    return tuple(OmissionMark(int(start), int(end), (0, 0), 1, "part") for start, end in places)


def chained(
    document: CompressedDocument, spans: Sequence[Sequence[int]], marks: Sequence[OmissionMark]
) -> tuple[list[list[int]], list[OmissionMark]]:
    """Where the text of a second pass comes from in the source of the first, and its marks, those of the first included.

    Args:
        document: Of the second pass.
        spans: Of the first pass: spans of its source, whose concatenation is the text between without its marks.
        marks: Of the first pass: places in the text between.
    """
    between = _Between(spans, marks)
    found: list[list[int]] = []
    shown: list[OmissionMark] = list(document.marks)
    position, new = 0, list(document.marks)
    for first, last in document.spans:
        while new and new[0].start <= position:
            position += new[0].end - new.pop(0).start
        for start, end, is_mark in between.parts(first, last):
            if is_mark:
                shown.append(OmissionMark(position, position + end - start, (0, 0), 1, "part"))
            elif found and found[-1][1] == start:
                found[-1][1] = end
            else:
                found.append([start, end])
            position += end - start
    return found, sorted(shown, key=lambda mark: mark.start)


class _Between:
    """The text between two passes as parts: spans of the first source, and marks."""

    def __init__(self, spans: Sequence[Sequence[int]], marks: Sequence[OmissionMark]) -> None:
        """Lay the spans out between the marks."""
        self._parts: list[tuple[int, int, int, bool]] = []  # place in the text between, start, end, is a mark
        waiting, place = list(marks), 0
        for start, end in spans:
            at = start
            while at < end:
                if waiting and waiting[0].start <= place:
                    place = self._add_mark(place, waiting.pop(0))
                    continue
                stop = min(end, at + waiting[0].start - place) if waiting else end
                self._parts.append((place, at, stop, False))
                place, at = place + stop - at, stop
        for mark in waiting:
            place = self._add_mark(place, mark)

    def _add_mark(self, place: int, mark: OmissionMark) -> int:
        length = mark.end - mark.start
        self._parts.append((place, place, place + length, True))
        return place + length

    def parts(self, first: int, last: int) -> Iterator[tuple[int, int, bool]]:
        """What lies between two places: start and end (in the source, or in the text of a mark), and whether it is one."""
        for place, start, end, is_mark in self._parts[max(0, bisect_right(self._parts, (first, math.inf)) - 1) :]:
            if place >= last:
                break
            low, high = max(first, place) - place, min(last, place + end - start) - place
            if low < high:
                yield start + low, start + high, is_mark


def warnings_metadata(warnings: Sequence[Notice]) -> dict[str, Any]:
    """The part of the entry with the kinds of the warnings; empty without any."""
    return {"warnings": list(dict.fromkeys(notice.kind for notice in warnings))} if warnings else {}


def citations_of(
    quote: str,
    index: int,
    name: str | None,
    text: str,
    entry: Mapping[str, Any] | None,
    start: int,
    least: float,
) -> list[Citation]:
    """Places of a quote in the original of a framework's document.

    Args:
        quote: A piece of an answer.
        index: Position of the document in its list.
        name: Its id.
        text: Its compressed text.
        entry: Its metadata entry, with the spans of its source that `text` was made of and the places of omission marks;
            None for an uncompressed document.
        start: Offset of the source in the original that it was cut from.
        least: Smallest share of the quote's words that a place must have in a row.
    """
    spans = None if entry is None else entry.get("spans")
    known = [(0, len(text))] if spans is None else spans
    shifted = tuple((int(first) + start, int(last) + start) for first, last in known)
    document = CompressedDocument(index, text, shifted, 0, 0, (), marks_in(entry))
    return [replace(place, id=name) for place in document.cite(quote, min_coverage=least)]


def best_first(places: Iterable[Citation]) -> list[Citation]:
    """Places with most of the quote first, then in document order."""
    return sorted(places, key=lambda place: -place.coverage)

"""Results that are too long for the model: their lines or JSON elements that may matter, found without one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import regex

from moos_integrations.core.json_commas import json_form
from moos_integrations.core.lexical import terms_of
from moos_integrations.core.omission import MarkTemplate
from moos_integrations.core.protection import DETECTORS
from moos_integrations.core.types import FloatArray, Span

LONGEST = 100_000
"""Most characters that the model reads of one result: some seconds on two CPU cores."""

_HEAD_AND_TAIL = 20  # lines at each end that are read in any case
_AROUND = 2  # lines before and behind a line with terms of the goal
_MOST_FLAGGED = 1_000  # lines with an error that are read in any case, from each end
_LONGEST_LINE = 8_000  # characters; longer lines are data, not text
_SAMPLE = 4_096
_BINARY_SHARE = 0.1
_FLAGS = (
    *("error", "exception", "fail", "fatal", "panic", "critical", "segmentation fault", "core dumped", "denied"),
    *("not found", "no such", "cannot", "could not", "undefined reference", "unhandled", "aborted", "traceback"),
    *("exit", "return code", "returned", "signal", "not ok", "err!", "✗", "✘"),
)
"""A line that a detector finds has one of these words in lower case, so that most lines need no expression."""
_ODD = regex.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_BLANK = regex.compile(r"[ \t\r\n]*+")


def is_binary(text: str) -> bool:
    """Whether a text is bytes that were decoded, rather than text: by its control and replacement characters."""
    sample = text[:_SAMPLE]
    odd = sum(
        (character < " " and character not in "\t\n\r\x0b\x0c\x1b") or character == "\ufffd" for character in sample
    )
    return odd > _BINARY_SHARE * len(sample)


def narrowed(text: str, goal: str | None, omission: str | None = None) -> str:
    """A text of at most about `LONGEST` characters: whole lines, or whole elements of JSON.

    Args:
        text: A longer one.
        goal: What is looked for; None for what is anywhere.
        omission: Template of the marks for the lines that are left out; None for no marks.

    Returns:
        The lines in their order, with marks between them; JSON stays JSON. Less than all of it, in any case.
    """
    return _narrowed_json(text, goal) if json_form(text) == "value" else _narrowed_lines(text, goal, omission)


# --- lines ------------------------------------------------------------------------------------------------------------


def _narrowed_lines(text: str, goal: str | None, omission: str | None) -> str:
    lines = text.splitlines()
    scores = line_scores(text, lines, goal)
    flagged = _flagged(lines)
    ends = range(len(lines))[:_HEAD_AND_TAIL], range(len(lines))[-_HEAD_AND_TAIL:]
    best = np.argsort(-scores, kind="stable")[: LONGEST // 8].tolist()
    around = (near for line in best for near in range(max(0, line - _AROUND), min(len(lines), line + _AROUND + 1)))
    chosen = _that_fit(lines, [*ends[1], *ends[0], *flagged, *around], LONGEST)
    marks = None if omission is None or json_form(text) else MarkTemplate(omission)
    return "\n".join(_with_marks(lines, chosen, marks)) if chosen else ""


def line_scores(text: str, lines: Sequence[str], goal: str | None) -> FloatArray:
    """How much each line has of the goal's terms: rare ones count most. Shape: `(lines,)`."""
    scores = np.zeros(len(lines))
    starts = np.cumsum([0, *(len(line) + 1 for line in lines[:-1])])  # exact where breaks are of one character
    lower = text.lower()
    if len(lower) != len(text):  # letters whose small form is two characters
        lower = text
    for term in sorted(set(terms_of(goal or ""))):
        places = _places(lower, term, len(lines) // 4 + 1)
        if places:
            holders = np.unique(np.searchsorted(starts, places, side="right") - 1)
            scores[holders] += math.log1p(len(lines) / len(holders))
    return scores


def _places(text: str, term: str, most: int) -> list[int]:
    """Where a term is; nowhere if it is nearly everywhere, and so says nothing."""
    found, place = [], text.find(term)
    while place >= 0:
        found.append(place)
        if len(found) > most:
            return []
        place = text.find(term, place + len(term))
    return found


def _flagged(lines: Sequence[str]) -> list[int]:
    """The first and last lines with an error or an exit code."""

    def first(numbers: Iterable[int]) -> list[int]:
        found: list[int] = []
        for number in numbers:
            if len(found) == _MOST_FLAGGED:
                break
            line = lines[number]
            lower = line.lower() if len(line) <= _LONGEST_LINE else ""
            if any(flag in lower for flag in _FLAGS) and _is_flagged(line):
                found.append(number)
        return found

    return [*first(range(len(lines) - 1, -1, -1)), *first(range(len(lines)))]


def _is_flagged(line: str) -> bool:
    return any(DETECTORS[name].search(line) for name in ("errors", "exit_codes", "tracebacks"))


def _that_fit(elements: Sequence[str], order: Iterable[int], most: int) -> list[int]:
    """Numbers of the first elements of an order that fit into so many characters, in ascending order."""
    chosen, left = set[int](), most
    for number in order:
        size = len(elements[number]) + 2
        if number not in chosen and size <= min(left, _LONGEST_LINE):
            chosen.add(number)
            left -= size
        if left < 3:
            break
    return sorted(chosen)


def _with_marks(lines: Sequence[str], chosen: Sequence[int], marks: MarkTemplate | None) -> list[str]:
    """The chosen lines, with a mark where others were."""
    found, after = list[str](), 0
    for number in [*chosen, len(lines)]:
        if number > after and marks is not None:
            found.append(marks.text(number - after, "line", (after + 1, number)))
        if number < len(lines):
            found.append(lines[number])
        after = number + 1
    return found


# --- JSON -------------------------------------------------------------------------------------------------------------


def _narrowed_json(text: str, goal: str | None) -> str:
    """The text without elements of its largest array or object, again until it is short enough."""
    while len(text) > LONGEST:
        spans = _largest_elements(text)
        if not spans:
            return ""
        elements = [text[start:end] for start, end in spans]
        around = len(text) - (spans[-1][1] - spans[0][0])
        chosen = _best_elements(elements, goal, LONGEST - around)
        shorter = f"{text[: spans[0][0]]}{', '.join(elements[number] for number in chosen)}{text[spans[-1][1] :]}"
        if len(shorter) >= len(text):
            return ""
        text = shorter
    return text


def _best_elements(elements: Sequence[str], goal: str | None, most: int) -> list[int]:
    joined = "\n".join(element.replace("\n", " ") for element in elements)
    scores = line_scores(joined, elements, goal)
    ends = [*range(len(elements))[:2], *range(len(elements))[-2:]]
    return _that_fit(elements, [*ends, *np.argsort(-scores, kind="stable").tolist()], most)


def _largest_elements(text: str) -> list[Span]:
    """Spans of the elements of the innermost array or object that has nearly all of the text."""
    start = _skip(text, 0)
    while True:
        spans = _elements(text, start)
        large = [span for span in spans if span[1] - span[0] > len(text) / 2]
        if not large:
            return spans
        start = _value_start(text, large[0][0], is_member=text[start] == "{")
        if text[start] not in "[{":
            return spans if len(spans) > 1 else []


_DECODER = json.JSONDecoder()


def _elements(text: str, start: int) -> list[Span]:
    """Spans of the items of an array, or of the members of an object."""
    spans, is_object = list[Span](), text[start] == "{"
    place = _skip(text, start + 1)
    while text[place] not in "]}":
        _, end = _decoded(text, _value_start(text, place, is_member=is_object))
        spans.append((place, end))
        place = _skip(text, end)
        place = _skip(text, place + 1) if text[place] == "," else place
    return spans


def _value_start(text: str, place: int, *, is_member: bool) -> int:
    if not is_member:
        return place
    _, end = _decoded(text, place)  # the key
    return _skip(text, _skip(text, end) + 1)


def _decoded(text: str, place: int) -> tuple[Any, int]:
    return _DECODER.raw_decode(text, place)


def _skip(text: str, place: int) -> int:
    match = _BLANK.match(text, place)
    return match.end() if match else place

"""Match of a unit's terms with a question's: BM25 with the units of a request as the collection. Python and numpy only.

The model reads meaning. It knows codes, error numbers and rare names least; there a literal match is most informative.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import regex

from moos_integrations.core.types import FloatArray, SegmentedText

_SATURATION, _LENGTH = 1.5, 0.75  # BM25's k1 and b
_STATED = regex.compile(r"(?<![\p{L}\p{N}])[+\-−±]?\p{N}[\p{L}\p{N}.,:/]*|[\p{L}\p{M}\p{N}]+")
_TERM = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_RUN = regex.compile(rf"[{_UNSPACED}ー]+|[^{_UNSPACED}ー]+")
_IS_UNSPACED = regex.compile(rf"[{_UNSPACED}]")


def terms_of(text: str) -> list[str]:
    """Lower-cased runs of letters and digits; of scripts without spaces, each two neighbouring letters."""
    terms = _TERM.findall(text.lower())
    if not _IS_UNSPACED.search(text):
        return terms
    return [part for term in terms for run in _RUN.findall(term) for part in _parts(run)]


def _parts(run: str) -> list[str]:
    if len(run) < 2 or not _IS_UNSPACED.match(run):
        return [run]
    return [run[index : index + 2] for index in range(len(run) - 1)]


def unit_terms(document: SegmentedText) -> Iterator[list[str]]:
    """The terms of each unit of a text, in their order."""
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return (terms_of(document.text[start:end]) for start, end in spans)


# A link of HTML or Markdown; what is around the links of a menu; lines that pages have at their edges.
_LINK = regex.compile(r"<a\b[^<>]{0,300}>[^<>]{0,80}</a>|(?<!!)\[[^\[\]\n]{1,80}\]\([^()\s]{1,300}\)")
_TAG = regex.compile(r"<[^<>]{0,300}>")
_LETTER = regex.compile(r"[\p{L}\p{N}]")
_LEAST_LINKS = 3
_EDGE = regex.compile(
    r"\W*(?:(?:page|seite|página|pagina) \d{1,4} (?:of|von|de|di|/) \d{1,4}|skip to (?:main )?content|back to top|"
    r"(?:copyright )?(?:©|\(c\)) (?:copyright )?(?:19|20)\d\d\b.{0,120}|.{0,80}\ball rights reserved)\W*",
    regex.IGNORECASE | regex.DOTALL,
)
_LONGEST_EDGE = 250


def page_furniture(document: SegmentedText) -> list[bool]:
    """Which units are menus made of links, numbers of pages, copyright lines: parts of a page, not of what it says."""
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return [_is_furniture(document.text, start, end) for start, end in spans]


def _is_furniture(text: str, start: int, end: int) -> bool:
    if end - start <= _LONGEST_EDGE and _EDGE.fullmatch(text, start, end):
        return True
    if text.count("<a", start, end) + text.count("](", start, end) < _LEAST_LINKS:
        return False
    rest, links = _LINK.subn(" ", text[start:end])
    return links >= _LEAST_LINKS and _LETTER.search(_TAG.sub(" ", rest)) is None


def unit_statements(document: SegmentedText) -> list[tuple[str, ...]]:
    """The words of each unit; see `statement`."""
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return [statement(document.text[start:end]) for start, end in spans]


def statement(text: str) -> tuple[str, ...]:
    """The words of a text, lower-cased and without punctuation; numbers keep their signs, points and commas."""
    return tuple(word.rstrip(".,") for word in _STATED.findall(text.lower()))


def term_match(question: str, counts: Sequence[Mapping[str, int]]) -> FloatArray:
    """BM25 of every unit for the question, as a share of the best unit's.

    Args:
        question: Any text.
        counts: Per unit of all documents of a request, how often it has which term.

    Returns:
        In [0, 1]; all 0 if no unit has a term of the question. Shape: `(units,)`.
    """
    scores = np.zeros(len(counts))
    lengths = np.array([sum(own.values()) for own in counts], np.float64)
    if not lengths.any():
        return scores
    damping = _SATURATION * (1 - _LENGTH + _LENGTH * lengths / lengths.mean())
    for term in Counter(terms_of(question)):
        times = np.array([own.get(term, 0) for own in counts], np.float64)
        holders = np.count_nonzero(times)
        if holders:
            rarity = math.log1p((len(counts) - holders + 0.5) / (holders + 0.5))
            scores += rarity * times / (times + damping)
    best = scores.max()
    return scores / best if best > 0 else scores

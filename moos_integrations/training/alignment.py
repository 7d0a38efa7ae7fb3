"""Preserve labels from pairs: a text, and the answer of an LLM that was instructed to only delete words.

The LLM's answer has no positions, so every word of it has to be traced back to one word of the source. Which of nine
"the" was kept? LLMLingua-2 (arXiv 2403.12968, Algorithm 1) walks through the answer and takes the first equal word near
the last match. Here the whole answer is aligned at once:

1. *Chain*: the best of all alignments that keep the order. Matches earn points, gaps between them cost points, so words
   stay with their neighbours and a full stop with its sentence. If the answer is the source with words deleted, whole
   words are matched. If not, the pieces of words are compared ("12%" is "12 percent", "state-of-the-art" is four words,
   "don't" is "do not"). Other forms of a word match for fewer points.
2. *Moved words*: the rest takes the free occurrence with the most context, then the one nearest to its gap.
3. *Respelt words*: what still remains takes the most similar free word of its gap.

The measures of quality and the filter are those of the same paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, takewhile
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
import regex

from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import BoolArray, IntArray
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.training.labels import LabelledText

# Points of a match. Content words carry an alignment, commas do not.
_CONTENT, _FUNCTION, _PUNCTUATION = 96, 64, 24
_OTHER_FORM = -32
_SAME_WORD = 16  # the words that the pieces belong to are equal too
_SAME_CASE = 1
_BOTH_FINAL = 24  # punctuation that ends a sentence on both sides
# A gap costs the cheapest of three tariffs, each with a price per source token and per sentence end in the gap: one for
# a few words, one for the rest of a sentence, and a flat one for long jumps.
_PER_WORD = (3, 1, 0)
_PER_SENTENCE = (60, 60, 0)
# And a fee per tariff, by the token at the gap. A sentence that loses its end keeps its full stop, so a gap before
# that is cheap inside the sentence; after punctuation any gap is.
_AFTER_WORD = (32, 40, 80)
_BEFORE_CLOSER = (16, 24, 80)
_AFTER_CLOSER = (4, 8, 16)
_CLOSERS = frozenset(".,;:!?)]…。，、！？；：")
_NEVER = -(1 << 62)

_CONTEXT = 5  # tokens to each side that are looked at before a word is taken for moved
_CANDIDATES = 32  # free occurrences that are looked at, nearest first
_REACH = 20  # source tokens in which a respelt word is looked for
_SIMILAR = 0.7
_SHORTEST = 4  # letters; among shorter words everything is similar

_FUNCTION_WORDS = frozenset(
    """
    a about after all also am an and any are as at be been before being but by can could did do does for from had has
    have he her him his how i if in into is it its just may me might more most must my no nor not of off on or our out
    over shall she should so some such than that the their them then there these they this those to too under up us
    very was we were what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a list of words reads better as prose
)
_ALIKE = str.maketrans(dict.fromkeys("‘’‚‛′`´", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—―−", "-"))
_WRITTEN_OUT = tuple(
    (regex.compile(pattern), plain)
    for pattern, plain in (
        (r"\bcan(?:'t|not)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"'re\b", " are"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"'m\b", " am"),
        (r"\b(it|he|she|that|there|here|what|who|where|how)'s\b", r"\1 is"),
        (r"'s\b", ""),
        (r"(?<=\d)[,'_](?=\d{3}(?!\d))", ""),  # 1,000
        (r"\b(\p{L})\.(?=\p{L}\b)", r"\1"),  # U.S.
        (r"%", " percent"),
    )
)
_PIECE = regex.compile(r"\d+(?:[.,:]\d+)*|[\p{L}\p{M}][\p{L}\p{M}\p{N}]*")
_ENDINGS = (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", ""))


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The words of a source that a compressed text kept, with LLMLingua-2's quality measures.

    Words are those of `word_spans`, punctuation included, each occurrence counted. A compressed word *is in the source*
    if the source has it at any place. Case, separators in numbers, hyphens and endings are ignored, as in the paper's
    comparison of lemmas.

    Attributes:
        preserve: True for kept words. Shape: `(words,)`, aligned with `word_spans` of the source.
        variation_rate: VR, the share of compressed words that are not in the source, in [0, 1]; lower is better.
        matching_rate: MR, the share of source words that are labelled preserve, in [0, 1].
        hitting_rate: HR, the number of compressed words that are in the source, per source word.
    """

    preserve: BoolArray
    variation_rate: float
    matching_rate: float
    hitting_rate: float

    @property
    def alignment_gap(self) -> float:
        """AG = HR - MR; nearer to 0 is better.

        It is 0 if each compressed word that is in the source was aligned to a separate source word. Below 0, words that
        the LLM respelt were aligned too; they count as not in the source.
        """
        return self.hitting_rate - self.matching_rate


def align(text: str, compressed: str) -> Alignment:
    """Trace a compressed text back to the words of its source.

    Time grows with the product of the two lengths: milliseconds for chunks of 512 tokens, as in the paper, and about a
    tenth of a second for 2,000 words.

    Args:
        text: The source.
        compressed: An LLM's answer to it, with words deleted.

    Returns:
        The labels of the source's words, and the measures of quality.

    Raises:
        InputError: If one of the two is not a string.
    """
    for name, value in (("text", text), ("compressed", compressed)):
        if not isinstance(value, str):
            raise InputError(f"Expected `{name}` to be a string, got {type(value).__name__}. Pass one pair per call.")
    source, target = _Words.of(text), _Words.of(compressed)
    if _is_subsequence(target.folded, source.folded):
        source_tokens, target_tokens = _Tokens.whole(source), _Tokens.whole(target)
        places = _best_chain(source_tokens, target_tokens, skip=False)
    else:
        source_tokens, target_tokens = _Tokens.split(source), _Tokens.split(target)
        places = _best_chain(source_tokens, target_tokens, skip=True)
        _Leftovers(source_tokens, target_tokens, places).place()
    preserve = _kept_words(source_tokens, places, len(source.words))
    present = _number_present(source, target)
    return Alignment(
        preserve,
        variation_rate=(len(target.words) - present) / len(target.words) if target.words else 0.0,
        matching_rate=float(preserve.mean()) if source.words else 0.0,
        hitting_rate=present / len(source.words) if source.words else 0.0,
    )


def filter_by_percentile(alignments: Sequence[Alignment], *, variation: float = 95.0, gap: float = 90.0) -> BoolArray:
    """The records to keep: those with a high variation rate are dropped, then those with a high alignment gap.

    The defaults are the paper's (its top 5 % and top 10 %). Only records *above* a percentile are dropped; if all are
    equal, none is. The percentile of the gap is taken over the records that the first step kept.

    Args:
        alignments: The alignments of all records; may be empty.
        variation: Percentile of the variation rate, in [0, 100]; 100 drops nothing.
        gap: Percentile of the alignment gap, in [0, 100]; 100 drops nothing.

    Returns:
        True for records to keep. Shape: `(records,)`.

    Raises:
        ConfigError: If a percentile lies outside [0, 100].
    """
    for name, percentile in (("variation", variation), ("gap", gap)):
        if not 0 <= percentile <= 100:
            raise ConfigError(f"Expected `{name}` to be a percentile in [0, 100], got {percentile}. 100 drops nothing.")
    keep = np.ones(len(alignments), bool)
    rates = np.array([(each.variation_rate, each.alignment_gap) for each in alignments]).reshape(-1, 2)
    for column, percentile in enumerate((variation, gap)):
        values = rates[:, column]
        if keep.any():
            keep &= values <= np.percentile(values[keep], percentile)
    return keep


def labels_from_pairs(
    records: Iterable[tuple[str, str]], *, variation: float = 95.0, gap: float = 90.0
) -> list[LabelledText]:
    """Labelled texts from pairs of a source and its compressed text, without pairs of poor quality.

    Args:
        records: Pairs `(text, compressed)`.
        variation: See `filter_by_percentile`.
        gap: See `filter_by_percentile`.

    Returns:
        The texts of the pairs that were kept, in order; targets are 1 for preserved words and 0 for others.
    """
    texts, alignments = [], []
    for text, compressed in records:
        texts.append(text)
        alignments.append(align(text, compressed))
    keep = filter_by_percentile(alignments, variation=variation, gap=gap)
    return [LabelledText(texts[i], alignments[i].preserve.astype(float)) for i in np.flatnonzero(keep)]


# --- words and their pieces ----------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """The smallest thing that is compared.

    Attributes:
        key: Its normal form; equal keys match.
        stem: The key without its ending; equal stems match for fewer points.
        points: What a match earns.
    """

    key: str
    stem: str
    points: int


@lru_cache(1 << 16)
def _fold(word: str) -> str:
    """A word without what LLMs change in passing: case, compatibility characters, kinds of quotes and dashes."""
    return normalize("NFKC", word).casefold().translate(_ALIKE)


@lru_cache(1 << 16)
def _pieces(word: str) -> tuple[_Piece, ...]:
    """The numbers and the runs of letters of a word; a word without any is one piece."""
    folded = plain = _fold(word)
    for pattern, instead in _WRITTEN_OUT:
        plain = pattern.sub(instead, plain)
    keys = _PIECE.findall(plain)
    if not keys:
        return (_Piece(folded, folded, _PUNCTUATION),)
    return tuple(_Piece(key, _stem(key), _FUNCTION if key in _FUNCTION_WORDS else _CONTENT) for key in keys)


def _stem(key: str) -> str:
    for ending, instead in _ENDINGS:
        if key.endswith(ending) and not key.endswith("ss") and len(key) >= len(ending) + 3:
            stem = key.removesuffix(ending) + instead
            if ending in ("ing", "ed") and stem[-1] == stem[-2]:
                stem = stem[:-1]  # stopped, stop
            return key if stem in _FUNCTION_WORDS else stem  # "noted" is no form of "not"
    return key


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a text as they are and folded, and the sentence of each."""

    words: list[str]
    folded: list[str]
    sentences: list[int]

    @classmethod
    def of(cls, text: str) -> _Words:
        starts, ends = word_spans(text)
        units, _ = unit_spans(text)
        words = [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return cls(words, [_fold(word) for word in words], np.searchsorted(units, starts, side="right").tolist())


@dataclass(frozen=True)
class _Tokens:
    """What is aligned: whole words, or their pieces.

    Attributes:
        text: The words that the tokens belong to.
        pieces: The tokens.
        word_of: Index of the word of each token.
    """

    text: _Words
    pieces: list[_Piece]
    word_of: list[int]

    @classmethod
    def whole(cls, text: _Words) -> _Tokens:
        pieces = [
            _Piece(folded, folded, max(piece.points for piece in _pieces(word)))
            for word, folded in zip(text.words, text.folded, strict=True)
        ]
        return cls(text, pieces, list(range(len(pieces))))

    @classmethod
    def split(cls, text: _Words) -> _Tokens:
        parts = [_pieces(word) for word in text.words]
        word_of = [index for index, pieces in enumerate(parts) for _ in pieces]
        return cls(text, list(chain.from_iterable(parts)), word_of)

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def sentences(self) -> list[int]:
        """Sentence of each token."""
        return [self.text.sentences[word] for word in self.word_of]

    @cached_property
    def final(self) -> list[bool]:
        """True for the last token of each sentence."""
        return [here != following for here, following in zip(self.sentences, [*self.sentences, -1][1:], strict=True)]

    def is_closer(self, index: int) -> bool:
        """True for punctuation that belongs to the word before it."""
        return index < len(self) and self.pieces[index].key in _CLOSERS


def _is_subsequence(target: Sequence[str], source: Sequence[str]) -> bool:
    rest = iter(source)
    return all(word in rest for word in target)


def _kept_words(source: _Tokens, places: list[int], words: int) -> BoolArray:
    """Words of which half the letters are matched, or the number they start with ("12" of "12 percent")."""
    sizes, matched = np.zeros(words), np.zeros(words)
    starts_with_number = np.zeros(words, bool)
    kept = set(places)
    for index, (piece, word) in enumerate(zip(source.pieces, source.word_of, strict=True)):
        if index in kept:
            matched[word] += len(piece.key)
            starts_with_number[word] |= not sizes[word] and piece.key[0].isdigit()
        sizes[word] += len(piece.key)
    return np.asarray((matched >= sizes / 2) | starts_with_number)


def _number_present(source: _Words, target: _Words) -> int:
    stems = {piece.stem for word in source.words for piece in _pieces(word)}
    return sum(all(piece.stem in stems for piece in _pieces(word)) for word in target.words)


# --- the chain -----------------------------------------------------------------------------------------------------


def _best_chain(source: _Tokens, target: _Tokens, *, skip: bool) -> list[int]:
    """The best alignment that keeps the order, by dynamic programming over all matches.

    Args:
        source: Tokens to choose from.
        target: Tokens to place.
        skip: Whether target tokens may go without a place. If not, the target must be a subsequence of the source.

    Returns:
        The source token of each target token, -1 for none.
    """
    matches = _Matches(source, target)
    # Scores and links in one number: the high bits hold the score, the low bits the match it was reached by. One
    # maximum then finds both.
    unit = 1 << int(matches.total + 1).bit_length()
    gaps = _Gaps(source, unit)
    rows: list[tuple[int, IntArray, IntArray]] = []  # per target token: number of its first match, places, links
    number, best = 1, 0
    for index in range(len(target)):
        places, points = matches.of(index)
        scores = gaps.best_before(places)
        if not skip:
            possible = scores > _NEVER // 2
            places, points, scores = places[possible], points[possible], scores[possible]
            best = 0
        links = scores % unit
        scores += points * unit - links + np.arange(number, number + len(places), dtype=np.int64)
        rows.append((number, places, links))
        number += len(places)
        best = max(best, int(scores.max(initial=0)))
        gaps.extend(places, scores, _fees(target, index), forget=not skip)
    return _followed(best % unit, rows)


def _fees(target: _Tokens, index: int) -> tuple[int, int, int]:
    """The basic fees of a gap after this target token."""
    if target.is_closer(index):
        return _AFTER_CLOSER
    return _BEFORE_CLOSER if target.is_closer(index + 1) else _AFTER_WORD


def _followed(match: int, rows: list[tuple[int, IntArray, IntArray]]) -> list[int]:
    """The places along the links from the last match back to the first."""
    chosen = [-1] * len(rows)
    for index in reversed(range(len(rows))):
        first, places, links = rows[index]
        if match >= first:
            chosen[index] = int(places[match - first])
            match = int(links[match - first])
    return chosen


class _Matches:
    """The source tokens that each target token may match, with the points of the match."""

    def __init__(self, source: _Tokens, target: _Tokens) -> None:
        self._target = target
        occurrences: dict[str, list[int]] = {}
        for index, piece in enumerate(source.pieces):
            occurrences.setdefault(piece.stem, []).append(index)
        self._occurrences = {stem: np.array(places, np.int64) for stem, places in occurrences.items()}
        self._final = np.array(source.final, bool)
        self._keys = _numbered([piece.key for piece in source.pieces], [piece.key for piece in target.pieces])
        self._folded = _numbered(*([side.text.folded[word] for word in side.word_of] for side in (source, target)))
        self._words = _numbered(*([side.text.words[word] for word in side.word_of] for side in (source, target)))
        self.total = sum(len(occurrences.get(piece.stem, ())) for piece in target.pieces)

    def of(self, index: int) -> tuple[IntArray, IntArray]:
        """Source tokens in ascending order, and their points."""
        piece = self._target.pieces[index]
        places = self._occurrences.get(piece.stem, np.empty(0, np.int64))
        points = np.full(len(places), piece.points, np.int64)
        for (source, target), bonus in (
            (self._keys, -_OTHER_FORM),
            (self._folded, _SAME_WORD),
            (self._words, _SAME_CASE),
        ):
            points += bonus * (source[places] == target[index])
        if piece.points == _PUNCTUATION and self._target.final[index]:
            points += _BOTH_FINAL * self._final[places]
        return places, points + _OTHER_FORM


def _numbered(source: list[str], target: list[str]) -> tuple[IntArray, IntArray]:
    """The strings of both lists as numbers, equal ones alike, so that arrays of them can be compared."""
    numbers: dict[str, int] = {}
    first, second = (
        np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64) for values in (source, target)
    )
    return first, second


class _Gaps:
    """The best score with which each source position can be reached, for the next match to start from."""

    def __init__(self, source: _Tokens, unit: int) -> None:
        size = len(source) + 1
        self._unit = unit
        # What passing all tokens before a position costs, by tariff. Scores are held as if they stood at the start of
        # the text, prices not yet paid: so "the best before" is a running maximum.
        words, sentences = np.arange(size, dtype=np.int64), np.array([*source.sentences, 0], np.int64)
        self._prices = [
            (each_word * words + each_sentence * sentences) * unit
            for each_word, each_sentence in zip(_PER_WORD, _PER_SENTENCE, strict=True)
        ]
        self._reached = [np.full(size, _NEVER, np.int64) for _ in self._prices]
        self._reached[-1][:] = 0  # the first match may be anywhere
        self._adjacent = np.full(size, _NEVER, np.int64)

    def best_before(self, places: IntArray) -> IntArray:
        """The best score, less the cost of the gap, with which a match at each place can start."""
        best = self._adjacent[places]
        for prices, reached in zip(self._prices, self._reached, strict=True):
            best = np.maximum(best, reached[places] - prices[places])
        return best

    def extend(self, places: IntArray, scores: IntArray, fees: tuple[int, int, int], *, forget: bool) -> None:
        """Take in the matches of one target token; `forget` what was reached without it."""
        self._adjacent[:] = _NEVER
        if not len(places):
            return
        self._adjacent[places + 1] = scores
        behind = slice(int(places[0]) + 1, None)
        for prices, reached, price_of_word, fee in zip(self._prices, self._reached, _PER_WORD, fees, strict=True):
            if forget:
                reached[:] = _NEVER
            held = scores + prices[places] + (price_of_word - fee) * self._unit
            reached[places + 1] = np.maximum(reached[places + 1], held)
            np.maximum.accumulate(reached[behind], out=reached[behind])


# --- what the chain leaves -----------------------------------------------------------------------------------------


class _Leftovers:
    """Places for target tokens that the chain has no place for, or only a lonely one.

    Args:
        source: Tokens to choose from.
        target: Tokens to place.
        places: The source token of each target token, -1 for none; changed in place.
    """

    def __init__(self, source: _Tokens, target: _Tokens, places: list[int]) -> None:
        self._source, self._target, self._places = source, target, places
        self._free = [True] * len(source)
        for place in places:
            if place >= 0:
                self._free[place] = False
        self._by_key: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        for index, piece in enumerate(source.pieces):
            self._by_key.setdefault(piece.key, []).append(index)
            self._by_stem.setdefault(piece.stem, []).append(index)

    def place(self) -> None:
        """Moved words, content words first, since function words follow them; respelt words; punctuation."""
        self._place_moved(_CONTENT)
        self._place_moved(_FUNCTION)
        self._place_respelt()
        self._place_punctuation()

    def _put(self, index: int, place: int) -> None:
        if self._places[index] >= 0:
            self._free[self._places[index]] = True
        self._places[index] = place
        if place >= 0:
            self._free[place] = False

    def _gaps(self) -> list[tuple[int, int]]:
        """For each target token the places of the matches before and after it; -1 and the source's length for none."""
        before, after = [-1], [len(self._source)]
        for place in self._places[:-1]:
            before.append(place if place >= 0 else before[-1])
        for place in reversed(self._places[1:]):
            after.append(place if place >= 0 else after[-1])
        return list(zip(before, reversed(after), strict=True))

    def _place_moved(self, points: int) -> None:
        for index, gap in enumerate(self._gaps()):
            piece = self._target.pieces[index]
            if piece.points == points and not self._is_supported(index):
                self._place_by_context(index, gap)

    def _is_supported(self, index: int) -> bool:
        """Whether a token has a place beside the place of a neighbour."""
        place = self._places[index]
        around = self._places[max(index - 1, 0) : index + 2]
        return place >= 0 and (place - 1 in around[:1] or place + 1 in around[-1:])

    def _place_by_context(self, index: int, gap: tuple[int, int]) -> None:
        piece = self._target.pieces[index]
        occurrences = self._by_key.get(piece.key, ())
        if piece.points == _CONTENT and not occurrences:
            occurrences = self._by_stem.get(piece.stem, ())
        candidates = sorted(
            (place for place in occurrences if self._free[place]), key=lambda place: _distance(place, gap)
        )
        if not candidates:
            return
        place = max(candidates[:_CANDIDATES], key=lambda place: self._context(index, place))
        # A function word that the LLM put in by itself stands in the source too, somewhere: it needs a better reason.
        if self._context(index, place) or (
            self._places[index] < 0 and (piece.points == _CONTENT or gap[0] < place < gap[1])
        ):
            self._put(index, place)

    def _context(self, index: int, place: int) -> int:
        """Points of the tokens in one run with this match: neighbours on both sides that are matched, or could be."""
        return sum(
            self._source.pieces[place + offset].points
            for step in (-1, 1)
            for offset in takewhile(
                lambda offset: self._agree(index + offset, place + offset), range(step, step * (_CONTEXT + 1), step)
            )
        )

    def _agree(self, index: int, place: int) -> bool:
        if not (0 <= index < len(self._target) and 0 <= place < len(self._source)):
            return False
        if self._places[index] >= 0:
            return self._places[index] == place
        return self._free[place] and self._source.pieces[place].key == self._target.pieces[index].key

    def _place_respelt(self) -> None:
        for index, (before, after) in enumerate(self._gaps()):
            piece = self._target.pieces[index]
            if self._places[index] >= 0 or piece.points != _CONTENT:
                continue
            stop = min(after if after > before else len(self._source), before + 1 + _REACH)
            free = [place for place in range(before + 1, stop) if self._free[place]]
            similarity = [_similarity(piece.key, self._source.pieces[place].key) for place in free]
            if max(similarity, default=0.0) >= _SIMILAR:
                self._put(index, free[int(np.argmax(similarity))])

    def _place_punctuation(self) -> None:
        """Punctuation goes into the sentence of its neighbours or nowhere: some would match in every sentence."""
        gaps = self._gaps()
        misplaced = [
            index
            for index, piece in enumerate(self._target.pieces)
            if piece.points == _PUNCTUATION and not self._fits(index, self._places[index], gaps[index])
        ]
        for index in misplaced:
            self._put(index, -1)
        gaps = self._gaps()
        for index in misplaced:
            same = self._by_key.get(self._target.pieces[index].key, ())
            places = [place for place in same if self._free[place] and self._fits(index, place, gaps[index])]
            if self._target.final[index]:
                places = [place for place in places if self._source.final[place]] or places
            if places:
                self._put(index, min(places, key=lambda place: _distance(place, gaps[index])))

    def _fits(self, index: int, place: int, gap: tuple[int, int]) -> bool:
        """Whether a place lies in its gap, in the sentence of the word before (for quotes also of the word after)."""
        before, after = gap
        sentences = self._source.sentences
        if before < after and not before < place < after:
            return False
        if 0 <= before < place and sentences[place] == sentences[before]:
            return True
        closing = self._target.is_closer(index)
        return not closing and 0 <= place < after < len(sentences) and sentences[place] == sentences[after]


def _distance(place: int, gap: tuple[int, int]) -> int:
    """Tokens to the nearer end of a gap."""
    return min(abs(place - end) for end in gap)


def _similarity(one: str, other: str) -> float:
    """The share of the longer word that its common start and end with the other make up."""
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) < max(_SHORTEST, _SIMILAR * len(longer)):
        return 0.0
    start = _common_start(shorter, longer)
    end = min(_common_start(shorter[::-1], longer[::-1]), len(shorter) - start)
    return (start + end) / len(longer)


def _common_start(one: str, other: str) -> int:
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))

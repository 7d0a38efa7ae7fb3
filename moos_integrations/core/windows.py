"""From words and a question to model windows, and from pieces back to words, by the tokenizer's offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moos_integrations.core.text import well_formed
from moos_integrations.core.types import FloatArray, IntArray, SegmentedText
from moos_integrations.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# Share of a window that the next one repeats where a single unit is longer than a window.
_OVERLAP = 0.25
# A question takes at most one of this many parts of a window; the passage, which has to be scored whole, has the rest.
QUESTION_PART = 4


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """A document's word pieces, without special tokens.

    Attributes:
        ids: Shape: `(pieces,)`.
        starts: Offsets into the source. Shape: `(pieces,)`.
        ends: Shape: `(pieces,)`.
    """

    ids: IntArray
    starts: IntArray
    ends: IntArray


@dataclass(frozen=True, slots=True)
class Window:
    """A run of a document's pieces that the model reads in one pass.

    Attributes:
        document: Index of the document.
        start: First piece of the run.
        end: Piece behind the last.
        own_start: First piece whose score is taken from this window; earlier ones are context from the overlap.
        own_end: Piece behind the last whose score is taken from this window.
    """

    document: int
    start: int
    end: int
    own_start: int
    own_end: int

    def __len__(self) -> int:
        """Number of pieces, special tokens not counted."""
        return self.end - self.start


class Run(NamedTuple):
    """Neighbouring pieces: their ids and their token types."""

    ids: tuple[int, ...]
    types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The model's input around a passage, the question included: `front + pieces + back`.

    Attributes:
        front: Pieces before the passage.
        passage_type: Token type of the passage's pieces.
        back: Pieces after the passage.
        reads_passage: The first piece of `front` is a special token, and it was read with question and passage.
        question: Places of the question's pieces in the input; empty without one.
    """

    front: Run
    passage_type: int
    back: Run
    reads_passage: bool
    question: slice

    def __len__(self) -> int:
        """Number of pieces, the passage's not counted."""
        return len(self.front.ids) + len(self.back.ids)

    @property
    def tells_similarity(self) -> bool:
        """Whether there is a question, so that units can be compared with its states."""
        return bool(self.question.stop > self.question.start)

    def around(self, pieces: Sequence[int]) -> Run:
        """The model's input for these pieces of a passage."""
        ids = (*self.front.ids, *pieces, *self.back.ids)
        return Run(ids, (*self.front.types, *(len(pieces) * [self.passage_type]), *self.back.types))


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Special tokens around a question and a passage: `before + question + between + passage + after`.

    Attributes:
        before: Special tokens, possibly none.
        question_type: Token type of the question's pieces.
        between: Special tokens, at least one.
        passage_type: Token type of the passage's pieces.
        after: Special tokens, possibly none.
    """

    before: Run
    question_type: int
    between: Run
    passage_type: int
    after: Run

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairTokens | None:
        """Find them by encoding two letters; None if the tokenizer puts nothing between the two."""
        encoding = tokenizer.encode("a", "a")
        question, passage = (
            [position for position, owner in enumerate(encoding.sequence_ids) if owner == sequence]
            for sequence in (0, 1)
        )
        if not question or not passage or passage[0] - question[-1] < 2:
            return None

        def run(start: int, end: int | None) -> Run:
            return Run(tuple(encoding.ids[start:end]), tuple(encoding.type_ids[start:end]))

        return cls(
            before=run(0, question[0]),
            question_type=encoding.type_ids[question[0]],
            between=run(question[-1] + 1, passage[0]),
            passage_type=encoding.type_ids[passage[0]],
            after=run(passage[-1] + 1, None),
        )


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Special tokens that a tokenizer puts around texts.

    Attributes:
        prefix: Ids before a single text.
        suffix: Ids after a single text.
        pair: Those around a question and a passage; None if it has no template for pairs.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pair: PairTokens | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SpecialTokens:
        """Find them by encoding letters.

        Raises:
            ModelError: If the tokenizer cannot encode a letter.
        """
        encoding = tokenizer.encode("a")
        real = [position for position, special in enumerate(encoding.special_tokens_mask) if not special]
        if not real:
            raise ModelError("The model's tokenizer makes no piece of the letter 'a'; it cannot be used.")
        prefix, suffix = tuple(encoding.ids[: real[0]]), tuple(encoding.ids[real[-1] + 1 :])
        return cls(prefix, suffix, PairTokens.of(tokenizer))

    def frame(self, question: Sequence[int] = ()) -> Frame:
        """The input around a passage that is read with this question, or alone if the question has no pieces.

        Raises:
            ModelError: If there is a question, and the tokenizer has no template for pairs.
        """
        if not question:
            prefix, suffix = (Run(ids, len(ids) * (0,)) for ids in (self.prefix, self.suffix))
            return Frame(prefix, 0, suffix, reads_passage=False, question=slice(0, 0))
        if self.pair is None:
            raise ModelError(
                "A question cannot be read with a passage: the model's tokenizer has no template for pairs. Score "
                "without the question, or save the tokenizer with one, such as `[CLS] $A [SEP] $B:1 [SEP]:1`."
            )
        before, between = self.pair.before, self.pair.between
        types = (*before.types, *(len(question) * [self.pair.question_type]), *between.types)
        front = Run((*before.ids, *question, *between.ids), types)
        asked = slice(len(before.ids), len(before.ids) + len(question))
        return Frame(front, self.pair.passage_type, self.pair.after, bool(before.ids), asked)


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Pieces]:
    """The pieces of each text, with offsets in code points.

    Args:
        tokenizer: A `tokenizers.Tokenizer` with truncation and padding off.
        texts: The sources.
    """
    encodings = tokenizer.encode_batch([well_formed(text) for text in texts], add_special_tokens=False)
    return [_pieces(encoding) for encoding in encodings]


def question_pieces(tokenizer: Tokenizer, question: str | None, max_pieces: int) -> list[int]:
    """Ids of the question's pieces: the first ones, as many as fill a quarter of a window.

    Args:
        tokenizer: As for `tokenize`.
        question: None and white space have no pieces.
        max_pieces: The model's length.
    """
    if question is None or not question.strip():
        return []
    (pieces,) = tokenize(tokenizer, [question])
    ids: list[int] = pieces.ids[: max_pieces // QUESTION_PART].tolist()
    return ids


def _pieces(encoding: Encoding) -> Pieces:
    offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    return Pieces(np.array(encoding.ids, np.int64), offsets[:, 0], offsets[:, 1])


def windows_of(index: int, document: SegmentedText, pieces: Pieces, room: int) -> list[Window]:
    """Cut a document into windows of at most `room` pieces, at unit ends.

    A unit longer than a window is cut into overlapping windows, and each piece is scored in the window in which it is
    further from the edge.

    Args:
        index: The document's index, copied into the windows.
        document: Its units.
        pieces: Its pieces.
        room: The model's length without special tokens and question.

    Raises:
        ModelError: If there is no room.
    """
    if room < 1:
        raise ModelError(
            f"The model's longest input has no room for text beside the special tokens and the question: {room} pieces "
            "are left. Check `max_position_embeddings` in its config.json and `model_max_length` in its "
            "tokenizer_config.json."
        )
    count = len(pieces.ids)
    if count == 0:
        return []
    # First piece behind each unit; a piece that straddles a border belongs to the unit in which it starts.
    unit_ends = np.searchsorted(pieces.starts, document.unit_ends, side="left")
    windows, start = [], 0
    while start < count:
        fitting = int(np.searchsorted(unit_ends, start + room, side="right")) - 1
        end = int(unit_ends[fitting]) if fitting >= 0 else 0
        if count - start <= room:
            end = count
        if end > start:
            windows.append(Window(index, start, end, start, end))
            start = end
        else:
            unit_end = min(int(unit_ends[fitting + 1]), count) if fitting + 1 < len(unit_ends) else count
            windows += _overlapping(index, start, unit_end, room)
            start = unit_end
    return windows


def _overlapping(index: int, start: int, end: int, room: int) -> list[Window]:
    overlap = int(room * _OVERLAP)
    begins = list(range(start, max(end - overlap, start + 1), room - overlap))
    windows = []
    for begin in begins:
        stop = min(begin + room, end)
        own_start = begin if begin == start else begin + overlap // 2
        own_end = stop if begin == begins[-1] else stop - (overlap - overlap // 2)
        windows.append(Window(index, begin, stop, own_start, own_end))
    return windows


def reduce_to_words(document: SegmentedText, pieces: Pieces, scores: FloatArray, reduction: str) -> FloatArray:
    """One score per word from the scores of the pieces that touch it.

    Args:
        document: The words.
        pieces: The pieces with their offsets.
        scores: Shape: `(pieces,)`.
        reduction: "mean", "first" or "max" over a word's pieces.

    Returns:
        Shape: `(words,)`; 0 for a word without pieces (characters that the tokenizer drops).
    """
    words, owners = _overlaps(document, pieces)
    values = scores[owners]
    result = np.zeros(len(document))
    if reduction == "max":
        np.maximum.at(result, words, values)
    elif reduction == "first":
        result[words[::-1]] = values[::-1]  # of several writes to a word the last one stays: its first piece
    else:
        counts = np.bincount(words, minlength=len(document))
        totals = np.bincount(words, weights=values, minlength=len(document))
        np.divide(totals, counts, out=result, where=counts > 0)
    return result


def _overlaps(document: SegmentedText, pieces: Pieces) -> tuple[IntArray, IntArray]:
    """Pairs (word, piece) that share characters, in order; byte-level pieces may touch several words."""
    first = np.searchsorted(document.word_ends, pieces.starts, side="right")
    last = np.searchsorted(document.word_starts, pieces.ends, side="left")
    counts = np.maximum(last - first, 0)
    owners = np.repeat(np.arange(len(pieces.ids)), counts)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first[owners] + within, owners

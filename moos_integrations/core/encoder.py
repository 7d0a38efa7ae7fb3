"""Windows to preserve probabilities and outlier scores: the only core module with a torch loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from moos_integrations.core.hub import Classifier
from moos_integrations.core.outliers import normalise, outlier_scores
from moos_integrations.core.relevance import OUTSIDE, QUESTION, question_similarity
from moos_integrations.core.types import FloatArray, IntArray, SegmentedText, WordScores
from moos_integrations.core.windows import Frame, Pieces, Window, question_pieces, reduce_to_words, tokenize, windows_of

# Windows are padded to a multiple of this, whatever stands beside them in the batch: the padded length, and with it
# every rounding, depends on the window alone, so that batched and single scores agree.
_PAD_TO = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What one window says.

    Attributes:
        preserve: Shape: `(pieces,)`.
        outlier: Normalised. Shape: `(pieces,)`.
        relevance: Preserve probability of the first special token; NaN without a question.
        units: The units of the window's pieces: the first and the one behind the last.
        similarity: Scaled cosine of these units to the question; empty where the model has none. Shape: `(units,)`.
    """

    preserve: FloatArray
    outlier: FloatArray
    relevance: float
    units: tuple[int, int]
    similarity: FloatArray


class TokenClassifierScorer:
    """Scores words with a token classifier: MOOSComp's metric `m_k = alpha * p_k + (1 - alpha) * s_k^norm`."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        alpha: float,
        outlier_statistic: str,
        word_reduction: str,
        max_batch_pieces: int,
    ) -> None:
        """Wrap a loaded classifier; the settings are those of `CompressorConfig`."""
        self.classifier = classifier
        self._alpha = alpha
        self._statistic = outlier_statistic if alpha < 1 else None
        self._reduction = word_reduction
        self._max_batch_pieces = max_batch_pieces

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Score every word of every document, for the query if the model is query-aware and there is one.

        Other models score as without a query: to read it has to be trained, putting it before the passage does not
        help. Of a query that is longer than a quarter of the model's input, the first pieces are read.

        Args:
            documents: What to score.
            query: The question; None, white space, or text without pieces for none.

        Returns:
            One `WordScores` per document. With a query that was read, its `relevance` is the preserve probability of
            the special token that opens the input (`[CLS]`), the largest over the document's windows; NaN for a
            document without pieces, and for models whose input has no such token. Its `unit_similarity` is there if
            the model has a `similarity_scale`; 0 for a unit without pieces.
        """
        frame = self._frame(query)
        room = self.classifier.max_pieces - len(frame)
        pieces = tokenize(self.classifier.tokenizer, [document.text for document in documents])
        windows = [
            window
            for index, document in enumerate(documents)
            for window in windows_of(index, document, pieces[index], room)
        ]
        preserve = [np.zeros(len(piece.ids)) for piece in pieces]
        outlier = [np.zeros(len(piece.ids)) for piece in pieces]
        relevance = [np.nan] * len(pieces)
        similar = self._tells_similarity(frame)
        similarity = [np.full(len(document.unit_starts), np.nan) if similar else None for document in documents]
        unit_of_piece = [
            np.maximum(np.searchsorted(document.unit_starts, own.starts, side="right") - 1, 0)
            for document, own in zip(documents, pieces, strict=True)
        ]
        for batch in self._batches(windows, frame):
            for window, read in zip(batch, self._forward(batch, pieces, unit_of_piece, frame), strict=True):
                index, own = window.document, slice(window.own_start - window.start, window.own_end - window.start)
                preserve[index][window.own_start : window.own_end] = read.preserve[own]
                outlier[index][window.own_start : window.own_end] = read.outlier[own]
                relevance[index] = float(np.fmax(relevance[index], read.relevance))  # NaN gives way
                known = similarity[index]
                if known is not None:  # a unit longer than a window is as similar as its best part
                    part = slice(*read.units)
                    known[part] = np.fmax(known[part], read.similarity)
        return [
            replace(scores, relevance=told, unit_similarity=None if near is None else np.nan_to_num(near))
            for scores, told, near in zip(
                map(self._words, documents, pieces, preserve, outlier), relevance, similarity, strict=True
            )
        ]

    def _frame(self, query: str | None) -> Frame:
        classifier = self.classifier
        if not classifier.query_aware:
            return classifier.special.frame()
        return classifier.special.frame(question_pieces(classifier.tokenizer, query, classifier.max_pieces))

    def _tells_similarity(self, frame: Frame) -> bool:
        return frame.tells_similarity and self.classifier.similarity_scale > 0

    def _words(self, document: SegmentedText, pieces: Pieces, preserve: FloatArray, outlier: FloatArray) -> WordScores:
        """Scores of a document's words from those of its pieces."""
        p = reduce_to_words(document, pieces, preserve, self._reduction)
        if self._statistic is None:
            return WordScores.from_preserve(p)
        s = reduce_to_words(document, pieces, outlier, self._reduction)
        return WordScores(p, s, self._alpha * p + (1 - self._alpha) * s)

    def _padded_length(self, window: Window, frame: Frame) -> int:
        length = len(window) + len(frame)
        return min(-(-length // _PAD_TO) * _PAD_TO, self.classifier.max_pieces)

    def _batches(self, windows: Sequence[Window], frame: Frame) -> Iterator[list[Window]]:
        """Windows of equal padded length together, at most `max_batch_pieces` pieces in a batch (but one window)."""
        batch: list[Window] = []
        lengths = {window: self._padded_length(window, frame) for window in windows}
        for window in sorted(windows, key=lengths.__getitem__):
            length = lengths[window]
            if batch and (lengths[batch[0]] != length or (len(batch) + 1) * length > self._max_batch_pieces):
                yield batch
                batch = []
            batch.append(window)
        if batch:
            yield batch

    @torch.inference_mode()
    def _forward(
        self, batch: Sequence[Window], pieces: Sequence[Pieces], unit_of_piece: Sequence[IntArray], frame: Frame
    ) -> list[_Read]:
        """What each window of the batch says."""
        classifier = self.classifier
        similar = self._tells_similarity(frame)
        inputs, mask = self._inputs(batch, pieces, frame)
        outputs = classifier.model(**inputs, output_hidden_states=similar or self._statistic is not None)
        p = outputs.logits.float().softmax(-1)[..., classifier.preserve_label]  # (B, T)
        s = torch.zeros_like(p)
        if self._statistic is not None:
            s = outlier_scores(outputs.hidden_states[-1].float(), p, mask, self._statistic)
        ranges = [_range(unit_of_piece[window.document][window.start : window.end]) for window in batch]
        near = np.zeros((len(batch), 0))
        if similar:
            units = self._units(batch, unit_of_piece, ranges, frame, p.shape[1])
            count = max(last - first for first, last in ranges)
            cosine = question_similarity(outputs.hidden_states[-1], units.to(p.device), count)
            near = classifier.similarity_scale * cosine.cpu().numpy().astype(np.float64)
        preserve, outlier = (tensor.cpu().numpy().astype(np.float64) for tensor in (p, s))
        first, found = len(frame.front.ids), []
        for index, window in enumerate(batch):
            row = slice(first, first + len(window))
            relevance = float(preserve[index, 0]) if frame.tells_relevance else np.nan
            similarity = near[index, : ranges[index][1] - ranges[index][0]]
            read = _Read(preserve[index, row], normalise(outlier[index, row]), relevance, ranges[index], similarity)
            found.append(read)
        return found

    @staticmethod
    def _units(
        batch: Sequence[Window],
        unit_of_piece: Sequence[IntArray],
        ranges: Sequence[tuple[int, int]],
        frame: Frame,
        length: int,
    ) -> torch.Tensor:
        """Unit of every piece of the input, counted from its window's first. Shape: `(batch, padded length)`."""
        units = np.full((len(batch), length), OUTSIDE, np.int64)
        units[:, frame.question] = QUESTION
        first = len(frame.front.ids)
        for row, window in enumerate(batch):
            own = unit_of_piece[window.document][window.start : window.end]
            units[row, first : first + len(window)] = own - ranges[row][0]
        return torch.from_numpy(units)

    def _inputs(
        self, batch: Sequence[Window], pieces: Sequence[Pieces], frame: Frame
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the model reads, and the mask of the passages' pieces. Shape of each: `(batch, padded length)`."""
        first, length = len(frame.front.ids), self._padded_length(batch[0], frame)
        ids = np.full((len(batch), length), self.classifier.pad_id, np.int64)
        attention, types, passage = np.zeros_like(ids), np.zeros_like(ids), np.zeros(ids.shape, bool)
        for row, window in enumerate(batch):
            run = frame.around(pieces[window.document].ids[window.start : window.end].tolist())
            ids[row, : len(run.ids)] = run.ids
            types[row, : len(run.types)] = run.types
            attention[row, : len(run.ids)] = 1
            passage[row, first : first + len(window)] = True
        inputs = {"input_ids": ids, "attention_mask": attention}
        if self.classifier.takes_types:
            inputs["token_type_ids"] = types
        device = self.classifier.device
        on_device = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
        return on_device, torch.from_numpy(passage).to(device)


def _range(units: IntArray) -> tuple[int, int]:
    """The first unit and the one behind the last."""
    return int(units[0]), int(units[-1]) + 1

"""Windows to preserve probabilities and outlier scores: the only core module with a torch loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from moos_integrations.core.answering import Answering
from moos_integrations.core.hub import Classifier, computes_here
from moos_integrations.core.outliers import normalise, outlier_scores
from moos_integrations.core.pooling import OUTSIDE, QUESTION, question_similarity, unit_means
from moos_integrations.core.threads import check_stop
from moos_integrations.core.types import FloatArray, IntArray, SegmentedText, WordScores
from moos_integrations.core.windows import Frame, Pieces, Window, question_pieces, reduce_to_words, tokenize, windows_of

# Windows are padded to a multiple of this, independent of the others in the batch. The padded length, and with it every
# rounding, depends on the window alone, so that batched and single scores agree.
_PAD_TO = 16
# Goes up whenever the same model and settings give a text other scores than before (segmentation, windows): scores that
# were kept on disk are then not used.
SCORES_VERSION = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """The output of the model for one window.

    Attributes:
        preserve: Shape: `(pieces,)`.
        outlier: Normalised. Shape: `(pieces,)`.
        passage_probability: Preserve probability of the first special token; NaN without a question.
        units: The units of the window's pieces: the first and the one behind the last.
        similarity: Scaled cosine of these units to the question; NaN where the model has none. Shape: `(units,)`.
        vectors: Mean last-layer state of each unit's pieces. Shape: `(units, width)`.
        sizes: Pieces of each unit. Shape: `(units,)`.
        gates: Weights of a sentence encoder's cosines; None without a learnt gate. Shape: `(2,)`.
    """

    preserve: FloatArray
    outlier: FloatArray
    passage_probability: float
    units: tuple[int, int]
    similarity: FloatArray
    vectors: npt.NDArray[np.float32]
    sizes: IntArray
    gates: FloatArray | None


class _Collected:
    """The outputs for the windows of one document so far."""

    def __init__(self, document: SegmentedText, pieces: Pieces, width: int) -> None:
        self.document, self.pieces = document, pieces
        self.unit_of_piece = np.maximum(np.searchsorted(document.unit_starts, pieces.starts, side="right") - 1, 0)
        self.preserve, self.outlier = np.zeros(len(pieces.ids)), np.zeros(len(pieces.ids))
        self.passage_probability = np.nan
        units = len(document.unit_starts)
        self._similarity = np.full(units, np.nan)
        self._sums, self._sizes = np.zeros((units, width), np.float32), np.zeros(units, np.int64)
        self.gates: FloatArray | None = None

    def add(self, window: Window, read: _Read) -> None:
        """Take over the part of a window that is scored in it; the rest is context."""
        own = slice(window.own_start - window.start, window.own_end - window.start)
        self.preserve[window.own_start : window.own_end] = read.preserve[own]
        self.outlier[window.own_start : window.own_end] = read.outlier[own]
        self.passage_probability = float(np.fmax(self.passage_probability, read.passage_probability))  # NaN gives way
        part = slice(*read.units)
        # A unit longer than a window is as similar as its best part.
        self._similarity[part] = np.fmax(self._similarity[part], read.similarity)
        self._sums[part] += read.vectors * read.sizes[:, None]
        self._sizes[part] += read.sizes
        if read.gates is not None:
            self.gates = np.zeros((len(self._sizes), 2)) if self.gates is None else self.gates
            self.gates[part] = np.maximum(self.gates[part], read.gates)

    @property
    def unit_vectors(self) -> npt.NDArray[np.float32]:
        """Mean state of each unit; 0 for one without pieces."""
        return np.asarray(self._sums / np.maximum(self._sizes, 1)[:, None], np.float32)

    @property
    def unit_similarity(self) -> FloatArray:
        """Similarity of each unit; 0 for one without pieces."""
        return np.asarray(np.nan_to_num(self._similarity))


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

    @property
    def languages(self) -> tuple[str, ...] | None:
        """ISO 639 codes of the languages that the model reads; None if unknown."""
        return self.classifier.languages

    @property
    def query_aware(self) -> bool:
        """Whether the model reads questions."""
        return self.classifier.query_aware

    @property
    def answering(self) -> Mapping[str, Answering]:
        """Calibrations of the documents' relevance; empty if there are none."""
        return self.classifier.answering

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text could get other scores: model, precision, settings, this code."""
        classifier = self.classifier
        model = f"{classifier.fingerprint}-{classifier.reading}"
        settings = (SCORES_VERSION, model, classifier.dtype, classifier.device.type)
        return " ".join(map(str, (*settings, self._alpha, self._statistic, self._reduction)))

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Score every word of every document; for the query, if there is one and the model is query-aware.

        Other models score as without a query, because reading one has to be trained. Of a query longer than a quarter
        of the model's input, only the first pieces are read.

        Args:
            documents: The documents.
            query: The question; None, white space, or text without pieces for none.

        Returns:
            One `WordScores` per document. `passage_probability` is the preserve probability of the special token that
            opens the input (`[CLS]`), the largest over the document's windows. It is NaN without a query that was read,
            for a document without pieces, and for models without such a token. `unit_similarity` is None unless the
            model has a `similarity_scale`; a unit without pieces has 0. `unit_vectors` are the mean last-layer states
            of the units.
        """
        frame = self._frame(query)
        room = self.classifier.max_pieces - len(frame)
        pieces = tokenize(self.classifier.tokenizer, [document.text for document in documents])
        found = [
            _Collected(document, own, self.classifier.width) for document, own in zip(documents, pieces, strict=True)
        ]
        windows = [
            window
            for index, document in enumerate(documents)
            for window in windows_of(index, document, pieces[index], room)
        ]
        for batch in self._batches(windows, frame):
            check_stop()
            for window, read in zip(batch, self._forward(batch, found, frame), strict=True):
                found[window.document].add(window, read)
        return [self._scores(own, similar=self._tells_similarity(frame)) for own in found]

    def _tells_similarity(self, frame: Frame) -> bool:
        return frame.tells_similarity and self.classifier.similarity_scale > 0

    def _frame(self, query: str | None) -> Frame:
        classifier = self.classifier
        if not classifier.query_aware:
            return classifier.special.frame()
        return classifier.special.frame(question_pieces(classifier.tokenizer, query, classifier.max_pieces))

    def _scores(self, found: _Collected, *, similar: bool) -> WordScores:
        """Scores of a document's words and units from those of its pieces."""
        p = reduce_to_words(found.document, found.pieces, found.preserve, self._reduction)
        scores = WordScores.from_preserve(p)
        if self._statistic is not None:
            s = reduce_to_words(found.document, found.pieces, found.outlier, self._reduction)
            scores = replace(scores, outlier=s, metric=self._alpha * p + (1 - self._alpha) * s)
        near = found.unit_similarity if similar else None
        return replace(
            scores,
            passage_probability=found.passage_probability,
            unit_similarity=near,
            unit_vectors=found.unit_vectors,
            gates=found.gates,
        )

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

    def _forward(self, batch: Sequence[Window], found: Sequence[_Collected], frame: Frame) -> list[_Read]:
        """The output of the model for each window of the batch, whatever the application has set in torch."""
        computes_here()
        device = self.classifier.device
        placed = nullcontext() if torch.get_default_device() == device else device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False), placed:
            return self._compute(batch, found, frame)

    def _compute(self, batch: Sequence[Window], found: Sequence[_Collected], frame: Frame) -> list[_Read]:
        classifier = self.classifier
        inputs, mask = self._inputs(batch, found, frame)
        outputs = classifier.model(**inputs, output_hidden_states=True)
        hidden = outputs.hidden_states[-1]
        p = outputs.logits.float().softmax(-1)[..., classifier.preserve_label]  # (B, T)
        s = torch.zeros_like(p)
        if self._statistic is not None:
            s = outlier_scores(hidden.float(), p, mask, self._statistic)
        ranges = [_range(found[window.document].unit_of_piece[window.start : window.end]) for window in batch]
        units, count = self._units(batch, found, ranges, frame, p.shape[1]).to(p.device), max(b - a for a, b in ranges)
        means, sizes = unit_means(hidden, units, count)
        near = torch.full_like(sizes, torch.nan, dtype=torch.float32)
        if self._tells_similarity(frame):
            near = classifier.similarity_scale * question_similarity(hidden, units, count)
        preserve, outlier, similarity = (tensor.cpu().numpy().astype(np.float64) for tensor in (p, s, near))
        vectors, lengths = means.cpu().numpy(), sizes.cpu().numpy()
        gates: FloatArray | list[None] = [None] * len(batch)
        if classifier.gate is not None and frame.reads_passage:
            gates = classifier.gate.of(hidden[:, 0].float().cpu().numpy())
        first, read = len(frame.front.ids), []
        for index, window in enumerate(batch):
            row, own = slice(first, first + len(window)), slice(ranges[index][1] - ranges[index][0])
            read.append(
                _Read(
                    preserve=preserve[index, row],
                    outlier=normalise(outlier[index, row]),
                    passage_probability=float(preserve[index, 0]) if frame.reads_passage else np.nan,
                    units=ranges[index],
                    similarity=similarity[index, own],
                    vectors=vectors[index, own],
                    sizes=lengths[index, own],
                    gates=gates[index],
                )
            )
        return read

    @staticmethod
    def _units(
        batch: Sequence[Window],
        found: Sequence[_Collected],
        ranges: Sequence[tuple[int, int]],
        frame: Frame,
        length: int,
    ) -> torch.Tensor:
        """Unit of every piece of the input, counted from its window's first. Shape: `(batch, padded length)`."""
        units = np.full((len(batch), length), OUTSIDE, np.int64)
        units[:, frame.question] = QUESTION
        first = len(frame.front.ids)
        for row, window in enumerate(batch):
            own = found[window.document].unit_of_piece[window.start : window.end]
            units[row, first : first + len(window)] = own - ranges[row][0]
        return torch.from_numpy(units)

    def _inputs(
        self, batch: Sequence[Window], found: Sequence[_Collected], frame: Frame
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The model's inputs, and the mask of the passages' pieces. Shape of each: `(batch, padded length)`."""
        first, length = len(frame.front.ids), self._padded_length(batch[0], frame)
        ids = np.full((len(batch), length), self.classifier.pad_id, np.int64)
        attention, types, passage = np.zeros_like(ids), np.zeros_like(ids), np.zeros(ids.shape, bool)
        for row, window in enumerate(batch):
            run = frame.around(found[window.document].pieces.ids[window.start : window.end].tolist())
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

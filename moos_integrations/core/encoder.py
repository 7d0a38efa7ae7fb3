"""Windows to preserve probabilities and outlier scores: the only core module with a torch loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from moos_integrations.core.hub import Classifier
from moos_integrations.core.outliers import normalise, outlier_scores
from moos_integrations.core.types import FloatArray, SegmentedText, WordScores
from moos_integrations.core.windows import Frame, Pieces, Window, question_pieces, reduce_to_words, tokenize, windows_of

# Windows are padded to a multiple of this, whatever stands beside them in the batch: the padded length, and with it
# every rounding, depends on the window alone, so that batched and single scores agree.
_PAD_TO = 16


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
            document without pieces, and for models whose input has no such token.
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
        for batch in self._batches(windows, frame):
            for window, (p, s, told) in zip(batch, self._forward(batch, pieces, frame), strict=True):
                own = slice(window.own_start - window.start, window.own_end - window.start)
                preserve[window.document][window.own_start : window.own_end] = p[own]
                outlier[window.document][window.own_start : window.own_end] = s[own]
                relevance[window.document] = float(np.fmax(relevance[window.document], told))  # NaN gives way
        return [self._mix(*item) for item in zip(documents, pieces, preserve, outlier, relevance, strict=True)]

    def _frame(self, query: str | None) -> Frame:
        classifier = self.classifier
        if not classifier.query_aware:
            return classifier.special.frame()
        return classifier.special.frame(question_pieces(classifier.tokenizer, query, classifier.max_pieces))

    def _mix(
        self, document: SegmentedText, pieces: Pieces, preserve: FloatArray, outlier: FloatArray, relevance: float
    ) -> WordScores:
        """Scores of a document's words from those of its pieces; the metric does not depend on `relevance`."""
        p = reduce_to_words(document, pieces, preserve, self._reduction)
        if self._statistic is None:
            return replace(WordScores.from_preserve(p), relevance=relevance)
        s = reduce_to_words(document, pieces, outlier, self._reduction)
        return WordScores(p, s, self._alpha * p + (1 - self._alpha) * s, relevance)

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
        self, batch: Sequence[Window], pieces: Sequence[Pieces], frame: Frame
    ) -> list[tuple[FloatArray, FloatArray, float]]:
        """Preserve probability and normalised outlier score of each window's pieces, and the window's relevance."""
        inputs, mask = self._inputs(batch, pieces, frame)
        outputs = self.classifier.model(**inputs, output_hidden_states=self._statistic is not None)
        p = outputs.logits.float().softmax(-1)[..., self.classifier.preserve_label]  # (B, T)
        s = torch.zeros_like(p)
        if self._statistic is not None:
            s = outlier_scores(outputs.hidden_states[-1].float(), p, mask, self._statistic)
        preserve, outlier = (tensor.cpu().numpy().astype(np.float64) for tensor in (p, s))
        first, found = len(frame.front.ids), []
        for index, window in enumerate(batch):
            row = slice(first, first + len(window))
            relevance = float(preserve[index, 0]) if frame.tells_relevance else np.nan
            found.append((preserve[index, row], normalise(outlier[index, row]), relevance))
        return found

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

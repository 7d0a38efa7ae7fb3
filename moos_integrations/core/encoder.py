"""Windows to preserve probabilities and outlier scores: the only core module with a torch loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from moos_integrations.core.hub import Classifier
from moos_integrations.core.outliers import normalise, outlier_scores
from moos_integrations.core.types import FloatArray, SegmentedText, WordScores
from moos_integrations.core.windows import Pieces, Window, reduce_to_words, tokenize, windows_of

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
        """Score every word of every document, query-free: `query` is accepted and not used by this model.

        Returns:
            One `WordScores` per document.
        """
        room = self.classifier.max_pieces - len(self.classifier.special)
        pieces = tokenize(self.classifier.tokenizer, [document.text for document in documents])
        windows = [
            window
            for index, document in enumerate(documents)
            for window in windows_of(index, document, pieces[index], room)
        ]
        preserve = [np.zeros(len(piece.ids)) for piece in pieces]
        outlier = [np.zeros(len(piece.ids)) for piece in pieces]
        for batch in self._batches(windows):
            for window, p, s in zip(batch, *self._forward(batch, pieces), strict=True):
                own = slice(window.own_start - window.start, window.own_end - window.start)
                preserve[window.document][window.own_start : window.own_end] = p[own]
                outlier[window.document][window.own_start : window.own_end] = s[own]
        return [self._mix(*item) for item in zip(documents, pieces, preserve, outlier, strict=True)]

    def _mix(self, document: SegmentedText, pieces: Pieces, preserve: FloatArray, outlier: FloatArray) -> WordScores:
        p = reduce_to_words(document, pieces, preserve, self._reduction)
        if self._statistic is None:
            return WordScores.from_preserve(p)
        s = reduce_to_words(document, pieces, outlier, self._reduction)
        return WordScores(p, s, self._alpha * p + (1 - self._alpha) * s)

    def _padded_length(self, window: Window) -> int:
        length = len(window) + len(self.classifier.special)
        return min(-(-length // _PAD_TO) * _PAD_TO, self.classifier.max_pieces)

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[Window]]:
        """Windows of equal padded length together, at most `max_batch_pieces` pieces in a batch (but one window)."""
        batch: list[Window] = []
        for window in sorted(windows, key=self._padded_length):
            length = self._padded_length(window)
            if batch and (
                self._padded_length(batch[0]) != length or (len(batch) + 1) * length > self._max_batch_pieces
            ):
                yield batch
                batch = []
            batch.append(window)
        if batch:
            yield batch

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Window], pieces: Sequence[Pieces]) -> tuple[list[FloatArray], list[FloatArray]]:
        """Preserve probability and normalised outlier score of each window's pieces."""
        classifier, prefix = self.classifier, len(self.classifier.special.prefix)
        ids, attention, mask = self._inputs(batch, pieces)
        outputs = classifier.model(
            input_ids=ids, attention_mask=attention, output_hidden_states=self._statistic is not None
        )
        p = outputs.logits.float().softmax(-1)[..., classifier.preserve_label]  # (B, T)
        s = torch.zeros_like(p)
        if self._statistic is not None:
            s = outlier_scores(outputs.hidden_states[-1].float(), p, mask, self._statistic)
        rows = [slice(prefix, prefix + len(window)) for window in batch]
        preserve, outlier = (tensor.cpu().numpy().astype(np.float64) for tensor in (p, s))
        return (
            [preserve[index, row] for index, row in enumerate(rows)],
            [normalise(outlier[index, row]) for index, row in enumerate(rows)],
        )

    def _inputs(
        self, batch: Sequence[Window], pieces: Sequence[Pieces]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ids, attention mask and mask of real pieces. Shape of each: `(batch, padded length)`."""
        special, length = self.classifier.special, self._padded_length(batch[0])
        ids = np.full((len(batch), length), self.classifier.pad_id, np.int64)
        attention, real = np.zeros_like(ids), np.zeros(ids.shape, bool)
        for row, window in enumerate(batch):
            run = [*special.prefix, *pieces[window.document].ids[window.start : window.end].tolist(), *special.suffix]
            ids[row, : len(run)] = run
            attention[row, : len(run)] = 1
            real[row, len(special.prefix) : len(special.prefix) + len(window)] = True
        on_device = [torch.from_numpy(array).to(self.classifier.device) for array in (ids, attention, real)]
        return on_device[0], on_device[1], on_device[2]

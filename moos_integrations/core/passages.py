"""The encoder stage: vectors of passages, of their units and of questions from a sentence encoder.

Passages are read without the question, so that their vectors can be made at ingestion; a question is one short pass.
A passage is a run of whole units of about 100 to 200 words, which is what sentence encoders were trained on. Its vector
is the mean of all states, a unit's vector the mean of the states of its pieces, from the same pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from moos_integrations.core.hub import Classifier, computes_here, load_encoder, weights_fingerprint
from moos_integrations.core.pooling import unit_means
from moos_integrations.core.threads import check_stop
from moos_integrations.core.windows import QUESTION_PART, SpecialTokens, tokenize

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_States: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From ids and their mask to last-layer states: the only call of the network. Shape: `(batch, pieces[, width])`."""
Vectors = npt.NDArray[np.float32]
_BATCH_PIECES = 4096  # padding included
_PAD_TO = 16  # as in `core.encoder`: the rounding of a passage's vector depends on the passage alone
_NO_UNIT = -1


@dataclass(frozen=True, slots=True, eq=False)
class PassageVectors:
    """Unit vectors of a passage and of its units.

    Attributes:
        passage: Shape: `(width,)`.
        units: 0 for a unit without pieces. Shape: `(units, width)`.
    """

    passage: Vectors
    units: Vectors


class PassageEncoder:
    """A sentence encoder with mean pooling, such as all-MiniLM-L6-v2, or the network of a model trained with one."""

    def __init__(self, folder: str, *, device: str = "cpu", dtype: str = "float32", max_pieces: int = 384) -> None:
        """Load the encoder.

        Args:
            folder: As in `load_encoder`.
            device: As in `load_encoder`.
            dtype: As in `load_encoder`.
            max_pieces: Longest input, special tokens included; at most what the encoder can read.

        Raises:
            ModelError: If it cannot be loaded, or has no fast tokenizer.
        """
        model, tokenizer = load_encoder(folder, device=device, dtype=dtype)
        backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()

        def states(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
            return found

        self._set(states, model.device, backend, tokenizer.pad_token_id or 0, model.config.hidden_size)
        positions = getattr(model.config, "max_position_embeddings", None) or max_pieces
        self.max_pieces = min(max_pieces, positions)
        self.fingerprint = f"{weights_fingerprint(model)} {model.dtype} {model.device.type} {max_pieces}"

    @classmethod
    def of(cls, classifier: Classifier, max_pieces: int = 384) -> PassageEncoder:
        """The network of a classifier as an encoder: it reads passages and questions alone, without a second model."""

        def states(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found = classifier.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
            return torch.as_tensor(found)

        own = cls.__new__(cls)
        own._set(states, classifier.device, classifier.tokenizer, classifier.pad_id, classifier.width)
        own.max_pieces = min(max_pieces, classifier.max_pieces)
        kind = f"{classifier.dtype} {classifier.device.type} {max_pieces}"
        own.fingerprint = f"{classifier.fingerprint} {kind}"
        return own

    def _set(self, states: _States, device: torch.device, tokenizer: Tokenizer, pad_id: int, width: int) -> None:
        self._states, self._device, self._pad_id = states, device, pad_id
        self.tokenizer, self.width = tokenizer, width
        self._special = SpecialTokens.of(tokenizer)
        self.max_pieces, self.fingerprint = 0, ""

    @property
    def room(self) -> int:
        """Most pieces of a text that are read."""
        return self.max_pieces - len(self._special.prefix) - len(self._special.suffix)

    def question(self, text: str) -> Vectors:
        """The question's unit vector; 0 for one without pieces. Shape: `(width,)`.

        Of a question longer than a quarter of the longest input, only the first pieces are read, as by the reader.
        """
        return np.asarray(self.texts([text], max(self.max_pieces // QUESTION_PART, 1))[0])

    def texts(self, texts: Sequence[str], max_pieces: int | None = None, *, kept: Path | None = None) -> Vectors:
        """A unit vector per text, of its first pieces; 0 for one without pieces.

        Args:
            texts: The texts.
            max_pieces: Read so many at most; None for all that fit.
            kept: Folder in which the vectors are kept, and from which they are taken the next time; None for none.

        Returns:
            Shape: `(texts, width)`.
        """
        most = min(max_pieces or self.room, self.room)
        digest = hashlib.sha256("\0".join([self.fingerprint, str(most), *texts]).encode("utf-8", "replace"))
        path = kept / f"vectors-{digest.hexdigest()[:16]}.npy" if kept else None
        if path and path.exists():
            return np.asarray(np.load(path), np.float32)
        ids = [pieces.ids[:most].tolist() for pieces in tokenize(self.tokenizer, texts)]
        found = self.passages(ids, [[_NO_UNIT] * len(own) for own in ids])
        vectors = np.stack([own.passage for own in found]) if found else np.zeros((0, self.width), np.float32)
        if path:
            with path.with_suffix(".partial").open("wb") as file:
                np.save(file, vectors.astype(np.float16))
            path.with_suffix(".partial").replace(path)
        return vectors

    def passages(self, ids: Sequence[Sequence[int]], units: Sequence[Sequence[int]]) -> list[PassageVectors]:
        """Vectors of passages and of their units.

        Args:
            ids: Pieces of each passage, without special tokens; at most `room`.
            units: Unit of each piece, counted from the passage's first; -1 for none.
        """
        found: list[PassageVectors | None] = [None] * len(ids)
        lengths = [-(-(len(own) + self.max_pieces - self.room) // _PAD_TO) * _PAD_TO for own in ids]
        order = sorted(range(len(ids)), key=lengths.__getitem__)
        first = 0
        while first < len(order):
            check_stop()
            length, last = lengths[order[first]], first
            while last < len(order) and lengths[order[last]] == length and (last - first) * length < _BATCH_PIECES:
                last += 1
            rows = order[first:last]
            batch = self._forward([ids[row] for row in rows], [units[row] for row in rows], length)
            for row, own in zip(rows, batch, strict=True):
                found[row] = own
            first = last
        return [own for own in found if own is not None]

    def _forward(
        self, ids: Sequence[Sequence[int]], units: Sequence[Sequence[int]], length: int
    ) -> list[PassageVectors]:
        """Vectors of a batch, whatever the application has set in torch."""
        computes_here()
        placed = nullcontext() if torch.get_default_device() == self._device else self._device
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False), placed:
            return self._compute(ids, units, length)

    def _compute(
        self, ids: Sequence[Sequence[int]], units: Sequence[Sequence[int]], length: int
    ) -> list[PassageVectors]:
        front = len(self._special.prefix)
        rows = np.full((len(ids), length), self._pad_id, np.int64)
        seen, unit = np.zeros_like(rows), np.full_like(rows, _NO_UNIT)
        for row, (own, of_piece) in enumerate(zip(ids, units, strict=True)):
            whole = [*self._special.prefix, *own, *self._special.suffix]
            rows[row, : len(whole)], seen[row, : len(whole)] = whole, 1
            unit[row, front : front + len(own)] = of_piece
        inputs, mask, pieces = (torch.from_numpy(own).to(self._device) for own in (rows, seen, unit))
        states = self._states(inputs, mask).float()
        weights = mask[..., None].float()
        whole_passages = (states * weights).sum(1) / weights.sum(1)
        counts = [max(own, default=-1) + 1 for own in units]
        means, _ = unit_means(states, pieces, max(max(counts), 1))
        passages, of_units = _directions(whole_passages), _directions(means)
        some = [bool(len(own)) for own in ids]
        return [
            PassageVectors(passages[row] * some[row], of_units[row, : counts[row]].copy()) for row in range(len(ids))
        ]


def _directions(vectors: torch.Tensor) -> Vectors:
    """Vectors of length 1; 0 stays."""
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy(), np.float32)

"""The encoder stage: vectors of passages, of their units and of questions from a sentence encoder.

Passages are read without the question, so that their vectors can be made at ingestion; a question is one short pass.
A passage is a run of whole units of about 100 to 200 words, which is what sentence encoders were trained on. Its vector
is the mean of all states, a unit's vector the mean of the states of its pieces, from the same pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from moos_integrations.core.hub import placement, resolve, weights_fingerprint
from moos_integrations.core.pooling import unit_means
from moos_integrations.core.windows import SpecialTokens, tokenize
from moos_integrations.errors import ModelError

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
    """A sentence encoder with mean pooling, such as all-MiniLM-L6-v2."""

    def __init__(self, folder: str, *, device: str = "cpu", dtype: str = "float32", max_pieces: int = 384) -> None:
        """Load the encoder.

        Args:
            folder: A bundled name, a folder in Hugging Face layout, or a hub id.
            device: As in `load_classifier`.
            dtype: As in `load_classifier`.
            max_pieces: Longest input, special tokens included; at most what the encoder can read.

        Raises:
            ModelError: If it cannot be loaded, or has no fast tokenizer.
        """
        source = resolve(folder)
        where, what = placement(device, dtype)
        try:
            model: Any = AutoModel.from_pretrained(
                source, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, ... by what is missing
            first_line = (str(error).splitlines() or [""])[0][:300]
            raise ModelError(
                f"Expected a sentence encoder with a fast tokenizer in {folder!r} (a bundled name, a folder or a hub "
                f"id): {type(error).__name__}: {first_line}"
            ) from error
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unused; where a folder has no weights for it, random ones would be in the fingerprint
        backend.no_truncation()
        backend.no_padding()
        self.tokenizer, self.max_pieces = (
            backend,
            min(max_pieces, getattr(model.config, "max_position_embeddings", None) or max_pieces),
        )
        self.width: int = model.config.hidden_size
        self._special, self._pad_id = SpecialTokens.of(backend), tokenizer.pad_token_id or 0
        self._model = model.requires_grad_(False).eval().to(device=where, dtype=what)
        self.fingerprint = f"{weights_fingerprint(self._model)} {what} {where.type} {max_pieces}"

    @property
    def room(self) -> int:
        """Most pieces of a text that are read."""
        return self.max_pieces - len(self._special.prefix) - len(self._special.suffix)

    def question(self, text: str) -> Vectors:
        """The question's unit vector; 0 for one without pieces. Shape: `(width,)`."""
        return np.asarray(self.texts([text])[0])

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
            length, last = lengths[order[first]], first
            while last < len(order) and lengths[order[last]] == length and (last - first) * length < _BATCH_PIECES:
                last += 1
            rows = order[first:last]
            batch = self._forward([ids[row] for row in rows], [units[row] for row in rows], length)
            for row, own in zip(rows, batch, strict=True):
                found[row] = own
            first = last
        return [own for own in found if own is not None]

    @torch.inference_mode()
    def _forward(
        self, ids: Sequence[Sequence[int]], units: Sequence[Sequence[int]], length: int
    ) -> list[PassageVectors]:
        front, device = len(self._special.prefix), self._model.device
        inputs = torch.full((len(ids), length), self._pad_id)
        mask, unit = torch.zeros_like(inputs), torch.full_like(inputs, _NO_UNIT)
        for row, (own, of_piece) in enumerate(zip(ids, units, strict=True)):
            whole = [*self._special.prefix, *own, *self._special.suffix]
            inputs[row, : len(whole)] = torch.tensor(whole)
            mask[row, : len(whole)] = 1
            unit[row, front : front + len(own)] = torch.tensor(of_piece, dtype=torch.long)
        states = self._model(input_ids=inputs.to(device), attention_mask=mask.to(device)).last_hidden_state.float()
        weights = mask.to(device)[..., None].float()
        whole_passages = (states * weights).sum(1) / weights.sum(1)
        counts = [max(own, default=-1) + 1 for own in units]
        means, _ = unit_means(states, unit.to(device), max(max(counts), 1))
        passages, of_units = _directions(whole_passages), _directions(means)
        some = [bool(len(own)) for own in ids]
        return [
            PassageVectors(passages[row] * some[row], of_units[row, : counts[row]].copy()) for row in range(len(ids))
        ]


def _directions(vectors: torch.Tensor) -> Vectors:
    """Vectors of length 1; 0 stays."""
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy(), np.float32)

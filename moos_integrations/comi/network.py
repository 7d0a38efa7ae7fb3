"""The three networks: encoder and fusion layer, cut out of an LLM, and the LLM itself as the decoder."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from moos_integrations.comi.method import merge_weights, reallocate, weighted_means
from moos_integrations.comi.settings import DecoderTuning, Method
from moos_integrations.errors import ConfigError, ModelError

IGNORED = -100
"""Label of a position that counts in no loss."""


@dataclass(frozen=True, slots=True, eq=False)
class ContextStates:
    """What the encoder made of one segment, without any query.

    Attributes:
        states: After the final norm. Shape: `(n, d)`.
        keys: Of each layer, for a query to attend to. Shape: `(layers, heads, n, head width)`.
        values: The same.
    """

    states: Tensor
    keys: Tensor
    values: Tensor

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(own.numel() * own.element_size() for own in (self.states, self.keys, self.values))


class Network(nn.Module):
    """Encoder, fusion layer and decoder of one LLM.

    Attributes:
        method: How contexts become vectors.
        encoder: The first layers of the LLM and its final norm.
        fusion: Its first layer and final norm (LSA).
        decoder: The LLM, with LoRA matrices if it is tuned with them.
    """

    def __init__(self, llm: Any, method: Method, tuning: DecoderTuning, *, own_embeddings: bool = False) -> None:
        """Cut encoder and fusion layer out of an LLM, and prepare it as the decoder.

        Args:
            llm: A causal LLM of transformers; becomes the decoder.
            method: The settings.
            tuning: What is trained of the decoder.
            own_embeddings: The encoder gets a copy of the token embeddings, to be trained. Else it shares them.

        Raises:
            ModelError: If the LLM takes no embeddings as input, or its layers are not found.
            ConfigError: If `encoder_layers` is more than it has, or it lacks the layers to tune.
        """
        super().__init__()
        check_llm(llm, method)
        self.method, self.tuning, self.own_embeddings = method, tuning, own_embeddings
        self._length: Tensor | None = None
        llm.requires_grad_(False)
        self.encoder = first_layers(llm, method.encoder_layers)
        self.fusion = first_layers(llm, 1)
        if own_embeddings:
            self.encoder.set_input_embeddings(copy.deepcopy(llm.get_input_embeddings()))
        self.decoder = tuned(llm, tuning)
        for name, own in [*self.encoder.named_parameters(), *self.fusion.named_parameters()]:
            own.requires_grad_(own_embeddings or not self._is_embedding(name, own))
        for own in llm.get_input_embeddings().parameters():
            own.requires_grad_(False)

    def _is_embedding(self, name: str, parameter: Tensor) -> bool:
        return any(parameter is own for own in self.decoder.get_input_embeddings().parameters())

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        found: torch.device = next(self.encoder.parameters()).device
        return found

    @property
    def width(self) -> int:
        """d: numbers in a state."""
        return int(self.decoder.get_input_embeddings().weight.shape[1])

    # --- encoder -------------------------------------------------------------------------------------------------

    def encode(self, segments: Sequence[Tensor], queries: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """States of segments and of the queries after them, in one pass.

        Args:
            segments: Token ids, one tensor per segment. Shape of each: `(n,)`.
            queries: The query of each. Shape of each: `(q,)`.

        Returns:
            Per segment its states, `(n, d)`, and its query's, `(q, d)`.
        """
        lengths = [len(own) for own in segments]
        rows = [torch.cat(pair) for pair in zip(segments, queries, strict=True)]
        ids, mask = _padded(rows, 0)
        positions = torch.arange(ids.shape[1], device=ids.device).repeat(len(rows), 1)
        if self.method.padded_positions:
            after = positions >= torch.tensor(lengths, device=ids.device)[:, None]
            positions = positions + after * (max(lengths) - torch.tensor(lengths, device=ids.device))[:, None]
        found = self.encoder(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        states = found.last_hidden_state
        return [
            (own[:length], own[length : length + len(query)])
            for own, length, query in zip(states, lengths, queries, strict=True)
        ]

    def encode_contexts(self, segments: Sequence[Tensor]) -> list[ContextStates]:
        """States, keys and values of segments, without any query. Shape of each of `segments`: `(n,)`."""
        ids, mask = _padded(list(segments), 0)
        cache: Any = DynamicCache()
        states = self.encoder(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True
        ).last_hidden_state
        keys = torch.stack([layer.keys for layer in cache.layers], 1)
        values = torch.stack([layer.values for layer in cache.layers], 1)
        return [
            ContextStates(states[row, :n].clone(), keys[row, :, :, :n].clone(), values[row, :, :, :n].clone())
            for row, n in enumerate(map(len, segments))
        ]

    def encode_query(self, contexts: Sequence[ContextStates], query: Tensor) -> list[Tensor]:
        """States of one query after each of the contexts. Shape of `query` and of each result: `(q,)`, `(q, d)`."""
        lengths = torch.tensor([len(own.states) for own in contexts], device=query.device)
        longest, count = int(lengths.max()), len(contexts)
        cache = _joined(contexts, longest)
        mask = torch.ones(count, longest + len(query), dtype=torch.long, device=query.device)
        mask[:, :longest] = (torch.arange(longest, device=query.device)[None] < lengths[:, None]).long()
        start = lengths.new_full((count,), longest) if self.method.padded_positions else lengths
        positions = start[:, None] + torch.arange(len(query), device=query.device)[None]
        found = self.encoder(
            input_ids=query.expand(count, -1),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return list(found.last_hidden_state)

    # --- vectors -------------------------------------------------------------------------------------------------

    def memory(
        self,
        segments: Sequence[Tensor],
        pairs: Sequence[tuple[Tensor, Tensor]],
        merge_sizes: Sequence[int],
        method: Method | None = None,
    ) -> list[Tensor]:
        """The memory vectors of segments.

        Args:
            segments: Token ids. Shape of each: `(n,)`.
            pairs: Per segment its states and its query's, as `encode` returns them.
            merge_sizes: Of each segment.
            method: Instead of the network's, for ablations.

        Returns:
            Shape of each: `(K, d)`.

        Raises:
            ModelError: If a state is not a finite number.
        """
        method = method or self.method
        _check_finite([own for pair in pairs for own in pair], "The encoder's states")
        merged, tokens = [], []
        for ids, (states, query), size in zip(segments, pairs, merge_sizes, strict=True):
            vectors, residual = self._merged(ids, states, query, method, size)
            merged.append(vectors.to(states.dtype))
            tokens.append(residual.to(states.dtype))
        fused = self.fuse(merged) if method.fusion else merged
        _check_finite(fused, "The vectors")
        if method.scale == "embeddings":
            fused = [nn.functional.normalize(own, dim=-1) * self.embedding_length for own in fused]
        if not method.token_residual:
            return fused
        return [own + method.token_residual * residual for own, residual in zip(fused, tokens, strict=True)]

    def _merged(self, ids: Tensor, states: Tensor, query: Tensor, method: Method, size: int) -> tuple[Tensor, Tensor]:
        """Means of a segment's states, and of its tokens' embeddings, in the same groups and with the same weights."""
        with torch.autocast(self.device.type, enabled=False):
            states, query = states.float(), query.float()
            chosen = merge_weights(states, query, reallocate(states, query, method, size), method)
            return weighted_means(states, *chosen), weighted_means(self.embed(ids).float(), *chosen)

    @property
    def embedding_length(self) -> Tensor:
        """Mean length of the decoder's token embeddings. Shape: `()`."""
        if self._length is None or self._length.device != self.device:
            weights = self.decoder.get_input_embeddings().weight
            self._length = torch.stack([own.float().norm(dim=1).sum() for own in weights.detach().split(4096)]).sum()
            self._length = self._length / len(weights)
        return self._length

    def fuse(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """LSA: one layer over the vectors of each segment, at positions 0 to K - 1. Shape of each: `(K, d)`."""
        inputs, mask = _padded(list(vectors), 0)
        fused = self.fusion(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
        return [own[: len(before)] for own, before in zip(fused, vectors, strict=True)]

    # --- decoder -------------------------------------------------------------------------------------------------

    def embed(self, ids: Tensor) -> Tensor:
        """The decoder's token embeddings. Shapes: `(n,) -> (n, d)`."""
        found: Tensor = self.decoder.get_input_embeddings()(ids)
        return found

    def token_losses(self, prompts: Sequence[Tensor], answers: Sequence[Tensor]) -> Tensor:
        """Negative log-likelihood of each answer token after its prompt; 0 elsewhere.

        Args:
            prompts: Embeddings. Shape of each: `(p, d)`.
            answers: Token ids. Shape of each: `(a,)`.

        Returns:
            Shape: `(len(prompts), longest answer)`.
        """
        rows = [torch.cat([own, self.embed(ids)]) for own, ids in zip(prompts, answers, strict=True)]
        inputs, mask = _padded(rows, 0)
        hidden = self._decoder_states(inputs, mask)
        longest = max(map(len, answers))
        losses = hidden.new_zeros(len(rows), longest, dtype=torch.float32)
        for row, (prompt, ids) in enumerate(zip(prompts, answers, strict=True)):
            logits = self._head(hidden[row, len(prompt) - 1 : len(prompt) - 1 + len(ids)])
            losses[row, : len(ids)] = nn.functional.cross_entropy(logits.float(), ids, reduction="none")
        return losses

    def _decoder_states(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """The decoder's last states. The vocabulary is large, so that logits are made where they are needed only."""
        llm = self.decoder.get_base_model() if hasattr(self.decoder, "get_base_model") else self.decoder
        found: Tensor = llm.base_model(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
        return found

    def _head(self, states: Tensor) -> Tensor:
        found: Tensor = self.decoder.get_output_embeddings()(states)
        return found


def _check_finite(vectors: Sequence[Tensor], what: str) -> None:
    if not all(bool(own.isfinite().all()) for own in vectors):
        raise ModelError(
            f"{what} are not finite numbers. Load the model in float32 or bfloat16, and check that its training did "
            "not diverge."
        )


def check_llm(llm: Any, method: Method) -> None:
    """Raise an error if a network cannot be made of an LLM; see `Network`."""
    if "inputs_embeds" not in inspect.signature(type(llm).forward).parameters:
        raise ModelError(
            f"Expected a causal LLM that takes `inputs_embeds`, got {type(llm).__name__}, which reads token ids only. "
            "Memory vectors cannot be put into it."
        )
    layers = _layer_list(llm)
    if method.encoder_layers > len(layers):
        raise ConfigError(
            f"`encoder_layers` must be at most {len(layers)}, the layers of the LLM, got {method.encoder_layers}."
        )


def first_layers(llm: Any, count: int) -> Any:
    """A copy of an LLM without its head, cut to the first layers and the final norm; embeddings are shared."""
    layers, embeddings = _layer_list(llm), llm.get_input_embeddings()
    copies: dict[int, Any] = {id(embeddings): embeddings}
    copies[id(layers)] = nn.ModuleList(copy.deepcopy(own, copies) for own in layers[:count])
    cut = copy.deepcopy(llm.base_model, copies)
    cut.config.num_hidden_layers = count
    if getattr(cut.config, "layer_types", None):
        cut.config.layer_types = cut.config.layer_types[:count]
    return cut


def _layer_list(llm: Any) -> nn.ModuleList:
    count = getattr(llm.config, "num_hidden_layers", None)
    for module in llm.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"The layers of {type(llm).__name__} were not found; expected a list of {count} of them.")


def tuned(llm: Any, tuning: DecoderTuning) -> Any:
    """The LLM with its trainable part: LoRA matrices, whole layers, or nothing.

    Raises:
        ConfigError: If the LLM has none of the layers.
    """
    if tuning.tuning == "none":
        return llm
    if tuning.tuning == "full":
        found = [own for name, own in llm.named_modules() if name.rpartition(".")[2] in tuning.modules]
        if not found:
            raise _no_modules(llm, tuning)
        for own in found:
            own.requires_grad_(True)
        return llm
    from peft import LoraConfig, get_peft_model

    names: Any = "all-linear" if tuning.modules == ("all-linear",) else list(tuning.modules)
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,  # type: ignore[arg-type]
        lora_dropout=tuning.dropout,
        target_modules=names,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a renamed attribute
            return get_peft_model(llm, config)
    except ValueError as error:
        raise _no_modules(llm, tuning) from error


def _no_modules(llm: Any, tuning: DecoderTuning) -> ConfigError:
    linear = {name.rpartition(".")[2] for name, own in llm.named_modules() if isinstance(own, nn.Linear)}
    return ConfigError(
        f"{type(llm).__name__} has no layers named {', '.join(tuning.modules)}; it has {', '.join(sorted(linear))}. "
        "Name them in `modules`."
    )


def _padded(rows: list[Tensor], fill: float) -> tuple[Tensor, Tensor]:
    """Rows padded on the right, and the attention mask. Shapes: `(rows, longest, ...)` and `(rows, longest)`."""
    lengths = torch.tensor([len(own) for own in rows], device=rows[0].device)
    batch = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)
    mask = torch.arange(batch.shape[1], device=lengths.device)[None] < lengths[:, None]
    return batch, mask.long()


def _joined(contexts: Sequence[ContextStates], longest: int) -> DynamicCache:
    """Keys and values of contexts as one cache, padded on the right."""

    def stacked(name: str) -> Tensor:
        parts = [getattr(own, name) for own in contexts]
        return torch.stack([nn.functional.pad(own, (0, 0, 0, longest - own.shape[2])) for own in parts], 1)

    cache = DynamicCache()
    for layer, (keys, values) in enumerate(zip(stacked("keys"), stacked("values"), strict=True)):
        cache.update(keys, values, layer)
    return cache

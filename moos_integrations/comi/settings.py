"""The settings of soft compression: the method with its published details and ours, and how the decoder is tuned."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from moos_integrations.core.checks import check_number, check_share, check_whole_number, refuse_unknown
from moos_integrations.errors import ConfigError

Layout = Literal["in_place", "cumulative"]
Pooling = Literal["gain", "mean"]
Prompt = Literal["chat", "plain"]
Scale = Literal["embeddings", "as_is"]
Tuning = Literal["lora", "full", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How contexts become memory vectors.

    The defaults are ours. `Method.published()` has the values of the paper's code, quirks included.

    Attributes:
        encoder_layers: Layers of the LLM that encode the context, followed by its final norm.
        merge_size: Tokens per vector: the compression rate.
        segment_tokens: Longer documents are compressed in segments of this many tokens.
        per_document: Encode each document by itself, so that its states can be cached. False joins all documents into
            one text, as published.
        coarse: Reallocate the groups by gain. False keeps groups of equal size.
        fine: Weight the tokens of a group by gain. False takes their mean.
        redundancy: Weight of the redundancy in a gain; 0 leaves it out.
        coarse_temperature: Of the softmax over groups. Published: 1, which hardly moves any boundary.
        fine_temperature: Of the softmax over the tokens of a group. Published: 1.
        mean_residual: Share of the plain mean in each vector, in [0, 1]. Published: 0.
        scale: "embeddings" gives each vector the mean length of the decoder's token embeddings, which its layers are
            made for. "as_is" leaves the length that the final norm gave it, as published.
        token_residual: Weight of the tokens' embeddings in each vector: their mean, with the weights of the merging, is
            added. Published: 0.
        layout: "in_place" puts the vectors where the gain is. "cumulative" lays out the new group sizes from the start
            of the segment, as published, so that boundaries move away from the tokens they were computed for.
        centre: Subtract the segment's mean state before cosines, as hidden states share a large common part.
        floor_padded: Redundancy of at least 0 in all groups but the largest, as in the published code, where padding
            counts as a similar token.
        padded_positions: Query positions start after the longest segment of a batch, as in the published code, so that
            its states change with the batch.
        round_without_coarse: Without the coarse step the number of groups is rounded to nearest, as published; else
            it is rounded up.
        fusion: Pass the vectors of a segment through one more layer of the LLM (LSA).
        prompt: "chat" puts vectors and question into the tokenizer's chat template, if it has one. "plain" is
            `[vectors; question]`, as published.
    """

    encoder_layers: int = 8
    merge_size: int = 16
    segment_tokens: int = 1024
    per_document: bool = True
    coarse: bool = True
    fine: bool = True
    redundancy: float = 1.0
    coarse_temperature: float = 0.25
    fine_temperature: float = 0.25
    mean_residual: float = 0.0
    scale: Scale = "embeddings"
    token_residual: float = 0.0
    layout: Layout = "in_place"
    centre: bool = True
    floor_padded: bool = False
    padded_positions: bool = False
    round_without_coarse: bool = False
    fusion: bool = True
    prompt: Prompt = "chat"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range.
        """
        for name in ("encoder_layers", "merge_size", "segment_tokens"):
            check_whole_number(name, getattr(self, name), 1)
        for name in ("coarse_temperature", "fine_temperature"):
            check_number(name, getattr(self, name), above=0)
        check_number("redundancy", self.redundancy)
        check_number("token_residual", self.token_residual)
        check_share("mean_residual", self.mean_residual)
        _check_choices(self, layout=Layout, prompt=Prompt, scale=Scale)
        _check_switches(self)

    @classmethod
    def published(cls, **changes: Any) -> Method:
        """The values of the paper's code; keyword arguments change some.

        Raises:
            ConfigError: If a value cannot be used.
        """
        published: dict[str, Any] = {
            "segment_tokens": 10_000,
            "per_document": False,
            "coarse_temperature": 1.0,
            "fine_temperature": 1.0,
            "scale": "as_is",
            "token_residual": 0.0,
            "layout": "cumulative",
            "centre": False,
            "floor_padded": True,
            "padded_positions": True,
            "round_without_coarse": True,
            "prompt": "plain",
        }
        return cls.from_dict({**published, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Method:
        """The method in a dictionary.

        Raises:
            ConfigError: If a setting is unknown or a value cannot be used.
        """
        refuse_unknown(values, cls, "setting of the method")
        return cls(**values)

    def changed(self, **changes: Any) -> Method:
        """A copy with other values.

        Raises:
            ConfigError: If a setting is unknown or a value cannot be used.
        """
        return self.from_dict({**dataclasses.asdict(self), **changes})

    def encoding_key(self) -> str:
        """The settings on which context states depend."""
        return json.dumps([self.encoder_layers, self.segment_tokens, self.per_document])


ABLATIONS: dict[str, dict[str, Any]] = {
    "mean pooling": {"coarse": False, "fine": False},
    "without redundancy": {"redundancy": 0.0},
    "without the coarse step": {"coarse": False},
    "without the fine step": {"fine": False},
}
"""Changes to a `Method` that switch off one part each, at the same number of vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderTuning:
    """Which weights of the decoder are trained.

    Attributes:
        tuning: "lora" adds LoRA matrices to `modules`, as in the published code; "full" trains their weights, as in the
            paper; "none" leaves the decoder as it is.
        modules: Names of the linear layers; ("all-linear",) for all of them.
        rank: Of the LoRA matrices.
        alpha: LoRA's scale is `alpha / rank`.
        dropout: Before the LoRA matrices, in [0, 1].
    """

    tuning: Tuning = "lora"
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    rank: int = 128
    alpha: float = 32.0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range.
        """
        _check_choices(self, tuning=Tuning)
        if isinstance(self.modules, str) or not self.modules or not all(isinstance(own, str) for own in self.modules):
            raise ConfigError(f"`modules` must be names of linear layers such as ('q_proj',), got {self.modules!r}.")
        object.__setattr__(self, "modules", tuple(self.modules))  # lists come from JSON
        check_whole_number("rank", self.rank, 1)
        check_number("alpha", self.alpha, above=0)
        check_share("dropout", self.dropout)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderTuning:
        """The tuning in a dictionary.

        Raises:
            ConfigError: If a setting is unknown or a value cannot be used.
        """
        refuse_unknown(values, cls, "setting of the decoder's tuning")
        return cls(**values)


def _check_choices(settings: Any, **choices: Any) -> None:
    for name, kind in choices.items():
        if getattr(settings, name) not in get_args(kind):
            known = ", ".join(map(repr, get_args(kind)))
            raise ConfigError(f"`{name}` must be one of {known}, got {getattr(settings, name)!r}.")


def _check_switches(settings: Any) -> None:
    for field in dataclasses.fields(settings):
        if isinstance(field.default, bool) and not isinstance(getattr(settings, field.name), bool):
            raise ConfigError(f"`{field.name}` must be True or False, got {getattr(settings, field.name)!r}.")

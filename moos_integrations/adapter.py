"""What the framework adapters share: the compressor's settings as pydantic fields, and the compressor built from them.

Both LangChain and LlamaIndex bring pydantic; nothing else of the package needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from typing_extensions import Self

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import (
    BUNDLED_MODEL,
    DEFAULT_ALPHA,
    DEFAULT_CACHE_BYTES,
    DEFAULT_SEPARATOR,
    DEFAULT_STATISTIC,
    DEFAULT_TOKENIZER,
    Budgets,
    CompressorConfig,
    DType,
    OnError,
    Order,
    OutlierStatistic,
    Redundancy,
    WordReduction,
)
from moos_integrations.core.embeddings import Embeddings
from moos_integrations.core.protection import pattern_from_json
from moos_integrations.core.result import Citation, CompressedDocument
from moos_integrations.errors import ConfigError

METADATA_KEY = "moos"
"""The one metadata key under which everything that we add to a document lives."""

_LOADING = ("model", "device", "dtype", "preserve_label", "embeddings")
_BUILDING = threading.Lock()


class CompressorFields(BaseModel):
    """Mixin: every setting is a field, so that it is serialised; the weights load on first use, never here.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.
    """

    model: str = Field(default=BUNDLED_MODEL, description="Bundled name, folder in Hugging Face layout, or hub id.")
    rate: float | None = Field(
        default=None, description="Share of tokens to keep over all documents together, in [0, 1]."
    )
    budget_tokens: int | None = Field(
        default=None, description="Ceiling in target-LLM tokens over all documents, joined."
    )
    threshold: float | None = Field(
        default=None,
        description="Adaptive, in [0, 1]: with a question, keep the units that are at least this share as likely to be "
        "needed as the best one; without, the words whose metric is at least this.",
    )
    alpha: float = Field(
        default=DEFAULT_ALPHA, description="Weight of the preserve probability against the outlier score."
    )
    outlier_statistic: OutlierStatistic = Field(default=DEFAULT_STATISTIC, description="Which outlier score is used.")
    word_reduction: WordReduction = Field(default="mean", description="How a word's score follows from its pieces'.")
    budgets: Budgets = Field(
        default="auto",
        description="'gain': units share by marginal information gain; 'words': one ranking; 'auto': by question.",
    )
    similarity_scale: float = Field(
        default=10.0, description="Weight of the cosine between question and unit where `embeddings` are given."
    )
    lexical_weight: float = Field(
        default=2.0, description="Weight of the match of a unit's terms with the question's (BM25)."
    )
    retriever_weight: float = Field(
        default=0.5, description="Weight of the retriever's scores in relevance, per standard deviation."
    )
    redundancy: Redundancy = Field(default="symmetric", description="'greedy' or 'symmetric' (COMI as published).")
    redundancy_weight: float = Field(default=2.0, description="Weight of redundancy against relevance, in log-odds.")
    temperature: float = Field(default=0.7, description="How evenly units share the budget, in log-odds.")
    whole_from: float = Field(default=0.7, description="Share of a unit's tokens from which it is kept whole.")
    top_n: int | None = Field(default=None, description="Keep something of at most so many documents.")
    order: Order = Field(
        default="source", description="'source', 'relevance' (best first), or 'ends' (best first and last)."
    )
    protect: tuple[Any, ...] = Field(
        default=(), description="Detector names, literal strings, compiled patterns: never dropped."
    )
    tokenizer: Any = Field(
        default=DEFAULT_TOKENIZER, description="The target LLM's: tiktoken name, HF tokenizer or callable."
    )
    separator: str = Field(
        default=DEFAULT_SEPARATOR, description="What the prompt puts between documents; its tokens count."
    )
    on_error: OnError = Field(
        default="raise", description="'raise', or 'passthrough': unchanged documents and one warning."
    )
    max_batch_pieces: int = Field(default=4096, description="Upper bound on word pieces in one forward pass.")
    cache_bytes: int = Field(default=DEFAULT_CACHE_BYTES, description="Memory for scores that are known already.")
    cache_dir: str | None = Field(default=None, description="Directory that keeps scores across processes.")
    embeddings: Any = Field(
        default=None,
        description="LangChain `Embeddings` or LlamaIndex `BaseEmbedding` that tells relevance in place of the model.",
    )
    device: str = Field(default="auto", description="'auto' (cuda over mps over cpu) or a torch device.")
    dtype: DType = Field(default="auto", description="'auto', 'float32', 'bfloat16' or 'float16'.")
    preserve_label: str | int | None = Field(
        default=None, description="The label that means keep, if its name does not say so."
    )

    _compressor: ContextCompressor | None = PrivateAttr(None)

    def __init__(self, **data: Any) -> None:
        """Check the settings, then let the framework's base class do its part."""
        if isinstance(data.get("protect"), (list, tuple)):  # patterns as `pattern_to_json` stored them
            data["protect"] = tuple(pattern_from_json(item) for item in data["protect"])
        _config(data)  # before pydantic coerces anything: `rate=True` is a mistake, not 1.0
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ConfigError(_readable(type(self).__name__, error)) from error

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field; a changed setting is checked, and the compressor is built anew on its next use."""
        if name in CompressorFields.model_fields:
            _config({**{key: getattr(self, key) for key in CompressorFields.model_fields}, name: value})
            super().__setattr__("_compressor", None)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise ConfigError(_readable(type(self).__name__, error)) from error
        except ValueError as error:  # pydantic's answer to a name that is no field
            raise ConfigError(str(error)) from error

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; with `update`, its settings are checked and its compressor is built anew."""
        copy = super().model_copy(update=update, deep=deep)
        if update:
            copy.config_of_compressor()
            copy._compressor = None
        return copy

    def __getstate__(self) -> dict[Any, Any]:
        """State for pickling, without the loaded model: it is loaded again on first use."""
        state = super().__getstate__()
        if state.get("__pydantic_private__"):
            state["__pydantic_private__"] = {**state["__pydantic_private__"], "_compressor": None}
        return state

    @property
    def compressor(self) -> ContextCompressor:
        """The core compressor with these settings; its weights load when it first compresses."""
        with _BUILDING:  # threads that share this adapter must share the compressor too
            if self._compressor is None:
                loading = {name: getattr(self, name) for name in _LOADING}
                self._compressor = ContextCompressor.from_pretrained(
                    **loading, lazy=True, config=self.config_of_compressor()
                )
            return self._compressor

    def config_of_compressor(self) -> CompressorConfig:
        """These settings as a `CompressorConfig`."""
        return _config({name: getattr(self, name) for name in CompressorFields.model_fields})


def _config(settings: Mapping[str, Any]) -> CompressorConfig:
    if settings.get("embeddings") is not None:
        Embeddings(settings["embeddings"])
    names = [name for name in CompressorFields.model_fields if name in settings and name not in _LOADING]
    return CompressorConfig(**{name: settings[name] for name in names})


def _readable(owner: str, error: ValidationError) -> str:
    problems = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}, got {item['input']!r}" for item in error.errors()]
    if any(item["type"] == "extra_forbidden" for item in error.errors()):
        problems.append(f"settings are {', '.join(CompressorFields.model_fields)}, and those of {owner}")
    return f"{owner} cannot be built: " + "; ".join(problems)


def document_metadata(document: CompressedDocument) -> dict[str, Any]:
    """What the adapters write under `METADATA_KEY`: JSON-ready, enough to map the text back to its source."""
    return {
        "original_tokens": document.original_tokens,
        "kept_tokens": document.kept_tokens,
        "spans": [list(span) for span in document.spans],
    }


def citations_of(
    quote: str, index: int, name: str | None, text: str, spans: Sequence[Sequence[int]] | None, start: int, least: float
) -> list[Citation]:
    """Where a quote stands in the original of a compressed document of a framework.

    Args:
        quote: A piece of an answer.
        index: Position of the document in its list.
        name: Its id.
        text: What is left of it.
        spans: The spans of its source that `text` was made of; None for a document that was never compressed.
        start: Where the source begins in the original that it was cut from.
        least: Share of the quote's words that must stand there in a row.
    """
    known = [(0, len(text))] if spans is None else spans
    shifted = tuple((int(first) + start, int(last) + start) for first, last in known)
    document = CompressedDocument(index, text, shifted, 0, 0, ())
    return [replace(place, id=name) for place in document.cite(quote, min_coverage=least)]


def best_first(places: Iterable[Citation]) -> list[Citation]:
    """Those that hold most of the quote first, then in document order."""
    return sorted(places, key=lambda place: -place.coverage)

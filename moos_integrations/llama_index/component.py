"""What both components use: saving of the settings, and the beginning and end of one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.schema import BaseComponent, BaseNode
from pydantic import BaseModel, Field, field_serializer
from typing_extensions import Self

from moos_integrations.adapter import AddedMetadata, CompressorFields
from moos_integrations.core.config import AllKeywords
from moos_integrations.core.result import CompressedDocument, CompressionResult
from moos_integrations.core.tokens import token_counter
from moos_integrations.errors import ConfigError
from moos_integrations.llama_index.events import MOOSCompressionEndEvent, MOOSCompressionStartEvent
from moos_integrations.llama_index.nodes import (
    compressed_copy,
    copy_of,
    is_more_than_text,
    passed_through_copy,
    text_of,
)
from moos_integrations.messages import Notice

dispatcher = get_dispatcher(__name__)

_OBJECTS = {"tokenizer": "the name of a tokenizer", "embeddings": "none", "cache_store": "none"}
"""Settings that may be objects, and what else they may be."""
_PROBES = ("The meeting ended at 17:30.", "unübersetzbar, 数据库, 🙂🙂", "def f(x):\n    return x[0] + 1_000\n")


class NodeCompressorKeywords(AllKeywords, total=False):
    """The fields of both components as keywords, for type checkers."""

    keep_empty: bool
    added_metadata: AddedMetadata
    score_key: str | None


class NodeCompressor(CompressorFields, BaseComponent):
    """Base of both components: compresses the texts of nodes."""

    keep_empty: bool = Field(
        default=False, strict=True, description="Keep nodes of which no text is left, with empty text."
    )
    added_metadata: AddedMetadata = Field(
        default="all",
        description="What is added to metadata, hidden from LLM and embedding model: 'spans' what `cite` needs; 'all' "
        "also token counts, relevance and kinds of warnings; 'none'.",
    )
    score_key: str | None = Field(
        default=None,
        strict=True,
        description="Metadata key for each node's relevance, in log-odds, such as `relevance_score`; None for none.",
    )

    # --- saving ------------------------------------------------------------------------------------------------------

    @field_serializer("tokenizer")
    def _tokenizer_to_json(self, tokenizer: Any) -> Any:
        return tokenizer if isinstance(tokenizer, str) else {"object": _name(tokenizer), "counts": _counts(tokenizer)}

    @field_serializer("embeddings", "cache_store")
    def _object_to_json(self, value: Any) -> Any:
        return None if value is None else {"object": _name(value)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """A component from the output of `to_dict`.

        Args:
            data: Output of `to_dict`; it is not changed.
            **kwargs: Settings to replace. `tokenizer` must be among them if it was an object, and `embeddings`
                and `cache_store` if there were any: only their names were saved.

        Raises:
            ConfigError: If a setting is unknown or cannot be used, or an object that was not saved is missing.
        """
        settings = {**data, **kwargs}
        for name, expected in (
            ("tokenizer", "the name of a tokenizer"),
            ("embeddings", "none"),
            ("cache_store", "none"),
        ):
            if isinstance(settings.get(name), Mapping):
                raise ConfigError(
                    f"The `{name}` was the object {settings[name].get('object')!r}, which is not saved: expected "
                    f"{expected}. Pass the object again: {cls.__name__}.from_dict(data, {name}=...)."
                )
        return super().from_dict(settings)

    def __getstate__(self) -> dict[Any, Any]:
        """State for pickling: the settings, without weights and callback manager, which belong to this process."""
        # BaseComponent's method would pickle the weights as a trial. What cannot be pickled (a lambda as tokenizer) it
        # deletes, from this object too. Without it, pickle raises an error.
        state = BaseModel.__getstate__(self)
        settings = {name: value for name, value in state["__dict__"].items() if name != "callback_manager"}
        return {**state, "__dict__": settings, "__pydantic_private__": {"_compressor": None}}

    def precompute(self, nodes: Sequence[BaseNode]) -> None:
        """Score nodes at ingestion and keep the scores; see `ContextCompressor.precompute`.

        Raises:
            ConfigError: If `cache_bytes` is 0 and `cache_dir` is not set.
            ModelError: If the model cannot be loaded.
        """
        self.compressor.precompute([text_of(node) for node in nodes])

    # --- one call ----------------------------------------------------------------------------------------------------

    def _start(self, nodes: Sequence[BaseNode], query: str | None) -> list[str]:
        """The texts to compress, announced; an empty list if there are none, so that no model is loaded for them."""
        texts = [text_of(node) for node in nodes]
        if not any(texts):
            return []
        dispatcher.event(MOOSCompressionStartEvent(query=query, documents=len(nodes), model=self.model))
        return texts

    def _end(
        self,
        nodes: Sequence[BaseNode],
        result: CompressionResult | None,
        warnings: Sequence[Sequence[Notice]] | None = None,
    ) -> list[BaseNode | None]:
        """A copy for each node, None for those to drop.

        Args:
            nodes: The sources.
            result: What was kept of them; None if there was no text.
            warnings: Those of each node, where nodes were compressed one by one; None for those of the call.
        """
        if result is None:
            return [self._copy(node, None, ()) for node in nodes]
        dispatcher.event(MOOSCompressionEndEvent(**result.summary()))
        each = [result.warnings] * len(nodes) if warnings is None else warnings
        if result.passed_through:
            pairs = zip(nodes, each, strict=True)
            return [passed_through_copy(node, notices, added=self.added_metadata) for node, notices in pairs]
        rows = zip(nodes, result.documents, each, strict=True)
        return [self._copy(node, document, notices) for node, document, notices in rows]

    def _copy(self, node: BaseNode, document: CompressedDocument | None, warnings: Sequence[Notice]) -> BaseNode | None:
        if not (document and document.text) and not self.keep_empty and not is_more_than_text(node):
            return None
        if document is None or not text_of(node):
            return copy_of(node)  # there was no text to compress
        if document.passed_through:
            return passed_through_copy(node, warnings, added=self.added_metadata)
        return compressed_copy(node, document, warnings, added=self.added_metadata, score_key=self.score_key)


def _name(tokenizer: Any) -> str:
    named = tokenizer if hasattr(tokenizer, "__qualname__") else type(tokenizer)
    return str(getattr(tokenizer, "name_or_path", "") or f"{named.__module__}.{named.__qualname__}")


def _counts(tokenizer: Any) -> list[int] | None:
    """Tokens of some short texts: they differ for two lambdas of one name, and are the same in every process."""
    try:
        counter = token_counter(tokenizer)
        return [counter.count(text) for text in _PROBES]
    except Exception:  # a tokenizer that cannot count is reported when it is used; here it is only described
        return None

"""Haystack: `MOOSDocumentCompressor`, a component between retriever and prompt builder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moos_integrations.adapter import copied, entry_of, origin_in, without_entry
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.provenance import Origin
from moos_integrations.core.result import CompressedDocument, CompressionResult
from moos_integrations.errors import ConfigError, InputError, MissingExtraError

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="haystack") from error

__all__ = ["MOOSDocumentCompressor", "origin_of"]

_START = "split_idx_start"  # where Haystack's splitters say that a chunk begins in its document


@component
class MOOSDocumentCompressor:
    """Compresses retrieved documents together, under one target, before they reach the prompt.

    Ids, scores and metadata stay. The metadata get the entries of the other adapters: `moos`, which leads back into the
    source (`origin_of`), and the tokens before and after. Embeddings of texts that have changed are cleared. Documents
    of which nothing is kept are dropped, unless `keep_empty` is set. Documents without text pass untouched. Documents
    that come in are never changed.

    Example:
        >>> from haystack import Document
        >>> from moos_integrations.haystack import MOOSDocumentCompressor
        >>> compressor = MOOSDocumentCompressor(budget_tokens=20)
        >>> text = "It rained all day, and nobody liked it. The meeting ended at 17:30 on 3 May."
        >>> compressor.run([Document(content=text)], query="When did the meeting end?")["documents"][0].content
        'The meeting ended at 17:30 on 3 May.'

    A pipeline that was saved is loaded with `Pipeline.load(..., allowed_modules=["moos_integrations.*"])`.
    """

    def __init__(self, *, keep_empty: bool = False, **settings: Any) -> None:
        """Check the settings; the weights load on first use, or in `warm_up`.

        Args:
            keep_empty: Keep documents of which nothing is left, with empty text.
            **settings: As in `CompressorConfig`.

        Raises:
            ConfigError: On an unknown or unusable setting.
        """
        if not isinstance(keep_empty, bool):
            raise ConfigError(f"`keep_empty` must be True or False, got {keep_empty!r}.")
        self.keep_empty = keep_empty
        self.config = CompressorConfig.from_settings(settings)
        self.compressor = ContextCompressor.from_pretrained(lazy=True, config=self.config)

    def warm_up(self) -> None:
        """Load the weights now, so that the first question does not wait for them."""
        self.compressor.load()

    def to_dict(self) -> dict[str, Any]:
        """The component for a saved pipeline.

        Raises:
            ConfigError: If a setting is an object that cannot be saved.
        """
        self.config.to_json()  # refuses objects
        settings = self.config.model_dump(include=self.config.model_fields_set)
        saved: dict[str, Any] = default_to_dict(self, keep_empty=self.keep_empty, **settings)
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MOOSDocumentCompressor:
        """The component that `to_dict` saved.

        Raises:
            ConfigError: On an unknown or unusable setting.
        """
        made: MOOSDocumentCompressor = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])
    def run(
        self,
        documents: list[Document],
        query: str | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Compress documents together.

        Args:
            documents: What was retrieved; scores add to relevance.
            query: The question.
            rate: Share of the tokens to keep, in place of the configured target.
            budget_tokens: Most tokens to keep, in place of the configured target.
            threshold: Adaptive, in place of the configured target.

        Returns:
            `documents`: copies with the kept text, in their order.

        Raises:
            InputError: If the documents are not Haystack documents, or the query is not a string.
            ConfigError: If two targets are passed, or one is out of range.
            MoosError: As `ContextCompressor.compress`.
        """
        texts, scores = _read(documents)
        result = self.compressor.compress(
            texts, query, document_scores=scores, rate=rate, budget_tokens=budget_tokens, threshold=threshold
        )
        return {"documents": self._written(documents, result)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        documents: list[Document],
        query: str | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """`run` in a thread of the package; a task that is cancelled goes on at once."""
        texts, scores = _read(documents)
        result = await self.compressor.acompress(
            texts, query, document_scores=scores, rate=rate, budget_tokens=budget_tokens, threshold=threshold
        )
        return {"documents": self._written(documents, result)}

    def _written(self, documents: Sequence[Document], result: CompressionResult) -> list[Document]:
        """Copies with the kept texts in the order of the result; documents without text keep their places."""
        sources = [document for document in documents if document.content is not None]
        arranged = iter([(sources[index], result.documents[index]) for index in result.order])
        written = []
        for document in documents:
            if document.content is None:
                written.append(document)
                continue
            source, kept = next(arranged)
            if self.keep_empty or kept.passed_through or not kept.dropped or not source.content:
                written.append(_copy(source, kept, result))
        return written


def origin_of(document: Document) -> Origin:
    """Where the text of a document comes from: `spans` of the source, and `within`, what the source is."""
    start = document.meta.get(_START)
    return origin_in(document.meta, document.content or "", start if isinstance(start, int) else None)


def _read(documents: Sequence[Document]) -> tuple[list[str], list[float | None] | None]:
    """The texts, and their scores if there are any."""
    if not isinstance(documents, (list, tuple)):
        raise InputError(f"`documents` must be a list of Haystack documents, got {type(documents).__name__}.")
    for index, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputError(f"Expected Haystack documents; item {index} is a {type(document).__name__}.")
    texts = [document for document in documents if document.content is not None]
    scores = [document.score for document in texts]
    known = any(score is not None for score in scores)
    return [document.content or "" for document in texts], scores if known else None


def _copy(source: Document, kept: CompressedDocument, result: CompressionResult) -> Document:
    start = source.meta.get(_START)
    entry = entry_of(source.meta, kept, origin_of(source), start if isinstance(start, int) else None, result.warnings)
    changed: dict[str, Any] = {"meta": {**without_entry(copied(source.meta)), **entry}}
    if kept.text != source.content:
        changed |= {"content": kept.text, "embedding": None, "sparse_embedding": None}
    return replace(source, **changed)

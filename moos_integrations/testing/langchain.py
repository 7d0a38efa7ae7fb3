"""Suites for LangChain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moos_integrations.errors import MissingExtraError
from moos_integrations.testing.laws import Item, Suite

try:
    from langchain_core.documents import Document
    from langchain_core.runnables import Runnable
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="langchain") from error


class DocumentCompressorSuite(Suite):
    """The laws for a `BaseDocumentCompressor`; `make` returns it."""

    def inputs(self, items: Sequence[Item]) -> list[Any]:
        """LangChain documents."""
        return [Document(item.text, id=item.id, metadata=_copied(item.metadata)) for item in items]

    def item(self, output: Any) -> Item:
        """A LangChain document as an item."""
        return Item(output.page_content, output.id, output.metadata)

    def call(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """`compress_documents`."""
        return list(component.compress_documents(documents, question))

    async def acall(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """`acompress_documents`."""
        return list(await component.acompress_documents(documents, question))


class DocumentTransformerSuite(DocumentCompressorSuite):
    """The laws for a `BaseDocumentTransformer`, which sees no question; `make` returns it."""

    def call(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """`transform_documents`."""
        return list(component.transform_documents(documents))

    async def acall(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """`atransform_documents`."""
        return list(await component.atransform_documents(documents))

    def batch(self, component: Any, requests: list[tuple[list[Any], str]]) -> list[list[Any]] | None:
        """`Runnable.batch` over lists of documents, if the transformer is a Runnable."""
        if not isinstance(component, Runnable):
            return None
        return [list(outputs) for outputs in component.batch([documents for documents, _ in requests])]


def _copied(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata of this document alone."""
    return {**metadata, "nested": {"list": list(metadata["nested"]["list"])}}

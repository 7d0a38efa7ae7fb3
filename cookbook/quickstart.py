"""LangChain retrieval over Python's language reference, pruned: run `python cookbook/quickstart.py`, offline."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from cookbook_tools import MiniLM, pages
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from moos_integrations.langchain import MOOSCompressor

QUESTIONS = (
    "Why does a list used as a default argument keep its contents between calls?",
    "When is an exception raised inside a with statement suppressed?",
    "Why is nan not equal to itself?",
)


class Meter(BaseCallbackHandler):
    """Remembers the counts that the compressor reports with every call."""

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        """Called by LangChain with the event `moos_compression`."""
        self.counts = data


def build_index() -> InMemoryVectorStore:
    """Split the pages, embed the pieces with MiniLM, keep them in memory."""
    splitter = RecursiveCharacterTextSplitter(chunk_size=900, chunk_overlap=0)
    reference = pages()
    pieces = splitter.create_documents(list(reference.values()), [{"page": name} for name in reference])
    print(f"Embedding {len(pieces)} pieces of Python's language reference ...")
    return InMemoryVectorStore.from_documents(pieces, MiniLM())


def show(question: str, documents: Sequence[Document], counts: dict[str, Any]) -> None:
    """Print what is left of the retrieved documents."""
    print(f"\nQuestion  {question}")
    print(f"Tokens    {counts['original_tokens']} -> {counts['kept_tokens']} in {1000 * counts['seconds']:.0f} ms")
    for document in documents:
        text = " ".join(document.page_content.split())
        print(f"\n  [{document.metadata['page']}]\n{textwrap.indent(textwrap.fill(text, 96), '  ')}")


def main() -> None:
    """Ask every question once."""
    retriever = ContextualCompressionRetriever(
        base_compressor=MOOSCompressor(rate=0.5),  # the bundled model, half of the tokens
        base_retriever=build_index().as_retriever(search_kwargs={"k": 4}),
    )
    retriever.invoke("anything")  # the weights load on first use
    meter = Meter()
    for question in QUESTIONS:
        documents = retriever.invoke(question, {"callbacks": [meter]})
        show(question, documents, meter.counts)


if __name__ == "__main__":
    main()

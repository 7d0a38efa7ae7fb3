"""LangChain: `MOOSCompressor` prunes retrieved documents in a retriever, in a pipeline or anywhere in a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from moos_integrations.errors import ConfigError, InputError, MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain_core", extra="langchain") from error

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManagerForChainRun,
    Callbacks,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.documents import BaseDocumentCompressor, BaseDocumentTransformer, Document
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented, try_neq_default
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, Field
from typing_extensions import Unpack

from moos_integrations.adapter import (
    METADATA_KEY,
    CompressorFields,
    best_first,
    citations_of,
    copied,
    document_metadata,
    warnings_metadata,
)
from moos_integrations.core.checks import stages
from moos_integrations.core.config import AllKeywords
from moos_integrations.core.result import Citation, CompressedDocument, CompressionResult
from moos_integrations.messages import Notice

__all__ = ["COMPRESSION_EVENT", "METADATA_KEY", "MOOSCompressor", "cite"]

COMPRESSION_EVENT = "moos_compression"
"""Name of the custom event that carries the counts of a call (`on_custom_event`, `astream_events`)."""

DOCUMENT_KEYS = ("context", "documents", "input_documents")
"""Keys of a dict that may have the documents: the names that LangChain's chains use."""

QUERY_KEYS = ("question", "query", "input")
"""Keys of a dict that may have the query."""

_TARGETS = ("rate", "budget_tokens", "threshold", "timeout")


class MOOSCompressorKeywords(AllKeywords, total=False):
    """The fields of `MOOSCompressor` as keywords, for type checkers."""

    name: str | None
    documents_key: str | None
    query_key: str | None
    keep_empty: bool


class MOOSCompressor(
    CompressorFields,  # first: its `__init__` checks the settings before pydantic coerces them
    RunnableSerializable[list[Document] | dict[str, Any], list[Document]],
    BaseDocumentCompressor,
    BaseDocumentTransformer,
):
    """Prunes retrieved documents to the sentences and lines that matter: compressor, transformer and Runnable in one.

    One document in, at most one document out, in the same order unless `order` changes it. `id`, metadata and extra
    fields are kept; the inputs are never changed. Documents of which nothing is kept are dropped, unless `keep_empty`
    is set; the event `moos_compression` has their positions.

    What is added is under the metadata key `moos`: the token counts, and the `spans` of the source whose concatenation
    is the new text. With warnings, it also has their kinds under `warnings`. An earlier entry is overwritten.

    The target (`rate`, `budget_tokens` or `threshold`) applies to all documents of a call together, and to each item of
    a batch alone. A call or `bind` may override it: `MOOSCompressor().bind(budget_tokens=400)`.

    A reranker's `relevance_score` in the metadata adds to relevance with the weight `gains.retriever_weight`.

    The weights load on first use. `dumps` stores the settings that differ from the defaults. LangChain loads classes of
    other packages only if they are allowed: `loads(text, allowed_objects=[MOOSCompressor],
    valid_namespaces=["moos_integrations"])`. Objects passed as `tokenizer` or `embeddings` cannot be stored; pass the
    tokenizer by name instead.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.

    Example:
        >>> from langchain_core.documents import Document
        >>> from moos_integrations.langchain import MOOSCompressor
        >>> documents = [Document("The meeting was long. It ended at 17:30.", id="a", metadata={"page": 7})]
        >>> kept = MOOSCompressor(rate=0.7, protect=["numbers"]).compress_documents(documents, "When did it end?")
        >>> kept[0].id, kept[0].metadata["page"], "17:30" in kept[0].page_content
        ('a', 7, True)

        With a retriever: `ContextualCompressionRetriever(base_compressor=MOOSCompressor(), base_retriever=retriever)`.
        In a chain: `RunnablePassthrough.assign(context=MOOSCompressor(budget_tokens=400)) | prompt | llm`.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    documents_key: str | None = Field(
        default=None,
        description="Key of the documents in a dict; None: the first of `context`, `documents`, `input_documents`.",
    )
    query_key: str | None = Field(
        default=None,
        description="Key of the query in a dict; None: the first of `question`, `query`, `input`, if there is one.",
    )
    keep_empty: bool = Field(
        default=False,
        description="Keep documents of which nothing is left, with empty text. A prompt that joins them puts "
        "separators around them, which the budget does not count.",
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[MOOSCompressorKeywords]) -> None: ...  # noqa: D107

    # --- as a Runnable -----------------------------------------------------------------------------------------------

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Compress a list of documents, or those in a dict.

        Args:
            input: The documents (no query), or a dict with the documents under `documents_key` and the query under
                `query_key`. A dict without a query is compressed without one, unless `query_key` is set.
            config: LangChain's configuration of the call: callbacks, tags, ...
            **kwargs: `rate`, `budget_tokens` or `threshold`, in place of the configured target; `timeout` in seconds.

        Returns:
            The compressed documents, never the dict.

        Raises:
            InputError: If the input is neither, or the documents or the query are of the wrong type.
            ConfigError: On an unknown keyword, or an unusable target.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self._call_with_config(self._compress, input, config, **_call_target(kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """`invoke` with the model in a worker thread, so that the event loop goes on."""
        return await self._acall_with_config(self._acompress, input, config, **_call_target(kwargs))

    # --- as a document compressor ------------------------------------------------------------------------------------

    def compress_documents(
        self, documents: Sequence[Document], query: str | None = None, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Compress retrieved documents; a trace shows the call as a separate run under the retriever's.

        Args:
            documents: The retrieved documents; they are not changed.
            query: The question, if there is one.
            callbacks: LangChain's callbacks, as a retriever passes them.

        Returns:
            The compressed documents.

        Raises:
            InputError: If the documents are not `Document`s, or the query is not a string.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self.invoke(self._as_input(documents, query), {"callbacks": callbacks})

    async def acompress_documents(
        self, documents: Sequence[Document], query: str | None = None, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """`compress_documents` with the model in a worker thread, so that the event loop goes on."""
        return await self.ainvoke(self._as_input(documents, query), {"callbacks": callbacks})

    # --- as a document transformer -----------------------------------------------------------------------------------

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """Compress documents without a query, as at ingestion.

        The target applies to all documents of the call together: a `rate` may keep more of one document and drop
        another. To treat each alone, use `threshold` or one call per document.

        Args:
            documents: The documents; they are not changed.
            **kwargs: `rate`, `budget_tokens` or `threshold`, in place of the configured target; `timeout` in seconds.

        Returns:
            The compressed documents.

        Raises:
            InputError: If the documents are not `Document`s.
            ConfigError: On an unknown keyword, or an unusable target.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self.invoke(self._as_input(documents, None), **kwargs)

    async def atransform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """`transform_documents` with the model in a worker thread, so that the event loop goes on."""
        return await self.ainvoke(self._as_input(documents, None), **kwargs)

    def precompute(self, documents: Sequence[Document]) -> None:
        """Score documents at ingestion and keep the scores; see `ContextCompressor.precompute`.

        Raises:
            InputError: If the documents are not `Document`s.
            ConfigError: If `cache_bytes` is 0 and `cache_dir` is not set.
            ModelError: If the model cannot be loaded.
        """
        self.compressor.precompute(_texts(_checked_documents(documents, "the documents")))

    # --- serialisation -----------------------------------------------------------------------------------------------

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: `dumps` and `loads` rebuild it from its settings."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """The content of `dumps`: the settings that differ from the defaults; patterns by expression and flags."""
        dumped = super().to_json()
        if dumped["type"] == "constructor":
            changed = {name: value for name, value in self if try_neq_default(value, name, self)}
            plain = {"protect", *stages(type(self))} & set(changed)
            dumped["kwargs"] = {**changed, **self.model_dump(include=plain, exclude_defaults=True)}
        return dumped

    # --- one call ----------------------------------------------------------------------------------------------------

    def _compress(self, given: Any, run_manager: CallbackManagerForChainRun, **target: Any) -> list[Document]:
        documents, query = self._read(given)
        if not documents:
            return []  # nothing to load a model for
        result = self.compressor.compress(_texts(documents), query, document_scores=_scores(documents), **target)
        dispatch_custom_event(COMPRESSION_EVENT, result.summary(), config={"callbacks": run_manager.get_child()})
        return self._output(documents, result)

    async def _acompress(
        self, given: Any, run_manager: AsyncCallbackManagerForChainRun, **target: Any
    ) -> list[Document]:
        documents, query = self._read(given)
        if not documents:
            return []
        result = await self.compressor.acompress(_texts(documents), query, document_scores=_scores(documents), **target)
        await adispatch_custom_event(COMPRESSION_EVENT, result.summary(), config={"callbacks": run_manager.get_child()})
        return self._output(documents, result)

    def _as_input(self, documents: Sequence[Document], query: str | None) -> dict[str, Any]:
        """The dict that `_read` takes apart: traces show it as the input of the run."""
        return {self._document_keys()[0]: documents, self._query_keys()[0]: query}

    def _read(self, given: Any) -> tuple[Sequence[Document], str | None]:
        if not isinstance(given, Mapping):
            return _checked_documents(given, "the input"), None
        key = _first(self._document_keys(), given)
        if key is None:
            raise InputError(
                f"Expected a dict with the documents under {_either(self._document_keys())}, got one with "
                f"{_keys_of(given)}. Name their key with `documents_key`."
            )
        return _checked_documents(given[key], f"the documents under {key!r}"), self._query(given)

    def _query(self, given: Mapping[str, Any]) -> str | None:
        key = _first(self._query_keys(), given)
        if key is None:
            if self.query_key is None:
                return None
            # A named key means that the query must be used; without this error a misspelt name would go unnoticed.
            raise InputError(
                f"Expected a dict with the query under {self.query_key!r} (`query_key`), got one with "
                f"{_keys_of(given)}. Leave `query_key` unset if there may be no query."
            )
        query = given[key]
        if query is not None and not isinstance(query, str):
            raise InputError(
                f"Expected the query under {key!r} as a string or None, got {type(query).__name__}. If the query is "
                "elsewhere, name its key with `query_key`."
            )
        return query

    def _document_keys(self) -> list[str]:
        return _candidates(self.documents_key, self.query_key, DOCUMENT_KEYS)

    def _query_keys(self) -> list[str]:
        return _candidates(self.query_key, self.documents_key, QUERY_KEYS)

    def _output(self, documents: Sequence[Document], result: CompressionResult) -> list[Document]:
        if result.passed_through:  # unchanged is unchanged, empty documents included
            return [_passed_through(document, result.warnings) for document in documents]
        pairs = [(documents[index], result.documents[index]) for index in result.order]
        kept = [pair for pair in pairs if self.keep_empty or not pair[1].dropped or pair[1].passed_through]
        return [
            _passed_through(source, result.warnings) if own.passed_through else _pruned(source, own, result.warnings)
            for source, own in kept
        ]


def cite(quote: str, documents: Sequence[Document], *, min_coverage: float = 0.5) -> list[Citation]:
    """Find the source of a quoted piece of an answer in compressed or uncompressed documents.

    Args:
        quote: A piece of an answer; words are compared, without case and punctuation.
        documents: Output of `MOOSCompressor`.
        min_coverage: Smallest share of the quote's words that a place must have in a row.

    Returns:
        Places, those with most of the quote first. `start` and `end` are offsets into the text before compression. If a
        text splitter left its `start_index` in the metadata, they are offsets into the text before splitting.
        `document` is the position in the list, `id` the document's id.

    Raises:
        InputError: If the quote is not a string, or the documents are not `Document`s.
    """
    places = []
    for index, document in enumerate(_checked_documents(documents, "the documents")):
        entry = document.metadata.get(METADATA_KEY)
        spans = entry.get("spans") if isinstance(entry, Mapping) else None
        start = document.metadata.get("start_index")
        start = start if isinstance(start, int) and start >= 0 else 0  # splitters write -1 where they found no place
        text = document.page_content
        places += citations_of(quote, index, document.id, text, spans, start, min_coverage)
    return best_first(places)


def _call_target(kwargs: dict[str, Any]) -> dict[str, Any]:
    unknown = [name for name in kwargs if name not in _TARGETS]
    if unknown:
        raise ConfigError(
            f"Unknown argument {', '.join(map(repr, unknown))}; a call takes {_either(_TARGETS)}. Pass other "
            "settings to `MOOSCompressor(...)`."
        )
    return kwargs


def _candidates(own: str | None, other: str | None, known: Sequence[str]) -> list[str]:
    """The keys to look under, without the key of the other field."""
    return [own] if own is not None else [key for key in known if key != other]


def _first(keys: Sequence[str], given: Mapping[str, Any]) -> str | None:
    return next((key for key in keys if key in given), None)


def _checked_documents(documents: Any, where: str) -> Sequence[Document]:
    if isinstance(documents, (str, bytes, bytearray)) or not isinstance(documents, Sequence):
        raise InputError(
            f"Expected {where} to be a list of `Document`s, or a dict with such a list, got "
            f"{type(documents).__name__}. Wrap a text as `[Document(page_content=text)]`, or use "
            "`moos_integrations.ContextCompressor` for strings."
        )
    for index, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputError(
                f"Expected {where} to be a list of `Document`s; item {index} is a {type(document).__name__}. Wrap a "
                "text as `Document(page_content=text)`, or use `moos_integrations.ContextCompressor` for strings."
            )
    return documents


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _scores(documents: Sequence[Document]) -> list[float | None]:
    """Scores that rerankers put into the metadata; retrievers do not pass theirs on."""
    scores = [document.metadata.get("relevance_score") for document in documents]
    return [float(score) if isinstance(score, Real) and not isinstance(score, bool) else None for score in scores]


def _pruned(source: Document, compressed: CompressedDocument, warnings: Sequence[Notice]) -> Document:
    """A copy with the new text; deep, so that neither metadata nor a subclass's fields are shared with the input."""
    document: Document = copied(source)
    document.page_content = compressed.text
    document.metadata[METADATA_KEY] = document_metadata(compressed, warnings)
    return document


def _passed_through(source: Document, warnings: Sequence[Notice]) -> Document:
    """A copy with the same text and a warning in its entry; the rest of an earlier entry stays."""
    document: Document = copied(source)
    earlier = document.metadata.get(METADATA_KEY)
    entry = dict(earlier) if isinstance(earlier, Mapping) else {}
    document.metadata[METADATA_KEY] = entry | warnings_metadata(warnings)
    return document


def _either(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _keys_of(given: Mapping[str, Any]) -> str:
    return "the keys " + ", ".join(repr(key) for key in given) if given else "no keys"

"""`MOOSNodePostprocessor`: prunes retrieved nodes before the prompt is filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import (
    ReRankEndEvent,
    ReRankStartEvent,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field
from typing_extensions import Unpack

from moos_integrations.core.documents import RISING, rise
from moos_integrations.core.prompt import PromptFormat
from moos_integrations.core.result import CompressionResult
from moos_integrations.errors import InputError
from moos_integrations.llama_index.component import NodeCompressor, NodeCompressorKeywords, dispatcher
from moos_integrations.llama_index.nodes import is_more_than_text, shown_to_llm
from moos_integrations.messages import warn_once
from moos_integrations.question import checked_question


class MOOSNodePostprocessorKeywords(NodeCompressorKeywords, total=False):
    """The fields of `MOOSNodePostprocessor` as keywords, for type checkers."""

    callback_manager: CallbackManager
    count_metadata: bool


class MOOSNodePostprocessor(NodeCompressor, BaseNodePostprocessor):
    """Prunes retrieved nodes to the sentences and lines that matter.

    One node in, at most one node out, in the same order unless `order` changes it. The returned nodes are copies: ids,
    scores, relationships and metadata are kept. The inputs are never changed (they may be shared with a docstore). Only
    the text is compressed, never the metadata. The target applies to all nodes together. `budget_tokens` counts what
    the LLM sees of the nodes: their text and metadata in their templates, joined as by the response mode `compact`. The
    response mode `simple_summarize` shows a Python list with escaped line breaks, which needs more: leave it a margin.
    With `count_metadata=False` it counts the texts alone; a `rate` always does. Where the text changed, `embedding`,
    `start_char_idx` and `end_char_idx` are cleared, because they described the old text.

    The metadata get flat keys, hidden from LLM and embedding model. `moos` is a short string that leads back into the
    source, also through earlier passes and node parsers; `cite` and `origin_of` read it. The others are
    `moos_original_tokens`, `moos_kept_tokens`, `moos_warnings` (kinds) and, with a question, `moos_relevance` (of the
    best sentence, in log-odds). `added_metadata` chooses among them. `score_key` adds the
    relevance under another name.

    Nodes without text, such as images, are kept as they are. Nodes of which no text was kept are dropped, unless they
    have other content or `keep_empty` is set.

    The scores of the nodes add to relevance with the weight `gains.retriever_weight`. Higher must be better. Scores
    that rise down the list look like distances and are left out, with a warning.

    The weights load on first use. Spans and the events `MOOSCompressionStartEvent` and `MOOSCompressionEndEvent` go to
    LlamaIndex's instrumentation, and with them the events of rerankers, which tracers know. Handlers of
    `callback_manager` get a `RERANKING` event.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.

    Examples:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from moos_integrations.llama_index import MOOSNodePostprocessor
        >>> nodes = [NodeWithScore(node=TextNode(text="The meeting was long. It ended at 17:30."), score=0.8)]
        >>> kept = MOOSNodePostprocessor(rate=0.7, protect=["numbers"]).postprocess_nodes(nodes, query_str="When?")
        >>> kept[0].node_id == nodes[0].node_id, kept[0].score, "17:30" in kept[0].text
        (True, 0.8, True)

        In a query engine: `index.as_query_engine(node_postprocessors=[MOOSNodePostprocessor(rate=0.25)])`.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    count_metadata: bool = Field(
        default=True,
        strict=True,
        description="Whether `budget_tokens` counts the metadata that the LLM sees, in the nodes' templates.",
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[MOOSNodePostprocessorKeywords]) -> None: ...  # noqa: D107

    @classmethod
    def class_name(cls) -> str:
        """Name under which the postprocessor is saved."""
        return "MOOSNodePostprocessor"

    def _postprocess_nodes(
        self, nodes: Sequence[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Compress the nodes: what `postprocess_nodes` does once it has the query.

        Raises:
            InputError: If the nodes are not `NodeWithScore`, or the query is not a `QueryBundle`.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        query = _checked(nodes, query_bundle)
        texts, scores = self._start([item.node for item in nodes], query), _scores(nodes)
        if not texts:
            return self._output(nodes, None)
        with self._announced(nodes, query) as found:
            result = self.compressor.compress(texts, query, document_scores=scores.known, prompt=self._prompt(nodes))
            found += self._output(nodes, scores.reported(result))
        return found

    @dispatcher.span  # LlamaIndex adds spans to its abstract methods only
    async def _apostprocess_nodes(
        self, nodes: Sequence[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """`_postprocess_nodes` with the model in a worker thread, so that the event loop goes on."""
        query = _checked(nodes, query_bundle)
        texts, scores = self._start([item.node for item in nodes], query), _scores(nodes)
        if not texts:
            return self._output(nodes, None)
        with self._announced(nodes, query) as found:
            prompt = self._prompt(nodes)
            result = await self.compressor.acompress(texts, query, document_scores=scores.known, prompt=prompt)
            found += self._output(nodes, scores.reported(result))
        return found

    def _prompt(self, items: Sequence[NodeWithScore]) -> PromptFormat | None:
        """How the LLM sees the nodes."""
        if not self.count_metadata:
            return None
        nodes = [item.node for item in items]
        always = [index for index, node in enumerate(nodes) if self.keep_empty or is_more_than_text(node)]
        return PromptFormat(lambda document: shown_to_llm(nodes[document.index], document.text), self.separator, always)

    @contextmanager
    def _announced(self, nodes: Sequence[NodeWithScore], query: str | None) -> Iterator[list[NodeWithScore]]:
        """Send what rerankers send, before and after; the caller fills the list."""
        top_n = self.top_n or len(nodes)
        dispatcher.event(ReRankStartEvent(query=query or "", nodes=list(nodes), top_n=top_n, model_name=self.model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query or "",
            EventPayload.TOP_K: top_n,
        }
        found: list[NodeWithScore] = []
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield found
            event.on_end(payload={EventPayload.NODES: found})
        dispatcher.event(ReRankEndEvent(nodes=found))

    def _output(self, nodes: Sequence[NodeWithScore], result: CompressionResult | None) -> list[NodeWithScore]:
        copies = self._end([item.node for item in nodes], result)
        pairs = [(nodes[index], copies[index]) for index in (result.order if result else range(len(nodes)))]
        return [item.model_copy(update={"node": node}) for item, node in pairs if node is not None]


@dataclass(frozen=True)
class _Scores:
    """Scores of a retriever.

    Attributes:
        known: One per node, higher is better; None where there is none, or where they rise down the list.
        rising: Whether they do.
    """

    known: list[float | None]
    rising: bool

    def reported(self, result: CompressionResult) -> CompressionResult:
        """The result with a warning if the scores were left out."""
        if not self.rising or result.passed_through:
            return result
        warn_once(RISING)
        return replace(result, warnings=(*result.warnings, RISING))


def _scores(nodes: Sequence[NodeWithScore]) -> _Scores:
    scores = [item.score for item in nodes]
    # Two nodes are the default of retrievers, which list the best first.
    rising = rise(scores, 2)
    return _Scores([None] * len(scores) if rising else scores, rising)


def _checked(nodes: Any, query_bundle: Any) -> str | None:
    """The query, once all is of the right type."""
    if isinstance(nodes, (str, bytes)) or not isinstance(nodes, Sequence):
        raise InputError(f"`nodes` must be a list of `NodeWithScore`, got {type(nodes).__name__}.")
    for index, item in enumerate(nodes):
        if not isinstance(item, NodeWithScore):
            raise InputError(
                f"`nodes` must hold `NodeWithScore`; item {index} is a {type(item).__name__}. Wrap a node as "
                "`NodeWithScore(node=node)`; to compress nodes before they are indexed use `MOOSNodeTransform`."
            )
    if query_bundle is not None and not isinstance(query_bundle, QueryBundle):
        raise InputError(
            f"`query_bundle` must be a `QueryBundle` or None, got {type(query_bundle).__name__}. Pass a string as "
            "`query_str`."
        )
    return checked_question(query_bundle.query_str) if query_bundle else None

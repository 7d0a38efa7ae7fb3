"""`MOOSNodePostprocessor`: prunes retrieved nodes before the prompt is filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import ConfigDict
from typing_extensions import Unpack

from moos_integrations.core.result import CompressionResult
from moos_integrations.errors import InputError
from moos_integrations.llama_index.component import NodeCompressor, NodeCompressorKeywords, dispatcher


class MOOSNodePostprocessorKeywords(NodeCompressorKeywords, total=False):
    """The fields of `MOOSNodePostprocessor` as keywords, for type checkers."""

    callback_manager: CallbackManager


class MOOSNodePostprocessor(NodeCompressor, BaseNodePostprocessor):
    """Prunes retrieved nodes to the words that matter.

    One node in, at most one node out, in the same order unless `order` says otherwise. The returned nodes are copies:
    ids, scores, relationships and metadata are kept, the inputs are never changed (they may be shared with a docstore).
    Only the text is compressed, never the metadata, and only the text counts towards the target, which holds for all
    nodes together. Where the text changed, `embedding`, `start_char_idx` and `end_char_idx` are cleared: they were
    those of the old text.

    Everything that is added lives under the metadata key `moos`, hidden from LLM and embedding model: the token counts,
    the `spans` of the source whose concatenation is the new text, and the node's old `start_char_idx` and
    `end_char_idx`, so that `start_char_idx + span` lies in the original document. Nodes that `MOOSNodeTransform`
    compressed before keep their spans into the text that came before that.

    Nodes without text (an image, say) are kept as they are. Nodes of which no text was kept are dropped, unless they
    hold more than text or `keep_empty` is set.

    The scores of the nodes count as `gains.retriever_weight` says.

    The weights load on first use. Spans and the events `MOOSCompressionStartEvent` and `MOOSCompressionEndEvent` go to
    LlamaIndex's instrumentation.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.

    Example:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from moos_integrations.llama_index import MOOSNodePostprocessor
        >>> nodes = [NodeWithScore(node=TextNode(text="The meeting, which was long, ended at 17:30."), score=0.8)]
        >>> kept = MOOSNodePostprocessor(rate=0.6, protect=["numbers"]).postprocess_nodes(nodes, query_str="When?")
        >>> kept[0].node_id == nodes[0].node_id, kept[0].score, "17:30" in kept[0].text
        (True, 0.8, True)

        In a query engine: `index.as_query_engine(node_postprocessors=[MOOSNodePostprocessor(rate=0.25)])`.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

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
            InputError: If the nodes are no `NodeWithScore`, or the query is no `QueryBundle`.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        query = _checked(nodes, query_bundle)
        texts, scores = self._start([item.node for item in nodes], query), _scores(nodes)
        return self._output(nodes, self.compressor.compress(texts, query, document_scores=scores) if texts else None)

    @dispatcher.span  # LlamaIndex gives a span to what it declares abstract only
    async def _apostprocess_nodes(
        self, nodes: Sequence[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """`_postprocess_nodes` with the model in a worker thread, so that the event loop goes on."""
        query = _checked(nodes, query_bundle)
        texts, scores = self._start([item.node for item in nodes], query), _scores(nodes)
        if not texts:
            return self._output(nodes, None)
        return self._output(nodes, await self.compressor.acompress(texts, query, document_scores=scores))

    def _output(self, nodes: Sequence[NodeWithScore], result: CompressionResult | None) -> list[NodeWithScore]:
        copies = self._end([item.node for item in nodes], result)
        pairs = [(nodes[index], copies[index]) for index in (result.order if result else range(len(nodes)))]
        return [item.model_copy(update={"node": node}) for item, node in pairs if node is not None]


def _scores(nodes: Sequence[NodeWithScore]) -> list[float | None]:
    return [item.score for item in nodes]


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
    return query_bundle.query_str if query_bundle else None

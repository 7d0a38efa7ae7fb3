"""Suite for LlamaIndex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moos_integrations.errors import MissingExtraError
from moos_integrations.testing.laws import KEY, PROSE, Item, Suite, items_of

try:
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="llama-index") from error


class NodePostprocessorSuite(Suite):
    """The laws for a `BaseNodePostprocessor`; `make` returns it."""

    def inputs(self, items: Sequence[Item]) -> list[Any]:
        """Nodes with scores."""
        return [
            NodeWithScore(
                node=TextNode(
                    id_=str(item.id),
                    text=item.text,
                    metadata={**item.metadata, "nested": {"list": list(item.metadata["nested"]["list"])}},
                ),
                score=item.score,
            )
            for item in items
        ]

    def item(self, output: Any) -> Item:
        """A node with its score as an item."""
        return Item(output.node.text, output.node.node_id, output.node.metadata, output.score)

    def call(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """`postprocess_nodes`."""
        return list(component.postprocess_nodes(documents, query_bundle=QueryBundle(question)))

    async def acall(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """`apostprocess_nodes`."""
        return list(await component.apostprocess_nodes(documents, query_bundle=QueryBundle(question)))

    def test_scores_are_kept(self) -> None:
        """The retriever's scores go on to what follows."""
        for output in self._run(PROSE):
            assert output.score == items_of(PROSE)[output.metadata[KEY]].score

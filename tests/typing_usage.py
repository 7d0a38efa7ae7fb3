"""What users write, for mypy only: with the settings as keywords, none of them required."""

from llama_index.core.schema import NodeWithScore, TextNode

from moos_integrations import CompressionResult, ContextCompressor
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.llama_index import MOOSNodePostprocessor, MOOSNodeTransform

default = MOOSCompressor()
budget = MOOSCompressor(budget_tokens=400, protect=("numbers",), documents_key="docs", keep_empty=True)
nodes: list[NodeWithScore] = MOOSNodePostprocessor(rate=0.25).postprocess_nodes(
    [NodeWithScore(node=TextNode(text="a"))]
)
transform = MOOSNodeTransform(threshold=0.4)
result: CompressionResult = ContextCompressor.from_pretrained(rate=0.5).compress(["a"], "q", budget_tokens=3)
kept: int = result.documents[0].to_source(0)

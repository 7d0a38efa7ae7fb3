"""What users write, for type checkers only: settings are keywords, none of them required."""

import re

from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, TextNode

from moos_integrations import CompressionResult, CompressorConfig, ContextCompressor
from moos_integrations.core.config import GainSettings
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.llama_index import MOOSNodePostprocessor, MOOSNodeTransform

default = MOOSCompressor()
budget = MOOSCompressor(budget_tokens=400, protect=("numbers",), documents_key="docs", keep_empty=True, name="prune")
nodes: list[NodeWithScore] = MOOSNodePostprocessor(rate=0.25).postprocess_nodes(
    [NodeWithScore(node=TextNode(text="a"))]
)
transform = MOOSNodeTransform(threshold=0.4)
result: CompressionResult = ContextCompressor.from_pretrained(rate=0.5).compress(["a"], "q", budget_tokens=3)
kept: int = result.documents[0].to_source(0)

# `protect` as a list, whatever its items are, at every door.
names: list[str] = ["numbers"]
ContextCompressor.from_pretrained("moos-minilm-en", protect=["numbers"], lazy=True)
CompressorConfig(protect=["numbers", re.compile("x")], model="someone/some-model")
MOOSCompressor(protect=names)
MOOSNodePostprocessor(protect=["numbers"], callback_manager=CallbackManager())
MOOSNodeTransform(protect=["numbers"])

# Nested settings as a dict or as a value.
ContextCompressor.from_pretrained(gains={"temperature": 0.5}, scores={"alpha": 0.9})
config = CompressorConfig(gains=GainSettings(temperature=1))
temperature: float = config.gains.temperature
made: MOOSCompressor = MOOSCompressor.from_config(config, keep_empty=True)
ContextCompressor.from_pretrained(config=config.model_copy(update={"rate": 0.5}))

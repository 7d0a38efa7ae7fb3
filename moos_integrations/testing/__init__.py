"""Conformance tests of components that shorten retrieved documents: subclass a suite, and run pytest.

Each test is one law that a chain relies on, such as "inputs are not changed". The suites work for any LangChain
document compressor or transformer, and for any LlamaIndex node postprocessor. They need pytest and the framework:

    class TestMine(DocumentCompressorSuite):
        def make(self):
            return MyCompressor()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

if TYPE_CHECKING:
    from moos_integrations.testing.langchain import DocumentCompressorSuite as DocumentCompressorSuite
    from moos_integrations.testing.langchain import DocumentTransformerSuite as DocumentTransformerSuite
    from moos_integrations.testing.laws import Item as Item
    from moos_integrations.testing.laws import Suite as Suite
    from moos_integrations.testing.llama_index import NodePostprocessorSuite as NodePostprocessorSuite

_HOMES = {
    "DocumentCompressorSuite": "testing.langchain",
    "DocumentTransformerSuite": "testing.langchain",
    "Item": "testing.laws",
    "NodePostprocessorSuite": "testing.llama_index",
    "Suite": "testing.laws",
}

__all__ = ["DocumentCompressorSuite", "DocumentTransformerSuite", "Item", "NodePostprocessorSuite", "Suite"]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)

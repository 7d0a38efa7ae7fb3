"""moos-integrations for LlamaIndex, in the namespace of LlamaIndex's postprocessors."""

from moos_integrations.llama_index import (
    METADATA_KEY,
    MOOSCompressionEndEvent,
    MOOSCompressionStartEvent,
    MOOSNodePostprocessor,
    MOOSNodeTransform,
    cite,
    origin_of,
)

__all__ = [
    "METADATA_KEY",
    "MOOSCompressionEndEvent",
    "MOOSCompressionStartEvent",
    "MOOSNodePostprocessor",
    "MOOSNodeTransform",
    "cite",
    "origin_of",
]

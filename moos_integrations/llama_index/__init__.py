"""LlamaIndex: `MOOSNodePostprocessor` prunes retrieved nodes, `MOOSNodeTransform` prunes nodes at ingestion."""

from __future__ import annotations

from moos_integrations.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama_index.core", extra="llama-index") from error

from moos_integrations.adapter import METADATA_KEY
from moos_integrations.llama_index.events import MOOSCompressionEndEvent, MOOSCompressionStartEvent
from moos_integrations.llama_index.nodes import cite, origin_of
from moos_integrations.llama_index.postprocessor import MOOSNodePostprocessor
from moos_integrations.llama_index.transform import MOOSNodeTransform

__all__ = [
    "METADATA_KEY",
    "MOOSCompressionEndEvent",
    "MOOSCompressionStartEvent",
    "MOOSNodePostprocessor",
    "MOOSNodeTransform",
    "cite",
    "origin_of",
]

"""moos-integrations for LangChain, under the name that LangChain's users look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moos_integrations.langchain import (
    COMPRESSION_EVENT,
    METADATA_KEY,
    BoundCompressor,
    MOOSCompressor,
    cite,
    origin_of,
)

if TYPE_CHECKING:
    from moos_integrations.agents import MOOSToolOutputMiddleware

__all__ = [
    "COMPRESSION_EVENT",
    "METADATA_KEY",
    "BoundCompressor",
    "MOOSCompressor",
    "MOOSToolOutputMiddleware",
    "cite",
    "origin_of",
]


def __getattr__(name: str) -> Any:
    """`MOOSToolOutputMiddleware` needs the package `langchain`, so it is imported on first use."""
    if name == "MOOSToolOutputMiddleware":
        from moos_integrations import agents

        return agents.MOOSToolOutputMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

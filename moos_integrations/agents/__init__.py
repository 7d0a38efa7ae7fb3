"""Agents: results of tools are pruned before they join the conversation, and what was left out can be read again.

Only what enters is pruned. Earlier turns are never changed, so that a provider's prompt cache stays valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moos_integrations.agents.pruning import KEPT_LINES, PrunedOutput, ToolOutputPruner

if TYPE_CHECKING:
    from moos_integrations.agents.langchain import MOOSToolOutputMiddleware

__all__ = ["KEPT_LINES", "MOOSToolOutputMiddleware", "PrunedOutput", "ToolOutputPruner"]


def __getattr__(name: str) -> Any:
    """Load the middleware on first use, so that the pruner works without LangChain."""
    if name == "MOOSToolOutputMiddleware":
        from moos_integrations.agents.langchain import MOOSToolOutputMiddleware

        return MOOSToolOutputMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

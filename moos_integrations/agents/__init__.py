"""Agents: results of tools are pruned before they join the conversation, and what was left out can be read again.

Only what enters is pruned. Earlier turns are never changed, so that a provider's prompt cache stays valid. Only the
names below are public; each is imported on first use, so that the pruner works without a framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

if TYPE_CHECKING:
    from moos_integrations.agents.langchain import MOOSToolOutputMiddleware as MOOSToolOutputMiddleware
    from moos_integrations.agents.llama_index import compress_tool as compress_tool
    from moos_integrations.agents.llama_index import compress_tools as compress_tools
    from moos_integrations.agents.llama_index import read_omitted_tool as read_omitted_tool
    from moos_integrations.agents.pruning import KEPT_LINES as KEPT_LINES
    from moos_integrations.agents.pruning import PrunedOutput as PrunedOutput
    from moos_integrations.agents.pruning import ToolOutputPruner as ToolOutputPruner

_HOMES = {
    "KEPT_LINES": "agents.pruning",
    "MOOSToolOutputMiddleware": "agents.langchain",
    "PrunedOutput": "agents.pruning",
    "ToolOutputPruner": "agents.pruning",
    "compress_tool": "agents.llama_index",
    "compress_tools": "agents.llama_index",
    "read_omitted_tool": "agents.llama_index",
}

__all__ = [
    "KEPT_LINES",
    "MOOSToolOutputMiddleware",
    "PrunedOutput",
    "ToolOutputPruner",
    "compress_tool",
    "compress_tools",
    "read_omitted_tool",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)

"""Services: an HTTP server (`moos serve`, extra `serve`), and tools for agents (`moos mcp`, extra `mcp`).

Only the names below are public; each is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

if TYPE_CHECKING:
    from moos_integrations.serving.app import create_app as create_app
    from moos_integrations.serving.app import serve as serve
    from moos_integrations.serving.limits import Limits as Limits
    from moos_integrations.serving.tools import create_mcp as create_mcp

_HOMES = {
    "Limits": "serving.limits",
    "create_app": "serving.app",
    "create_mcp": "serving.tools",
    "serve": "serving.app",
}

__all__ = ["Limits", "create_app", "create_mcp", "serve"]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)

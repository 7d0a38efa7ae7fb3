"""Public names that are imported on first use, so that importing a package stays cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_first_use(
    package: str, homes: Mapping[str, str], names: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names are in other modules.

    Args:
        package: Its `__name__`.
        homes: The module of each name that is imported on first use, below `moos_integrations`.
        names: Its `__all__`.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"moos_integrations.{homes[name]}"), name)

    return get, lambda: list(names)

"""Where the full results of tools are kept, for the frameworks' agents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from moos_integrations.errors import ConfigError

OUTPUTS_KEY = "moos_tool_outputs"
"""Key of the full results in an agent's state, and their namespace in its store."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with a file for each result."""

    path: Path

    def write(self, name: str, text: str) -> None:
        """Keep a result under its id."""
        self.path.mkdir(parents=True, exist_ok=True)
        aside = self.path / f"{name}.{uuid4().hex}"
        aside.write_bytes(text.encode("utf-8", "surrogatepass"))
        aside.replace(self.path / f"{name}.txt")  # whole or not there

    def read(self, name: str) -> str | None:
        """The result with an id; None if there is none."""
        path = self.path / f"{name}.txt"
        known = name.isalnum() and path.is_file()
        return path.read_bytes().decode("utf-8", "surrogatepass") if known else None


def unknown(name: str) -> str:
    """What the model reads instead of a result that is not there."""
    return f"There is no tool result with the id {name!r}."


def check_names(**lists: object) -> None:
    """Check lists of names of tools.

    Raises:
        ConfigError: If one is a string.
    """
    for setting, names in lists.items():
        if isinstance(names, str):
            raise ConfigError(f"`{setting}` must be a list of names of tools, got the string {names!r}.")

"""Print the lowest version that `pyproject.toml` allows of every dependency, and of those of the extras in `argv`."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = list(project["dependencies"])
for extra in sys.argv[1:]:
    requirements += project["optional-dependencies"][extra]
for requirement in requirements:
    name, lowest = re.match(r"([\w.-]+)>=([\w.]+)", requirement).groups()
    print(f"{name}=={lowest}")  # noqa: T201

"""Check a tag before a release: `python .ci/check_release.py v0.1.0`.

The tag is the version with a `v` before it. The package, the alias distributions and CITATION.cff have that version.
CHANGELOG.md has a dated section of it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """What is wrong, in words; empty if the tag can be released.

    Args:
        tag: Name of the tag.
        root: Folder of the repository.
    """
    found = []
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        found.append(f"Expected a tag such as v1.2.3, got {tag!r}.")
    version = tag.removeprefix("v")
    for file, pattern in places(root).items():
        text = (root / file).read_text(encoding="utf-8")
        named = re.search(pattern, text, re.MULTILINE)
        if named is None or named[1] != version:
            found.append(f"{file} has the version {named[1] if named else None!r}, and the tag is {tag!r}.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'.")
    return found


def places(root: Path) -> dict[str, str]:
    """Files that name the version, with the pattern that finds it."""
    found = {"moos_integrations/__init__.py": r'^__version__ = "(.*)"$', "CITATION.cff": r"^version: (.*)$"}
    for file in sorted(root.glob("packaging/*/pyproject.toml")):
        found[file.relative_to(root).as_posix()] = r'^version = "(.*)"$'
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Expected one argument, the tag.")
    wrong = problems(sys.argv[1])
    if wrong:
        sys.exit("\n".join(wrong))

"""Run the Python examples of the site and compare what they print with the page.

    python docs/run_examples.py           # report what differs
    python docs/run_examples.py --write   # write what they print into the pages

The examples of a page run one after the other in one namespace. A block of `text` right behind an example is what it
prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
NOT_RUN = ("corpora.md",)
"""Pages whose examples read files of a cluster."""
_EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


def pages() -> list[Path]:
    """Pages with examples that can run anywhere."""
    found = [page for page in sorted(DOCS.rglob("*.md")) if page.name not in NOT_RUN]
    return [page for page in found if _EXAMPLE.search(page.read_text(encoding="utf-8"))]


def updated(page: Path) -> str:
    """The page with what its examples print now.

    Raises:
        Exception: What an example raises.
    """
    text = page.read_text(encoding="utf-8")
    found = list(_EXAMPLE.finditer(text))
    outputs = list(_outputs([match["code"] for match in found], page))
    for match, output in zip(reversed(found), reversed(outputs), strict=True):
        if match["output"] is not None:
            text = text[: match.start("output")] + output + text[match.end("output") :]
    return text


def _outputs(blocks: list[str], page: Path) -> Iterator[str]:
    namespace: dict[str, object] = {"__name__": "example"}
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, str(page), "exec"), namespace)
        yield "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())


def main() -> None:
    """Compare, or write with `--write`."""
    stale = []
    for page in pages():
        text = updated(page)
        if text != page.read_text(encoding="utf-8"):
            stale.append(page)
            if "--write" in sys.argv[1:]:
                page.write_text(text, encoding="utf-8")
    for page in stale:
        sys.stdout.write(f"{page.relative_to(DOCS)}\n")
    if stale and "--write" not in sys.argv[1:]:
        sys.exit("These pages show other output than their examples print: python docs/run_examples.py --write")


if __name__ == "__main__":
    main()

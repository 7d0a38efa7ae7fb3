"""Hooks of the site: pages made from files of the repository, and links to files outside of `docs/`."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "glossary.md": "docs/architecture.md",
    "model-card.md": "moos_integrations/models/moos-minilm-en/README.md",
    "security.md": "SECURITY.md",
}
"""Pages of the site by the file that they are made from."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from other files."""
    for page, source in PAGES.items():
        text = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / source).read_text(encoding="utf-8"), flags=re.DOTALL)
        if page == "glossary.md":
            text = "# Glossary" + text.split("## Glossary")[1]
        files.append(File.generated(config, page, content=_relinked(text, source, page, config.repo_url)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let links that leave `docs/` lead to the repository."""
    uri = page.file.src_uri
    return markdown if uri in PAGES else _relinked(markdown, f"docs/{uri}", uri, config.repo_url)


def _relinked(text: str, source: str, page: str, repository: str) -> str:
    """The text with its relative links, which lead from `source`, as links from `page`."""
    made = {file: name for name, file in PAGES.items() if name != "glossary.md"}

    def relink(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        anchor = found[2] or ""
        if target in made:
            return posixpath.relpath(made[target], posixpath.dirname(page) or ".") + anchor
        if target.startswith("docs/"):  # mkdocs checks it
            return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(page) or ".") + anchor
        if not (ROOT / target).exists():
            raise PluginError(f"{source} links to {found[1]}, which is not in the repository.")
        return f"{repository}/blob/main/{target}{anchor}"

    return _LINK.sub(relink, text)

"""The site: examples print what the pages show, diagrams are those of the script, and the language is plain."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from plain_english import LONGEST, MOST_WORDS, mean_words, sentences, words

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md"))
PROSE = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "cookbook/README.md"))]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FRAMEWORKS = ("quickstart", "agents", "budget", "cache", "testing")  # pages whose examples import more than the core


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = script("run_examples")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.stem in FRAMEWORKS else [], id=named(page))
        for page in EXAMPLES.pages()
    ],
)
def test_examples_print_what_the_page_shows(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "example", ModuleType("example"))
    assert EXAMPLES.updated(page) == page.read_text(encoding="utf-8"), "python docs/run_examples.py --write"


def test_an_example_with_other_output_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    first = "```python\nprint(1)\n```\n\n```text\n2\n```\n"
    page.write_text(f"{first}\n```python\nx = 3\n```\n\n```python\nprint(x)\n```\n\n```text\n```\n")
    assert EXAMPLES.updated(page).count("```text\n1\n```\n") == 1
    assert EXAMPLES.updated(page).count("```text\n3\n```\n") == 1


def test_diagrams_are_those_of_the_script() -> None:
    made = script("make_diagrams")
    for name, (title, rows) in made.DIAGRAMS.items():
        assert (DOCS / "diagrams" / f"{name}.svg").read_text(encoding="utf-8") == made.svg(title, rows), name
        assert f'--8<-- "diagrams/{name}.svg"' in (DOCS / "how" / f"{name}.md").read_text(encoding="utf-8")


def test_texts_of_diagrams_fit_into_their_boxes() -> None:
    for _, rows in script("make_diagrams").DIAGRAMS.values():
        for row in rows:
            assert all(len(line) * 7.6 <= (440 if len(row) == 1 else 205) for box in row for line in box), row


class Loader(yaml.SafeLoader):
    """YAML with the tags of mkdocs, which name functions."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def in_navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    assert not isinstance(values, str)
    return [page for value in values for page in in_navigation(value)]  # type: ignore[union-attr]


def test_every_page_is_in_the_navigation() -> None:
    navigation = in_navigation(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"])
    made = re.findall(r'^    "([\w-]+\.md)": ', (DOCS / "site_hooks.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(navigation) == sorted([*(page.relative_to(DOCS).as_posix() for page in PAGES), *made])


@pytest.mark.parametrize("page", PROSE, ids=named)
def test_sentences_are_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert mean_words(text) <= MOST_WORDS
    longest = max(sentences(text), key=words, default="")
    assert words(longest) <= LONGEST, longest


def test_sentences_are_found() -> None:
    page = "# A heading\n\nOne two. Three `four five` six!\nSeven\n\n* item one\n* item two\n\n"
    page += "```python\nx = 1. Yes.\n```\n\n| a | b |\n"
    assert sentences(page) == ["One two.", "Three code six!", "Seven", "item one", "item two"]
    assert mean_words(page) == pytest.approx(10 / 5)
    assert mean_words("") == 0


def docstrings(path: Path) -> list[str]:
    """The public docstrings of a module, examples left out."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, DOCUMENTED)]
    public = [ast.get_docstring(node) for node in nodes if not getattr(node, "name", "").startswith("_")]
    return [re.sub(r"^ *>>>.*$|^ *\.\.\. .*$", "", text, flags=re.MULTILINE) for text in public if text]


def test_sentences_of_docstrings_are_short() -> None:
    for path in sorted((ROOT / "moos_integrations").rglob("*.py")):
        # An entry of `Args:` begins a sentence.
        texts = [re.sub(r"^ {4}([\w*]+): ", r"\n\n", text, flags=re.MULTILINE) for text in docstrings(path)]
        found = [sentence for text in texts for sentence in sentences(re.sub(r"^ +", "", text, flags=re.MULTILINE))]
        lengths = [words(sentence) for sentence in found]
        assert not lengths or sum(lengths) / len(lengths) <= MOST_WORDS, path

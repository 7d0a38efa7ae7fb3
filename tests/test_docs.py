"""README and results tell the truth: the examples run, the figures are those of the committed files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import moos_integrations

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RELATIVE_LINK = re.compile(r"\]\((?!https?://|#)([^)]+)\)")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_examples_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), namespace)
    assert "17:30" in capsys.readouterr().out


def test_the_examples_of_the_page_on_serving_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("haystack")
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "serving.md", "exec"), {})
        assert "17:30" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "cookbook/README.md", "docs/architecture.md", "docs/serving.md"])
def test_files_that_pages_link_to_exist(page: str) -> None:
    targets = RELATIVE_LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (ROOT / page).parent.joinpath(target.split("#")[0]).exists(), target


def test_modules_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.split("## Folders and modules")[1].split("\n## ")[0], re.MULTILINE)
    places = [place.removeprefix("moos_integrations/") for row in rows for place in re.findall(r"`(.*?)`", row)]
    assert len(places) > 30
    package = Path(moos_integrations.__file__).parent
    for place in places:
        assert (package / place).exists() or (package / f"{place}.py").exists(), place


def test_links_lead_to_the_repository_where_there_is_no_checkout() -> None:
    """The README of a release, as the build makes it: PyPI knows no relative links."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repository = project["project"]["urls"]["Repository"]
    released = README
    for rule in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        released = re.sub(rule["pattern"], rule["replacement"], released)
    assert not RELATIVE_LINK.findall(released)
    for target in RELATIVE_LINK.findall(README):
        assert f"]({repository}/blob/main/{target})" in released or f"/main/{target})](" in released
    assert all(url.startswith(repository) for url in project["project"]["urls"].values())


def test_figures_match_the_result_files() -> None:
    done = subprocess.run(
        [sys.executable, "cookbook/benchmarks/report.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_commands_of_the_readme_train_annotate_and_evaluate(tmp_path: Path) -> None:
    section = README.split("## Train, annotate, evaluate")[1].split("\n## ")[0]
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))
    moos = f'moos() {{ "{sys.executable}" -m moos_integrations.cli "$@"; }}\n'
    done = subprocess.run(["bash", "-euc", moos + commands], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.md", "report.json", "report.svg"}
    assert (tmp_path / "run" / "model" / "config.json").exists()
    assert "2 questions" in done.stdout

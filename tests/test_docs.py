"""README and results tell the truth: the examples run, the figures are those of the committed files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_examples_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), namespace)
    assert "17:30" in capsys.readouterr().out


def test_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


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

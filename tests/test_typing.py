"""Misspelt and mistyped settings fail the type checkers of users; what the README shows passes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BAD = """\
from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.core.config import GainSettings
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.llama_index import MOOSNodePostprocessor, MOOSNodeTransform

ContextCompressor.from_pretrained(rat=0.5)
ContextCompressor.from_pretrained(rate="0.5")
ContextCompressor.from_pretrained(temperature=0.5)
ContextCompressor.from_pretrained(gains={"temperatur": 0.5})
ContextCompressor.from_pretrained(protect=[3])
CompressorConfig(rat=0.5)
CompressorConfig(order="best")
CompressorConfig(gains=GainSettings(temperatur=1))
MOOSCompressor(rat=0.5)
MOOSCompressor(keep_emty=True)
MOOSCompressor(protect=7)
MOOSNodePostprocessor(rat=0.5)
MOOSNodePostprocessor(scores={"alpha": "1"})
MOOSNodeTransform(rat=0.5)
"""
WRONG_LINES = [number for number, line in enumerate(BAD.splitlines(), 1) if line and not line.startswith("from")]


@pytest.fixture
def snippets(tmp_path: Path) -> Path:
    """A project of a user's: `good.py` is what the README writes, `bad.py` has a mistake in each line."""
    (tmp_path / "good.py").write_text((ROOT / "tests" / "typing_usage.py").read_text("utf-8"), encoding="utf-8")
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_mypy(snippets: Path) -> None:
    # In the root: its settings are strict, and its cache spares checking all dependencies anew.
    command = [sys.executable, "-m", "mypy", str(snippets / "good.py"), str(snippets / "bad.py")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = re.findall(r"(\w+)\.py:(\d+): error", found.stdout)
    assert errors == [("bad", str(number)) for number in WRONG_LINES], found.stdout + found.stderr


@pytest.mark.slow
def test_pyright(snippets: Path) -> None:
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (snippets / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, "good.py", "bad.py"]
    found = subprocess.run(command, cwd=snippets, capture_output=True, text=True, check=False)
    errors = {
        (Path(item["file"]).stem, item["range"]["start"]["line"] + 1)
        for item in json.loads(found.stdout)["generalDiagnostics"]
        if item["severity"] == "error"
    }
    assert errors == {("bad", number) for number in WRONG_LINES}, found.stdout

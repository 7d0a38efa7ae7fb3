"""What the benchmark scripts share; reading and measuring are the package's own (`moos_integrations.evaluation`)."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from moos_benchmarks import data as data_sets
from moos_benchmarks import run
from moos_benchmarks.data import Passage

from moos_integrations.evaluation.metrics import bootstrap_interval, normalise, survives

__all__ = [
    "RESULTS",
    "Passage",
    "bootstrap_interval",
    "environment",
    "normalise",
    "read_passages",
    "survives",
    "write_result",
]

RESULTS = Path(__file__).parent / "results"


def read_passages(data: Path, name: str, limit: int | None = None) -> list[Passage]:
    """The records of `NAME.jsonl.gz`, whichever schema they have (SQuAD, documents with a question, long text)."""
    return list(data_sets.read_passages(data_sets.data_file(data, name), limit=limit))


def environment() -> dict[str, Any]:
    """Where and with what a result was made, the revision and the peer's version included."""
    found = run.environment()
    try:
        found["packages"]["llmlingua"] = version("llmlingua")
    except PackageNotFoundError:
        found["packages"]["llmlingua"] = None
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
    return {**found, "git_revision": revision or None}  # None outside of a checkout


def write_result(name: str, payload: dict[str, Any]) -> Path:
    """Write `results/NAME.json` with the environment in front."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), **payload}, indent=1) + "\n", encoding="utf-8")
    return path

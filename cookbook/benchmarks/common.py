"""What the benchmark scripts share: reading the data sets, the answer metric, the environment, writing results."""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import string
import subprocess
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("moos-integrations", "torch", "transformers", "tokenizers", "tiktoken", "numpy", "llmlingua")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text and, per question about it, the accepted answers."""

    text: str
    answers: tuple[tuple[str, ...], ...]


def read_passages(data: Path, name: str, limit: int | None = None) -> list[Passage]:
    """The records of `NAME.jsonl.gz`, whichever schema they have (SQuAD, documents with a question, long text)."""
    passages = []
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            passages.append(_passage(json.loads(line)))
            if limit is not None and len(passages) == limit:
                break
    return passages


def _passage(record: dict[str, Any]) -> Passage:
    if "qas" in record:
        answers = tuple(tuple(answer["text"] for answer in item["answers"]) for item in record["qas"])
        return Passage(record["context"], answers)
    text = record["text"] if "text" in record else "\n\n".join(item["text"] for item in record["documents"])
    return Passage(text, (tuple(record["answers"]),))


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: SQuAD's normalisation, padded for whole-word search."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(" " if character in string.punctuation else character for character in text)
    words = re.sub(r"\b(?:a|an|the)\b", " ", text).split()
    return f" {' '.join(words)} "


def survives(answers: Sequence[str], text: str) -> bool:
    """Whether one of the answers stands in the text as whole words, both normalised."""
    return any(normalise(answer).strip() and normalise(answer) in text for answer in answers)


def bootstrap_interval(values: np.ndarray, *, draws: int = 2000, seed: int = 0) -> list[float]:
    """95 % percentile interval of the mean; `values` are one number per passage, so that passages are resampled."""
    picks = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return [round(float(q), 4) for q in np.quantile(values[picks].mean(1), [0.025, 0.975])]


def environment() -> dict[str, Any]:
    """Where and with what a result was made."""
    import torch

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "git_revision": revision,
        "packages": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def write_result(name: str, payload: dict[str, Any]) -> Path:
    """Write `results/NAME.json` with the environment in front."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), **payload}, indent=1) + "\n", encoding="utf-8")
    return path

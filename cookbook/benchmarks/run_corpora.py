"""A corpus scored on a Ray cluster of two nodes: speed, scaling, a worker killed in the middle, a second run.

    python cookbook/benchmarks/run_corpora.py --data DIR

The corpus is cut from the documents of several data sets into chunks of whole lines or sentences, about `--words` words
each, without repetitions. Both nodes are processes of this machine. The result says how many cores the machine has and
how busy they were, since a worker per core leaves none for anything else.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import ray
import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import data_file, read_asked
from ray.cluster_utils import Cluster

from moos_integrations import corpora
from moos_integrations.core.checks import CACHE_FILE
from moos_integrations.errors import ConfigError

SETS = ("hotpotqa", "musique", "nq_20docs", "2wikimqa", "multi_news", "qmsum", "quality", "gov_report", "covidqa_long")
SETTINGS = {"cache_dir_bytes": 2**35, "batch_size": 64}


def chunks(folder: Path, words: int) -> Iterator[str]:
    """Different chunks of about so many words, whole sentences where the text has any."""
    seen: set[str] = set()
    for name in SETS:
        for record in read_asked(data_file(folder, name), skip_bad=True):
            for document in record.documents:
                for chunk in _cut(document.text, words):
                    if chunk not in seen:
                        seen.add(chunk)
                        yield chunk


def _cut(text: str, words: int) -> Iterator[str]:
    held: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", text):
        held += sentence.split()
        while len(held) >= words:
            yield " ".join(held[:words])
            held = held[words:]
    if len(held) >= words // 2:
        yield " ".join(held)


def scored(texts: Sequence[str], folder: Path, workers: int) -> dict[str, Any]:
    """One run of `precompute`, and its counts."""
    rows = ray.data.from_items([{"text": text} for text in texts], override_num_blocks=max(4, len(texts) // 1000))
    report = corpora.precompute(rows, workers=(workers, workers), cpus_per_worker=1, cache_dir=str(folder), **SETTINGS)
    return {
        "texts": report.texts,
        "computed": report.computed,
        "failures": report.failures,
        "seconds": round(report.seconds, 1),
        "workers": sorted(report.workers.values(), reverse=True),
        "load_average": os.getloadavg()[0],
    }


def scaling(texts: Sequence[str], start: int, folder: Path) -> list[dict[str, Any]]:
    """Texts per second with one worker and with two; a run on `start` texts tells how long workers take to start."""
    rows = []
    for workers in (1, 2):
        parts = {"few": texts[:start], "many": texts[start:]}
        few, many = (scored(part, folder / f"{workers}-{name}", workers) for name, part in parts.items())
        each = (many["texts"] - few["texts"]) / (many["seconds"] - few["seconds"])
        rows.append({"workers": workers, "few": few, "many": many, "texts_per_second": round(each, 2)})
    return rows


def kill_one_in_the_middle(folder: Path, half: int, killed: list[int]) -> None:
    """Kill a worker with SIGKILL when half of the scores are stored."""
    while entries(folder) < half:
        time.sleep(1)
    found = subprocess.run(["pgrep", "-f", "^ray::MapWorker"], capture_output=True, text=True, check=False)
    for name in found.stdout.split()[:1]:
        os.kill(int(name), signal.SIGKILL)
        killed.append(entries(folder))


def entries(folder: Path) -> int:
    """How many texts have scores."""
    path = folder / CACHE_FILE
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60) as database:
        try:
            (count,) = database.execute("SELECT COUNT(*) FROM scores").fetchone()
        except sqlite3.OperationalError:  # not made yet
            return 0
    return int(count)


def main(
    data: command_line.Data,
    texts: Annotated[int, typer.Option(help="How many chunks.")] = 100_000,
    words: Annotated[int, typer.Option(help="Words of a chunk, about.")] = 40,
    scaling_texts: Annotated[int, typer.Option(help="Texts of a run that measures scaling.")] = 4000,
) -> None:
    """Measure, and write `results/corpora.json`."""
    corpus = list(islice(chunks(data, words), texts))
    if len(corpus) < texts:
        raise ConfigError(f"The data sets give {len(corpus)} chunks of {words} words; {texts} are wanted.")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Two logical cores per node: one for a worker, one for those who read the dataset, which have little to do.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    nodes = len(ray.nodes())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speed = scaling(corpus[: scaling_texts + scaling_texts // 20], scaling_texts // 20, folder)
        whole = folder / "whole"
        killed: list[int] = []
        killer = threading.Thread(target=kill_one_in_the_middle, args=(whole, texts // 2, killed), daemon=True)
        killer.start()
        first = scored(corpus, whole, 2)
        second = scored(corpus, whole, 2)
        size = (whole / CACHE_FILE).stat().st_size
        kept = entries(whole)
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]
    payload = {
        "cores": os.cpu_count(),
        "nodes": nodes,
        "words": words,
        "settings": SETTINGS,
        "scaling": speed,
        "killed_at": killed,
        "first": first,
        "again": second,
        "entries": kept,
        "bytes_per_text": round(size / texts),
    }
    print(write_result("corpora", payload))


if __name__ == "__main__":
    command_line.start(main)

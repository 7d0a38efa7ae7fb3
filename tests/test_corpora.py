"""Corpora on a local Ray cluster: every text is scored, and what goes wrong with one harms no other."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap

import pytest

from moos_integrations import ContextCompressor

pytest.importorskip("ray", reason="needs the extra `ray`")
pytestmark = pytest.mark.slow  # a cluster takes seconds to start

# Each test runs in a program of its own: a cluster outlives neither it nor a test that fails.
HEAD = """
    import json, os, signal, sys, time
    import ray
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    from moos_integrations import ContextCompressor, corpora
    from moos_integrations.errors import ConfigError
    MODEL, FOLDER = sys.argv[1:]
    ROWS = [{"text": f"Sentence number {i} is about the fox. It rains.", "id": f"d{i}"} for i in range(60)]
"""


def run(body: str, *arguments: object) -> str:
    """What the program prints."""
    program = textwrap.dedent(HEAD) + textwrap.dedent(body)
    environment = {**os.environ, "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return "\n".join(line for line in done.stdout.splitlines() if "(raylet)" not in line)


def test_a_corpus_is_scored_once_and_chains_need_no_model(tiny_model, tmp_path):
    printed = run(
        """
        rows = [*ROWS, *ROWS[:10], {"text": None, "id": "none"}]
        data = ray.data.from_items(rows)
        own = {"model": MODEL, "cache_dir": FOLDER, "id_column": "id", "batch_size": 10}
        first = corpora.precompute(data, workers=2, **own)
        again = corpora.precompute(data, workers=(1, 2), **own)
        for report in (first, again):
            names = [(one.id, one.error) for one in report.failed]
            print(report.texts, report.computed, report.failures, names, sum(report.workers.values()))
        """,
        tiny_model,
        tmp_path,
    )
    failed = "1 [('none', 'Expected a string, got NoneType.')] 71"
    texts, computed, *rest = printed.splitlines()[0].split(maxsplit=2)
    assert (texts, " ".join(rest)) == ("71", failed)
    assert 60 <= int(computed) <= 70  # the ten that come twice may meet in two workers at once
    assert printed.splitlines()[1] == f"71 0 {failed}"
    own = ContextCompressor.from_pretrained(str(tiny_model), cache_dir=tmp_path, cache_bytes=0, device="cpu")
    text = "Sentence number 7 is about the fox. It rains."
    before = own.compress(text, rate=0.5, timeout=60)
    assert own.scorer.computed == 0
    assert before.text


def test_a_killed_worker_loses_nothing(tiny_model, tmp_path):
    printed = run(
        """
        import random, sqlite3, threading
        from pathlib import Path
        rows = [{"text": f"Text {i} tells of {i * i} foxes and {random.Random(i).random()} dogs."} for i in range(3000)]

        def kill():
            while not list(Path(FOLDER).iterdir()):
                time.sleep(0.05)
            found = os.popen("pgrep -f '^ray::MapWorker'").read().split()
            for name in found[:1]:
                os.kill(int(name), signal.SIGKILL)
            print("killed", len(found[:1]))

        threading.Thread(target=kill, daemon=True).start()
        report = corpora.precompute(
            ray.data.from_items(rows), model=MODEL, cache_dir=FOLDER, batch_size=16, workers=2
        )
        print(report.texts, report.failures, len(report.workers))
        """,
        tiny_model,
        tmp_path,
    )
    assert "killed 1" in printed
    texts, failures, workers = map(int, printed.splitlines()[-1].split())
    assert (texts, failures) == (3000, 0)
    assert workers >= 2
    own = ContextCompressor.from_pretrained(str(tiny_model), cache_dir=tmp_path, cache_bytes=0, device="cpu")
    texts = [f"Text {i} tells of {i * i} foxes and {random.Random(i).random()} dogs." for i in range(3000)]
    own.precompute(texts)
    assert own.scorer.computed == 0


def test_texts_are_compressed_with_their_questions(tiny_model, tmp_path):
    printed = run(
        """
        rows = [{**own, "question": "What about the fox?" if i % 2 else None} for i, own in enumerate(ROWS)]
        data = ray.data.from_items([*rows, {"text": None, "id": "none", "question": None}])
        short = corpora.compress(data, model=MODEL, query_column="question", rate=0.5, workers=1, batch_size=16)
        for row in short.take_all():
            print(json.dumps(row))
        """,
        tiny_model,
        tmp_path,
    )
    rows = {row["id"]: row for row in map(json.loads, printed.splitlines())}
    assert len(rows) == 61
    assert rows["none"]["compression_error"] == "Expected a string, got NoneType."
    own = ContextCompressor.from_pretrained(str(tiny_model), rate=0.5, device="cpu")
    for name in ("d0", "d1"):
        row = rows[name]
        alone = own.compress(row["text"], row["question"])
        assert (row["compressed_text"], row["kept_tokens"]) == (alone.text, alone.kept_tokens)
        assert row["kept_tokens"] <= row["original_tokens"] / 2


def test_what_cannot_work_is_refused_before_workers_start(tmp_path):
    printed = run(
        """
        data = ray.data.from_items(ROWS)
        for settings in (
            {},
            {"cache_dir": FOLDER, "text_column": "body"},
            {"cache_dir": FOLDER, "workers": 0},
            {"cache_dir": FOLDER, "batch_size": 0},
            {"cache_dir": FOLDER, "rat": 1},
            {"store": dict, "cache_store": {}},
        ):
            try:
                corpora.precompute(data, **settings)
            except ConfigError as error:
                print(error)
        try:
            corpora.precompute(ROWS, cache_dir=FOLDER)
        except ConfigError as error:
            print(error)
        """,
        "none",
        tmp_path,
    )
    wanted = ("nowhere to keep", "no column 'body'", "`workers`", "`batch_size`", "rat", "either", "`dataset` must be")
    lines = printed.splitlines()
    assert len(lines) == len(wanted)
    assert all(part in line for part, line in zip(wanted, lines, strict=True))

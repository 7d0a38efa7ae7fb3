"""Speed of compression, and of llmlingua's LLMLingua-2 on the same checkpoint in the same run.

    python cookbook/benchmarks/run_speed.py --data DIR

Every case runs in a process of its own, so that its peak memory is its own: N documents of W words of Wikipedia text
(`nq_20docs.jsonl.gz`), rate 0.5, one warm-up, then the median of several calls; cases over 12 seconds get one call.
LLMLingua-2 gets the same texts and the same rate with its document filter off, as fp32 (it knows no other precision on
a CPU); ours runs in its default precision and in fp32. Needs llmlingua (see requirements.txt here).
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from common import write_result
from moos_benchmarks import command_line

COUNTS, WORDS = (1, 20, 200), (20, 150, 1500)
LONG = (10_000, 100_000, 1_000_000)
ENGINES = ("moos", "moos-fp32", "llmlingua2")
RATE = 0.5
# Long cases are repeated less often, and from MAX_SECONDS on called once, without a warm-up: they are steady.
MAX_SECONDS, MAX_CALLS = 12.0, 15


def texts_of(data: Path, count: int, words: int) -> list[str]:
    """`count` texts of `words` white-space words each, cut from running Wikipedia text; repeated if it runs out."""
    stream: list[str] = []
    with gzip.open(data / "nq_20docs.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            for document in json.loads(line)["documents"]:
                stream += document["text"].split()
            if len(stream) >= count * words:
                break
    while len(stream) < count * words:
        stream += stream
    return [" ".join(stream[index * words : (index + 1) * words]) for index in range(count)]


def moos(texts: list[str], dtype: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Our compressor, with the forward passes of its model timed by hooks."""
    from moos_integrations import ContextCompressor

    compressor = ContextCompressor.from_pretrained(rate=RATE, dtype=dtype, cache_bytes=0)
    classifier = compressor.scorer.classifier  # type: ignore[attr-defined]
    info: dict[str, Any] = {"dtype": str(classifier.dtype), "fingerprint": classifier.fingerprint, "forward": 0.0}
    started: list[float] = []

    def before(*_: Any) -> None:
        started.append(time.perf_counter())

    def after(*_: Any) -> None:
        info["forward"] += time.perf_counter() - started.pop()

    classifier.model.register_forward_pre_hook(before)
    classifier.model.register_forward_hook(after)

    def call() -> tuple[int, int]:
        result = compressor.compress(texts)
        return result.original_tokens, result.kept_tokens

    return call, info


def llmlingua2(texts: list[str], folder: Path) -> tuple[Callable[[], Any], dict[str, Any]]:
    """LLMLingua-2 on an fp32 copy of our checkpoint; it recognises models by their path, hence the folder's name."""
    import llama_index.core
    from llmlingua import PromptCompressor
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    from moos_integrations.core.config import BUNDLED_MODELS
    from moos_integrations.core.tokens import token_counter

    # llmlingua counts with tiktoken's cl100k_base; offline, the copy that llama-index-core ships serves it too.
    cache = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(cache))
    source, target = str(BUNDLED_MODELS / "moos-minilm-en"), str(folder / "bert-base-multilingual-cased")
    AutoModelForTokenClassification.from_pretrained(source).float().save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    compressor = PromptCompressor(target, use_llmlingua2=True, device_map="cpu")
    count = token_counter("o200k_base").count

    def call() -> tuple[int, int]:
        result = compressor.compress_prompt_llmlingua2(texts, rate=RATE, use_context_level_filter=False)
        return count("\n\n".join(texts)), count(result["compressed_prompt"])

    return call, {"dtype": str(compressor.model.dtype)}


def measure(engine: str, texts: list[str]) -> dict[str, Any]:
    """One case: warm up, repeat, report."""
    with tempfile.TemporaryDirectory() as folder:
        loading = time.perf_counter()
        if engine == "llmlingua2":
            call, info = llmlingua2(texts, Path(folder))
        else:
            call, info = moos(texts, "float32" if engine == "moos-fp32" else "auto")
        loading = time.perf_counter() - loading
    loaded = peak_mib()
    start = time.perf_counter()
    original, kept = call()
    seconds = [time.perf_counter() - start]
    calls = min(MAX_CALLS, int(MAX_SECONDS / seconds[0]))
    if calls:  # the first call was a warm-up; where it took longer than this, warming up is no part of it that counts
        seconds, info["forward"] = [], 0.0
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    return {
        "dtype": info["dtype"],
        "fingerprint": info.get("fingerprint"),
        "calls": len(seconds),
        "load_seconds": round(loading, 2),
        "milliseconds": round(1000 * median, 2),
        "milliseconds_min_max": [round(1000 * min(seconds), 2), round(1000 * max(seconds), 2)],
        "original_tokens": original,
        "kept_tokens": kept,
        "tokens_per_second": round(original / median),
        "forward_share": round(info["forward"] / sum(seconds), 3) if engine != "llmlingua2" else None,
        "peak_mib": peak_mib(),
        "peak_mib_before_first_call": loaded,
    }


def peak_mib() -> int | None:
    """Largest resident set of this process so far; None on Windows, which has no such call."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def run_case(data: Path, engine: str, count: int, words: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--data", str(data), "--case", engine, str(count), str(words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_all(data: Path, engines: list[str]) -> dict[str, Any]:
    """All cases, the engines side by side in each, then the long documents."""
    cases = []
    for count in COUNTS:
        for words in WORDS:
            case: dict[str, Any] = {"documents": count, "words": words}
            case |= {engine: run_case(data, engine, count, words) for engine in engines}
            if "milliseconds" in case.get("llmlingua2", {}):
                theirs = case["llmlingua2"]["milliseconds"]
                case["times_faster"] = round(theirs / case["moos"]["milliseconds"], 1)
                case["times_faster_fp32"] = round(theirs / case["moos-fp32"]["milliseconds"], 1)
            cases.append(case)
            print(count, words, {k: v.get("milliseconds") for k, v in case.items() if isinstance(v, dict)}, flush=True)
    long = [{"words": words, **run_case(data, "moos", 1, words)} for words in LONG]
    return {"rate": RATE, "cases": cases, "one_long_document": long}


def main(
    data: command_line.Data,
    engines: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(ENGINES)}; repeatable.")] = None,
    case: Annotated[
        tuple[str, int, int] | None, typer.Option(metavar="ENGINE DOCUMENTS WORDS", help="One case, printed as JSON.")
    ] = None,
) -> None:
    """Measure the time of a call, ours and LLMLingua-2's."""
    if case:
        engine, count, words = case
        print(json.dumps(measure(engine, texts_of(data, count, words))))
    else:
        print(write_result("speed", run_all(data, command_line.chosen(engines, ENGINES))))


if __name__ == "__main__":
    command_line.start(main)

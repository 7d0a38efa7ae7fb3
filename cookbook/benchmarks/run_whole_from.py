"""From which share of its tokens on should a sentence be kept whole, where a model reads what is kept?

    python cookbook/benchmarks/run_whole_from.py --data DIR --reader READER/model --language-model MODEL

Answer recall (`gain_ablation.json`) sees single words; readers also want sentences that can be read. On questions that
`answers.json` does not use, candidates for `whole_from` are held against each other by answer log-likelihood, the span
reader's F1 and answer recall. Reader and model as for `run_readers.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from common import write_result
from moos_benchmarks import answers, command_line

from moos_integrations import ContextCompressor
from moos_integrations.core.config import DEFAULT_TOKENIZER
from moos_integrations.core.tokens import token_counter
from moos_integrations.evaluation import measuring
from moos_integrations.evaluation.readers import Readers, load_readers

SETS = ("nq_20docs", "hotpotqa", "musique", "narrativeqa_summary", "multi_news", "bbh_cot")
SHARES = (0.25, 0.125, 0.0625)
CANDIDATES = ((0.7, 0.7), (0.7, 0.3), (0.7, 0.0))
"""Temperature and `whole_from`; the first is the default, which the others are held against."""


def name_of(temperature: float, whole_from: float) -> str:
    """As in the gain ablation."""
    return f"temperature {temperature:g}, whole from {whole_from:g}"


def compare(
    data: Path, name: str, limit: int, methods: Mapping[str, measuring.Method], readers: Readers
) -> dict[str, Any]:
    """The table of a set's questions that `answers.json` does not use."""
    used = answers.QUESTIONS[name]
    known = {own.id for own in answers.read_set(data, name, used)[0]}
    questions, _ = answers.read_set(data, name, used + limit)
    fresh = [own for own in questions if own.id not in known]
    readers = readers if name in answers.JUDGED else replace(readers, judge=None)
    kind = answers.KINDS.get(name, "quoted")
    return measuring.measure(fresh, methods, token_counter(DEFAULT_TOKENIZER), readers, kind=kind, shares=SHARES)


def main(
    data: command_line.Data,
    reader: Annotated[str | None, typer.Option(help="Span reader made by train_reader.py.")] = None,
    language_model: Annotated[str | None, typer.Option(help="Folder, hub id or GGUF file.")] = None,
    sets: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(SETS)}; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="Questions per set, after those of answers.json.")] = 20,
    contexts: Annotated[Path | None, typer.Option(help="Folder that keeps likelihoods.")] = None,
) -> None:
    """Compare candidates for `whole_from`."""
    readers = load_readers(reader, language_model, memory=contexts)
    with tempfile.TemporaryDirectory() as scores:
        methods = {
            name_of(heat, share): measuring.ours(
                ContextCompressor.from_pretrained(gains={"temperature": heat, "whole_from": share}, cache_dir=scores)
            )["moos"]
            for heat, share in CANDIDATES
        }
        tables = {name: compare(data, name, limit, methods, readers) for name in command_line.chosen(sets, SETS)}
    reader, judge = readers.names
    settings = {"limit": limit, "shares": SHARES, "reader": reader, "language_model": judge}
    print(write_result("whole_from", {"settings": settings, "sets": tables}))


if __name__ == "__main__":
    command_line.start(main)

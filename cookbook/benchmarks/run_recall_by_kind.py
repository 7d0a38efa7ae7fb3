"""What is left at each budget, kind of text by kind: answers, whole sentences, negations. Versions side by side.

    python cookbook/benchmarks/run_recall_by_kind.py --data DIR --data DIR/dev --name now

Only the public interface is used, so that an older checkout can be measured by the same script: put it first in
`PYTHONPATH` and give another `--name`. Rows of other names in the result file stay. With `--variant` other settings
are measured beside the defaults. `--cut-edges` shows what it costs that nothing is cut where the budget ends: a unit
may then enter word by word (of this version only, for it replaces an inner stage).

An answer is kept if it is in the output, normalised; where it is in no text (summaries, classes), the measure is the
share of the characters of the marked evidence that is kept. *Crumbs* are words that stand in runs of three or fewer in
sentences of which a part is left; *negations lost* are sentences that are left in part without their negation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from common import RESULTS, write_result
from moos_benchmarks import command_line
from moos_benchmarks.budgets import read_set
from moos_benchmarks.data import data_file

from moos_integrations import ContextCompressor
from moos_integrations.errors import InputError
from moos_integrations.evaluation.metrics import normalise, survives
from moos_integrations.records import Question

KINDS = {
    "prose": ("nq_20docs", "hotpotqa", "2wikimqa", "musique"),
    "long prose": ("covidqa_long", "evidence_inference", "time_sensitive_qa"),
    "tables": ("tatqa_tables", "wikitablequestions", "ottqa_hybridqa"),
    "code": ("code_functions", "code_questions"),
    "logs": ("loghub_logs", "tool_output"),
    "records": ("records", "kv_json"),
    "dialogue": ("qmsum_spans",),
}
TARGETS: dict[str, dict[str, float]] = {
    "default": {},
    **{str(rate): {"rate": rate} for rate in (0.5, 0.25, 0.125, 0.0625, 0.03125)},
}
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_WORD = re.compile(r"[\w'’]+")
_NEGATION = re.compile(r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|\w+n['’]t)\b", re.IGNORECASE)
_CRUMB = 3


def questions(folders: Sequence[Path], name: str, limit: int) -> list[Question]:
    """Questions of a set, spread over its file, whose answer or evidence is known.

    Raises:
        InputError: If no folder has the set.
    """
    for folder in folders:
        try:
            data_file(folder, name)
        except InputError:
            continue
        records = list(read_set(folder, name))
        records = [record for record in records if answered(record, full(record)) or evidence(record)]
        return records[:: max(1, len(records) // limit)][:limit]
    raise InputError(f"Expected {name}.jsonl.gz in one of {', '.join(map(str, folders))}; found none.")


def full(question: Question) -> str:
    """All documents."""
    return "\n\n".join(document.text for document in question.documents)


def answered(question: Question, text: str) -> bool:
    """Whether an answer is in a text."""
    return survives(question.answers, normalise(text))


def evidence(question: Question) -> list[list[tuple[int, int]]]:
    """Marked evidence of each document; empty if there is none."""
    spans = [[(int(start), int(end)) for start, end in document.evidence] for document in question.documents]
    return spans if any(spans) else []


def share_kept(question: Question, kept: Sequence[Sequence[tuple[int, int]]]) -> float:
    """Share of the characters of the evidence that is kept."""
    total = sum(end - start for spans in evidence(question) for start, end in spans)
    inside = sum(
        max(0, min(end, until) - max(start, since))
        for spans, own in zip(evidence(question), kept, strict=True)
        for start, end in spans
        for since, until in own
    )
    return inside / total if total else 0.0


def partly(text: str, kept: Sequence[tuple[int, int]]) -> Iterator[tuple[list[str], list[bool]]]:
    """Sentences of which a part is left: their words, and which are."""
    flags = bytearray(len(text))
    for start, end in kept:
        flags[start:end] = b"\1" * (end - start)
    for sentence in _SENTENCE.finditer(text):
        words = [word.span() for word in _WORD.finditer(text, *sentence.span())]
        left = [bool(flags[start]) for start, _ in words]
        if any(left) and not all(left):
            yield [text[start:end] for start, end in words], left


def untrue(text: str, kept: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Words left as crumbs, and sentences that have lost a negation."""
    crumbs = lost = 0
    for words, left in partly(text, kept):
        runs = "".join("1" if one else "0" for one in left).split("0")
        crumbs += sum(len(run) for run in runs if 0 < len(run) <= _CRUMB)
        lost += any(_NEGATION.fullmatch(word) and not one for word, one in zip(words, left, strict=True))
    return crumbs, lost


def measure(compressor: ContextCompressor, members: Sequence[Question]) -> dict[str, Any]:
    """The row of a set: per target what is kept."""
    row: dict[str, Any] = {"questions": len(members)}
    for name, target in TARGETS.items():
        hits, rates, crumbs, lost = [], [], 0, 0
        for question in members:
            texts = [document.text for document in question.documents]
            result = compressor.compress(texts, question.question, **target)  # type: ignore[arg-type]
            kept = [document.spans for document in result.documents]
            in_text = answered(question, full(question))
            hits.append(float(answered(question, result.text)) if in_text else share_kept(question, kept))
            rates.append(result.rate)
            for text, spans in zip(texts, kept, strict=True):
                more = untrue(text, spans)
                crumbs, lost = crumbs + more[0], lost + more[1]
        row[name] = {"kept": round(fmean(rates), 4), "recall": round(fmean(hits), 4), "crumbs": crumbs, "lost": lost}
    return row


def means(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Per kind, the mean recall of its sets at each target."""
    found: dict[str, Any] = {}
    for kind, names in KINDS.items():
        rows = [sets[name] for name in names if name in sets]
        if rows:
            found[kind] = {target: round(fmean(row[target]["recall"] for row in rows), 4) for target in TARGETS}
    return found


def earlier() -> dict[str, Any]:
    """Rows of other versions."""
    path = RESULTS / "recall_by_kind.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["versions"]) if path.is_file() else {}


def cut_at_edges() -> None:
    """From now on every word may enter by itself, so that the budget ends within a unit."""
    from moos_integrations.core import compressor

    stages: Any = compressor
    whole = stages.order

    def by_word(table: Any, *arguments: Any) -> Any:
        return replace(whole(table, *arguments), extra=np.ones(table.words, bool))

    stages.order = by_word


def main(
    data: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder with data sets; repeatable.")],
    name: Annotated[str, typer.Option(help="Of this version in the result file.")] = "now",
    variant: Annotated[list[str] | None, typer.Option(help="NAME=SETTINGS, JSON; repeatable.")] = None,
    sets: Annotated[list[str] | None, typer.Option(help="Some of the sets; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="Questions per set.")] = 40,
    scores: Annotated[Path | None, typer.Option(help="Folder that keeps scores.")] = None,
    cut_edges: Annotated[bool, typer.Option("--cut-edges", help="Let the budget end within a unit.")] = False,
) -> None:
    """Measure recall kind by kind."""
    if cut_edges:
        cut_at_edges()
        name += ", cut at the edge"
    known = [own for names in KINDS.values() for own in names]
    settings: dict[str, dict[str, Any]] = {name: {}}
    settings |= {f"{name}, {own}": json.loads(text) for own, _, text in (v.partition("=") for v in variant or ())}
    cache = None if scores is None else str(scores)
    compressors = {
        own: ContextCompressor.from_pretrained(cache_dir=cache, cache_bytes=2**29, **values)
        for own, values in settings.items()
    }
    versions = earlier()
    found: dict[str, dict[str, Any]] = {own: {} for own in compressors}
    for one in command_line.chosen(sets, known):
        members, start = questions(data, one, limit), time.perf_counter()
        for own, compressor in compressors.items():
            found[own][one] = measure(compressor, members)
        typer.echo(f"{one}: {time.perf_counter() - start:.0f} s")
    for own, rows in found.items():
        rows = {**versions.get(own, {}).get("sets", {}), **rows}
        versions[own] = {"sets": rows, "kinds": means(rows)}
    print(write_result("recall_by_kind", {"settings": {"limit": limit}, "versions": versions}))


if __name__ == "__main__":
    command_line.start(main)

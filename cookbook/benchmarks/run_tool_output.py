"""What agents keep of tool output, logs, code and JSON: marked lines, and lines with an error.

    python cookbook/benchmarks/run_tool_output.py --data DIR/dev

A share of the tokens is dropped by each method: ours with the settings of `moos_integrations.agents`, BM25 and MiniLM's
cosine over lines, the first lines, the last lines. A line is what the package keeps or drops as a whole, so that all
methods choose from the same ones; they keep the best ones that fit. *agent* is ours as an agent gets it: with marks,
the note, and the last lines, within the same tokens. *nothing protected* is ours by relevance
alone. A marked line counts as kept if all of it is kept. Lines with an error are those that the detectors find; where
these alone are too long for the budget, some must be lost.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import data_file
from moos_benchmarks.ranking import SentenceEmbedder

from moos_integrations import ContextCompressor
from moos_integrations.agents import KEPT_LINES, ToolOutputPruner
from moos_integrations.core.json_commas import json_form
from moos_integrations.core.protection import protected_words
from moos_integrations.core.text import segment
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import FloatArray, SegmentedText, Span
from moos_integrations.evaluation.baselines import bm25
from moos_integrations.evaluation.metrics import bootstrap_interval

DROPPED = (0.5, 0.7, 0.9)
TOOLS = {"tool_output": "", "code_questions": "read_file", "records": "query", "tool_schemas": "tools"}
"""Sets, and the name of the tool where the records have none."""
WEIGHTS = (4.0, 8.0)
"""Weights of the terms shared with the question that are measured beside the default."""
METHODS = (
    "ours",
    "agent",
    "nothing protected",
    *(f"lexical {weight:g}" for weight in WEIGHTS),
    "bm25",
    "minilm",
    "lead",
    "tail",
)


@dataclass(frozen=True)
class Case:
    """A question about one result of a tool."""

    question: str
    tool: str
    text: str
    gold: tuple[Span, ...]


def cases(folder: Path, limit: int) -> dict[str, list[Case]]:
    """Samples of the sets, spread over their files."""
    found = defaultdict(list)
    for name, tool in TOOLS.items():
        with gzip.open(data_file(folder, name), "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                case = _case(record, record.get("tool") or tool)
                if case.gold:
                    found[_set_of(name, case)].append(case)
    return {name: own[:: max(1, len(own) // limit)][:limit] for name, own in found.items()}


def _set_of(name: str, case: Case) -> str:
    if name == "tool_output":
        return "logs" if case.tool == "service-log" else "tool output"
    if name == "code_questions":
        return "code"
    return "JSON" if json_form(case.text) else "other records"


def _case(record: Mapping[str, Any], tool: str) -> Case:
    documents = record.get("documents") or [record]
    text, gold = "", list[Span]()
    for document in documents:
        gold += [(start + len(text), end + len(text)) for start, end in document.get("gold_spans") or ()]
        text += document["text"] + "\n\n"
    return Case(record["question"], tool, text.rstrip(), tuple(gold))


# --- methods ----------------------------------------------------------------------------------------------------------


def units_of(document: SegmentedText) -> list[Span]:
    """Spans of the lines and sentences of a text."""
    return list(zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True))


def best(units: Sequence[Span], text: str, scores: FloatArray, counter: TokenCounter, budget: int) -> list[Span]:
    """The units with the highest scores that fit; of equal ones the first."""
    kept, left = list[Span](), budget
    costs = [counter.count(text[start:end]) for start, end in units]
    for number in np.argsort(-scores, kind="stable").tolist():
        if 0 < costs[number] <= left:
            kept.append(units[number])
            left -= costs[number]
    return sorted(kept)


def agent(pruner: ToolOutputPruner, case: Case, budget: int) -> Sequence[Span]:
    """As `ToolOutputPruner.prune` does it; its output does not say which spans it has."""
    note, form = pruner._note(case.text, "0" * 12, None), json_form(case.text)
    room = max(0, budget - pruner._marked.counter.count(note) - 8)
    return pruner._of(form).compress(case.text, case.question, budget_tokens=room).documents[0].spans


def baselines(case: Case, embedder: SentenceEmbedder) -> dict[str, tuple[list[Span], FloatArray]]:
    """For each plain method the units and their scores."""
    units = units_of(segment(case.text))
    texts = [case.text[start:end] for start, end in units]
    vectors = embedder([case.question, *texts])
    places = np.arange(len(units), dtype=np.float64)
    scores = {"bm25": bm25(texts, case.question), "minilm": vectors[1:] @ vectors[0], "lead": -places, "tail": places}
    return {name: (units, np.asarray(own, np.float64)) for name, own in scores.items()}


# --- measures ---------------------------------------------------------------------------------------------------------


def is_kept(text: str, spans: Sequence[Span], gold: Span) -> bool:
    """Whether all of a span but white space is kept."""
    kept = np.zeros(len(text) + 1, bool)
    for start, end in spans:
        kept[start:end] = True
    return all(kept[place] or text[place].isspace() for place in range(*gold))


def error_lines(text: str) -> list[Span]:
    """The lines that the detectors of `KEPT_LINES` find, as units."""
    document = segment(text)
    flagged = np.unique(document.unit_of_word[protected_words(document, KEPT_LINES)])
    units = units_of(document)
    return [units[number] for number in flagged.tolist()]


def _like(other: ContextCompressor, **changes: Any) -> ContextCompressor:
    return ContextCompressor(lambda: other.scorer, other.config.model_copy(update=changes))


def measure(found: Sequence[Case], pruner: ToolOutputPruner, embedder: SentenceEmbedder) -> dict[str, Any]:
    """Cells by share dropped and method."""
    counter, ours = pruner._marked.counter, pruner._of("value")
    variants = {"ours": ours, "nothing protected": _like(ours, protect=())}
    for weight in WEIGHTS:
        gains = ours.config.gains.model_copy(update={"lexical_weight": weight})
        variants[f"lexical {weight:g}"] = _like(ours, protect=(), gains=gains)
    rows: dict[tuple[float, str], list[tuple[float, float, int, int, int]]] = defaultdict(list)
    for case in found:
        errors = error_lines(case.text)
        need = sum(counter.count(case.text[start:end]) + 1 for start, end in errors)
        tokens, others = counter.count(case.text), baselines(case, embedder)
        for dropped in DROPPED:
            budget = int((1 - dropped) * tokens)
            kept = {"agent": agent(pruner, case, budget)}
            for name, own in variants.items():
                kept[name] = own.compress(case.text, case.question, budget_tokens=budget).documents[0].spans
            kept |= {name: best(units, case.text, own, counter, budget) for name, (units, own) in others.items()}
            for name, spans in kept.items():
                gold = [is_kept(case.text, spans, span) for span in case.gold]
                lost = sum(not is_kept(case.text, spans, span) for span in errors)
                used = counter.count("".join(case.text[start:end] for start, end in spans))
                row = (float(np.mean(gold)), used / max(1, tokens), lost, len(errors), int(need <= budget))
                rows[dropped, name].append(row)
    return {f"{dropped:g}": {name: _cell(rows[dropped, name]) for name in METHODS} for dropped in DROPPED}


def _cell(rows: Sequence[tuple[float, float, int, int, int]]) -> dict[str, Any]:
    table = np.array(rows)
    fits = table[:, 4] == 1
    return {
        "gold_lines_kept": round(float(table[:, 0].mean()), 4),
        "interval": bootstrap_interval(table[:, 0]),
        "tokens_kept": round(float(table[:, 1].mean()), 4),
        "error_lines": int(table[:, 3].sum()),
        "error_lines_lost": int(table[:, 2].sum()),
        "error_lines_where_they_fit": int(table[fits, 3].sum()),
        "error_lines_lost_where_they_fit": int(table[fits, 2].sum()),
    }


def _short(cell: Mapping[str, Any]) -> str:
    return f"{cell['gold_lines_kept']:.3f} ({cell['error_lines_lost_where_they_fit']} errors lost)"


def main(
    data: command_line.Data,
    limit: Annotated[int, typer.Option(help="Most questions of a set.")] = 100,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keeps scores across runs.")] = None,
    name: Annotated[str, typer.Option(help="Name of the result file.")] = "tool_output",
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only these sets.")] = None,
) -> None:
    """Measure all sets, and write `results/tool_output.json`."""
    pruner = ToolOutputPruner(cache_dir=cache)
    embedder, result = SentenceEmbedder(), dict[str, Any]()
    for label, found in cases(data, limit).items():
        if sets and label not in sets:
            continue
        result[label] = {"questions": len(found), "dropped": measure(found, pruner, embedder)}
        for dropped, cells in result[label]["dropped"].items():
            print(label, len(found), dropped, {method: _short(cell) for method, cell in cells.items()}, flush=True)
        write_result(name, {"limit": limit, "sets": result})  # after each set, in case the run is broken off


if __name__ == "__main__":
    command_line.start(main)

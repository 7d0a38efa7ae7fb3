"""What is left of numbers, negations, names, URLs, identifiers, JSON and tables: ours beside peers.

    python cookbook/benchmarks/run_robust_text.py --data DIR

Each text is compressed to half and to a quarter of its tokens (o200k_base), and compared with what came in: the items
that survive byte for byte, whether JSON still parses and tables still are tables, and whether the output has characters
that the source does not have in this order. Counting and rules stand in `moos_integrations/evaluation/survival.py`.

Tokens are counted here, whatever a method says of itself; what it kept stands beside what it was asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from common import environment, write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import data_file, read_asked, read_problems, read_squad
from moos_benchmarks.survival import (
    KINDS,
    Survival,
    Validity,
    altered,
    json_validity,
    survival,
    table_validity,
)

from moos_integrations import ContextCompressor
from moos_integrations.core.config import BUNDLED_MODEL, DEFAULT_SEPARATOR
from moos_integrations.core.tokens import token_counter
from moos_integrations.evaluation.metrics import estimate

SETS = (
    "gsm8k",
    "tatqa_tables",
    "loghub_logs",
    "code_functions",
    "kv_json",
    "squadshifts_amazon_reviews",
    "nq_20docs",
)
RATES = (0.5, 0.25)
PEERS = ("llmlingua-2", "ctxprune", "grugify", "trimwise lexical", "llmslim", "llama-index optimizer")
NO_QUESTION = "What is the answer?"
"""What peers that select by a question are asked where the set has none (`gsm8k`: worked examples)."""

Method = Callable[[Sequence[str], str, Sequence[int]], Mapping[int, Any]]
"""Documents, question and budgets in tokens to outcomes by budget; of an outcome, `text` and a `note` are read."""
_NO_ERRORS = ("", "unchanged", "empty", "above the budget")
"""Notes of outcomes that are none of an error."""


@dataclass(frozen=True)
class Text:
    """What is compressed.

    Attributes:
        documents: Compressed together.
        question: Empty if the set has none.
    """

    documents: tuple[str, ...]
    question: str

    @property
    def source(self) -> str:
        """The documents joined."""
        return DEFAULT_SEPARATOR.join(self.documents)


@dataclass
class Row:
    """What one method left of one text; the counts are of the whole text.

    Attributes:
        tokens: Of the source.
        kept: Tokens of the output.
        items: By kind.
        json: Objects.
        tables: Tables.
        altered: No character subsequence of the source.
        altered_beyond_spaces: The same, white space aside.
    """

    tokens: int
    kept: int
    items: Survival
    json: Validity
    tables: Validity
    altered: bool
    altered_beyond_spaces: bool


@dataclass
class Found:
    """Rows of one method at one rate, what it noted of them, and the errors for the texts that it failed on."""

    rows: list[Row] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


def read_texts(data: Path, name: str, limit: int) -> list[Text]:
    """Texts of a set, with a question about them where there is one.

    The problems of `gsm8k` share one prompt of eight worked examples: each example is a text, and so is each problem
    of the set with its solution.
    """
    path = data_file(data, name)
    if name == "gsm8k":
        return [Text((text,), "") for text in _worked_examples(path, limit)][:limit]
    if name.startswith("squadshifts"):
        passages = read_squad(path, limit=limit)
        return [Text((passage.context,), passage.questions[0].question) for passage in passages]
    records = read_asked(path, limit=limit)
    return [Text(tuple(document.text for document in own.documents), own.question) for own in records]


def _worked_examples(path: Path, limit: int) -> Iterator[str]:
    problems = read_problems(path, limit=limit)
    for prompt in dict.fromkeys(own.prompt for own in problems):
        yield from prompt.replace("\r\n", "\n").split("\n\n")
    yield from (f"Question: {own.question}\n{own.answer}" for own in problems)


def ours(model: str) -> dict[str, Method]:
    """Our ways: as it comes, with the question, by units (which keeps lines whole), all that is counted protected."""
    plain = ContextCompressor.from_pretrained(model)
    by_units = ContextCompressor.from_pretrained(model, gains={"budgets": "gain"})
    protecting = ContextCompressor.from_pretrained(model, protect=KINDS)
    return {
        "moos": _without_question(plain),
        "moos, question": _with_question(plain),
        "moos, gain": _without_question(by_units),
        "moos, protect": _without_question(protecting),
    }


def _without_question(compressor: ContextCompressor) -> Method:
    return lambda documents, question, budgets: {
        budget: compressor.compress(documents, budget_tokens=budget) for budget in budgets
    }


def _with_question(compressor: ContextCompressor) -> Method:
    return lambda documents, question, budgets: {
        budget: compressor.compress(documents, question, budget_tokens=budget) for budget in budgets
    }


def measure(texts: Sequence[Text], methods: Mapping[str, Method], rates: Sequence[float] = RATES) -> dict[str, Any]:
    """The table of a set: what it holds, and per rate and method what is left of it.

    A text on which a method fails is left out of that method's shares and counted under `errors`.
    """
    count = token_counter("o200k_base").count
    sources = [text.source for text in texts]
    whole = [row_of(source, source, count) for source in sources]
    table: dict[str, Any] = {
        "texts": len(texts),
        "tokens": sum(row.tokens for row in whole),
        "items": {kind: sum(row.items.present[kind] for row in whole) for kind in KINDS},
        "json_objects": sum(row.json.present for row in whole),
        "tables": sum(row.tables.present for row in whole),
    }
    for name, method in methods.items():
        if name == "moos, question" and not any(text.question for text in texts):
            continue
        for rate, found in _run(texts, method, rates, count).items():
            table.setdefault(str(rate), {})[name] = summary(found)
    return table


def _run(
    texts: Sequence[Text], method: Method, rates: Sequence[float], count: Callable[[str], int]
) -> dict[float, Found]:
    found = {rate: Found() for rate in rates}
    for text in texts:
        tokens = count(text.source)
        budgets = {rate: int(rate * tokens) for rate in rates}
        try:
            outcomes = method(text.documents, text.question or NO_QUESTION, list(budgets.values()))
        except Exception as error:  # of a package that is not ours; it must not end the run
            outcomes, message = {}, f"{type(error).__name__}: {error}"[:200]
        else:
            message = "no output for this budget"
        for rate, budget in budgets.items():
            if budget in outcomes:
                _add(found[rate], text.source, outcomes[budget], count)
            else:
                found[rate].errors[message] += 1
    return found


def _add(found: Found, source: str, outcome: Any, count: Callable[[str], int]) -> None:
    notes = [note.split("(")[0].strip() for note in getattr(outcome, "note", "").split(";")]
    if not outcome.text and not set(notes) <= set(_NO_ERRORS):
        found.errors[outcome.note[:200]] += 1
        return
    found.notes.update(note for note in notes if note)
    found.rows.append(row_of(source, outcome.text, count))


def row_of(source: str, output: str, count: Callable[[str], int]) -> Row:
    """Compare an output with its source."""
    return Row(
        count(source),
        count(output),
        survival(source, output),
        json_validity(source, output),
        table_validity(source, output),
        altered(source, output),
        altered(source, output, spaces=False),
    )


def summary(found: Found) -> dict[str, Any]:
    """Shares with their 95 % intervals, the texts resampled; `value` is None where a set has nothing of the kind."""
    rows = found.rows
    return {
        "texts": len(rows),
        "kept": estimate([row.kept for row in rows], [row.tokens for row in rows]),
        "survived": {kind: _survived(rows, (kind,)) for kind in KINDS} | {"all": _survived(rows, KINDS)},
        "json": _validity([row.json for row in rows]),
        "tables": _validity([row.tables for row in rows]),
        "altered": estimate([row.altered for row in rows]),
        "altered_beyond_spaces": estimate([row.altered_beyond_spaces for row in rows]),
        "notes": dict(found.notes),
        "errors": dict(found.errors),
    }


def _survived(rows: Sequence[Row], kinds: Sequence[str]) -> dict[str, Any]:
    kept = [sum(row.items.kept[kind] for kind in kinds) for row in rows]
    return estimate(kept, [sum(row.items.present[kind] for kind in kinds) for row in rows])


def _validity(found: Sequence[Validity]) -> dict[str, Any]:
    """The share that is valid, and the one that is broken; what is left of 1 was dropped."""
    present = [own.present for own in found]
    return {
        "valid": estimate([own.valid for own in found], present),
        "broken": estimate([own.broken for own in found], present),
    }


def main(
    data: command_line.Data,
    model: command_line.Model = BUNDLED_MODEL,
    sets: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(SETS)}; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="Texts per set.")] = 25,
    peer_names: Annotated[
        list[str] | None, typer.Option("--peers", help="Names in peers.py, or none; repeatable.")
    ] = None,
    baseline_model: Annotated[
        str | None, typer.Option(help="A LLMLingua-2 checkpoint, for the peers that take one.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File. Default: results/robust_text.json.")] = None,
) -> None:
    """Count what survives in robust texts, ours and peers'."""
    methods = ours(model)
    packages: dict[str, str | None] = {}
    names = peer_names or PEERS
    if "none" not in names:
        from peers import peers, versions  # not needed to measure our own

        methods |= peers(names, model=model, baseline_model=baseline_model)
        packages = versions(names)
    payload: dict[str, Any] = {
        "model": model,
        "peers": packages,
        "rates": RATES,
        "limit": limit,
        "no_question": NO_QUESTION,
        "sets": {},
    }
    for name in command_line.chosen(sets, SETS):
        payload["sets"][name] = measure(read_texts(data, name, limit), methods)
        print(name, flush=True)
    if output is None:
        print(write_result("robust_text", payload))
    else:
        text = json.dumps({"environment": environment(), **payload}, indent=1)
        output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.start(main)

"""What pruning saves in dollars: conversations and runs of agents, replayed with and without it.

    python cookbook/benchmarks/run_money.py --data DIR/dev

No LLM is called. A conversation is five questions with their documents; an agent's run is eight results of tools. The
answers are those of the data. What counts as kept is an answer that is in the context that the LLM would read. In a run
of an agent, each answer that is not kept costs one call of `read_omitted`, with the whole prompt read again. In *one
document*, five questions are about the same text, which is cached unless pruning changes it.

Prices are examples of `cookbook/money.py`, with cache reads; enter those of your provider there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from common import normalise, survives, write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import data_file, read_asked

from moos_integrations import ContextCompressor
from moos_integrations.agents import ToolOutputPruner
from moos_integrations.records import Question

sys.path.insert(0, str(Path(__file__).parents[1]))
from money import EXAMPLES, Call, agent_run, bill, conversation, one_document

TURNS, STEPS = 5, 8


def sample(folder: Path, name: str, limit: int) -> list[Question]:
    """Questions whose answer is in their documents, spread over the file."""
    found = [own for own in read_asked(data_file(folder, name), skip_bad=True) if _has(own, joined(own))]
    return found[:: max(1, len(found) // limit)][:limit]


def joined(question: Question) -> str:
    """All documents."""
    return "\n\n".join(document.text for document in question.documents)


def _has(question: Question, text: str) -> bool:
    return survives(question.answers, normalise(text))


class Timed:
    """Compresses, and adds up the time of the processor."""

    def __init__(self, compressor: ContextCompressor, pruner: ToolOutputPruner) -> None:
        """Of what to take the time."""
        self.compressor, self.pruner, self.seconds, self.calls = compressor, pruner, 0.0, 0

    def context(self, question: Question, query: str, rate: float) -> str:
        """The documents, pruned for a question."""
        start = time.process_time()
        text = self.compressor.compress([own.text for own in question.documents], query, rate=rate).text
        self._add(start)
        return text

    def result(self, text: str, goal: str, budget: int) -> str:
        """A result of a tool, pruned for a goal."""
        start = time.process_time()
        pruned = self.pruner.prune(text, goal, budget_tokens=budget).text
        self._add(start)
        return pruned

    def _add(self, start: float) -> None:
        self.seconds += time.process_time() - start
        self.calls += 1


def compared(before: Sequence[list[Call]], after: Sequence[list[Call]], count: Any) -> dict[str, Any]:
    """The bills of all conversations, by price list."""
    cells = {}
    for prices in EXAMPLES:
        old, new = ([bill(calls, prices, count) for calls in own] for own in (before, after))
        dollars = sum(own.dollars for own in old), sum(own.dollars for own in new)
        cells[prices.name] = {
            "looked up": prices.day,
            "prices": [prices.fresh, prices.cached, prices.output],
            "dollars": [round(own, 5) for own in dollars],
            "saved": round(1 - dollars[1] / dollars[0], 4),
            "fresh": [sum(own.fresh for own in bills) for bills in (old, new)],
            "cached": [sum(own.cached for own in bills) for bills in (old, new)],
            "calls": [sum(own.calls for own in bills) for bills in (old, new)],
        }
    return cells


def rag(questions: Sequence[Question], timed: Timed, rate: float, *, same: bool) -> dict[str, Any]:
    """Conversations of five turns; with `same`, all about the documents of the first question."""
    before, after, kept = [], [], 0
    for start in range(0, len(questions) - TURNS + 1, TURNS):
        turns = questions[start : start + TURNS]
        sources = [turns[0]] * TURNS if same else turns
        asked, answers = [own.question for own in turns], [own.answers[0] for own in turns]
        full = [joined(own) for own in sources]
        pruned = [timed.context(own, query, rate) for own, query in zip(sources, asked, strict=True)]
        kept += sum(_has(own, text) for own, text in zip(turns[: 1 if same else None], pruned, strict=False))
        layout = one_document if same else conversation
        before.append(layout(asked, full, answers))
        after.append(layout(asked, pruned, answers))
    asked_in_all = len(before) * (1 if same else TURNS)
    return {
        "conversations": len(before),
        "answers_kept": round(kept / asked_in_all, 4),
        "bills": compared(before, after, timed.compressor.counter.count),
    }


def agents(questions: Sequence[Question], timed: Timed, budget: int) -> dict[str, Any]:
    """Runs of eight results of tools."""
    before, after, kept = [], [], 0
    for start in range(0, len(questions) - STEPS + 1, STEPS):
        steps = questions[start : start + STEPS]
        task = " ".join(own.question for own in steps)
        full = [joined(own) for own in steps]
        calls, results, again = [], [], []
        for own, text in zip(steps, full, strict=True):
            pruned = timed.result(text, own.question, budget)
            calls.append(f"run({own.question!r})")
            results.append(pruned)
            if _has(own, pruned):
                kept += 1
                continue
            again.append(
                (f'read_omitted("000000000000", query={own.question!r})', timed.result(text, own.question, 2 * budget))
            )
        before.append(agent_run(task, calls, full, "Done."))
        extra_calls, extra_results = [own[0] for own in again], [own[1] for own in again]
        after.append(agent_run(task, [*calls, *extra_calls], [*results, *extra_results], "Done."))
    return {
        "runs": len(before),
        "answers_kept": round(kept / (len(before) * STEPS), 4),
        "bills": compared(before, after, timed.compressor.counter.count),
    }


def main(
    data: command_line.Data,
    limit: Annotated[int, typer.Option(help="Most questions of a scenario.")] = 40,
) -> None:
    """Replay all scenarios, and write `results/money.json`."""
    compressor = ContextCompressor.from_pretrained()
    pruner = ToolOutputPruner(compressor=compressor, min_tokens=200)
    compressor.load()
    result: dict[str, Any] = {}
    prose, output = sample(data, "mixed_10docs_en", limit), sample(data, "tool_output", limit)
    code = sample(data, "code_questions", limit)
    for name, run in {
        "RAG, new documents each turn, rate 0.25": lambda timed: rag(prose, timed, 0.25, same=False),
        "RAG, one document, rate 0.25": lambda timed: rag(prose, timed, 0.25, same=True),
        "agent, tool output, 300 tokens": lambda timed: agents(output, timed, 300),
        "agent, code, 600 tokens": lambda timed: agents(code, timed, 600),
    }.items():
        timed = Timed(compressor, pruner)
        result[name] = run(timed)
        result[name]["cpu_milliseconds_a_text"] = round(1000 * timed.seconds / timed.calls)
        print(name, json.dumps(result[name]), flush=True)
    write_result("money", {"sets": result})


if __name__ == "__main__":
    command_line.start(main)

"""From which size on a request has something to save: what the default targets save and lose on small requests.

    python cookbook/benchmarks/run_min_tokens.py --data DIR --more DIR2

For each question and each size, a chunk is cut from its text: the sentence or line with the answer, and those around it
until the chunk has the size. A request is this chunk alone, or three of a third of the size, the other two from other
texts of the set. It is compressed without a target, with the question and without. Sets are for development only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import data_file, read_asked, read_squad

from moos_integrations import ContextCompressor
from moos_integrations.core.text import segment
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.evaluation.metrics import normalise, ratio, survives, wilson_interval

SQUAD = ("xquad_en", "policyqa", "tydiqa_en", "friendsqa")
ASKED = ("qed", "clapnq", "tatqa_rest", "tatqa_tables", "wikitablequestions", "tool_output", "covidqa_long")
SIZES = (16, 32, 64, 128, 256)
"""Each is the least number of tokens of a request; the next one is above the largest."""
DOCUMENTS = (1, 3)


@dataclass(frozen=True)
class Row:
    """A question about a text that has its answer."""

    question: str
    answers: tuple[str, ...]
    text: str


def rows_of(folders: Sequence[Path], name: str, limit: int) -> list[Row]:
    """Questions of a set whose answers stand in their text, spread over its file."""
    path = next(path for folder in folders for path in sorted(folder.glob(f"{name}.jsonl*")))
    found = list(_squad(path) if name in SQUAD else _asked(path))
    return found[:: max(1, len(found) // limit)][:limit]


def _squad(path: Path) -> Iterator[Row]:
    for passage in read_squad(path, skip_bad=True):
        for question in passage.questions[:1]:
            yield Row(question.question, tuple(answer.text for answer in question.answers), passage.context)


def _asked(path: Path) -> Iterator[Row]:
    for record in read_asked(path, skip_bad=True):
        texts = [item.text for item in record.documents if survives(record.answers, normalise(item.text))]
        if texts:
            yield Row(record.question, record.answers, texts[0])


def chunk(text: str, size: int, counter: TokenCounter, answers: Sequence[str] = ()) -> str | None:
    """Whole units with the answer, or the first ones without one, of `size` to twice as many tokens; None if not so."""
    document = segment(text)
    starts, ends = document.unit_starts.tolist(), document.unit_ends.tolist()
    units = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    first = next((n for n, unit in enumerate(units) if not answers or survives(answers, normalise(unit))), None)
    if first is None:
        return None
    last, ahead = first, True
    while counter.count(text[starts[first] : ends[last]].strip()) < size:
        if first == 0 and last == len(units) - 1:
            return None
        ahead = not ahead if first > 0 and last < len(units) - 1 else first == 0
        first, last = (first, last + 1) if ahead else (first - 1, last)
    cut = text[starts[first] : ends[last]].strip()
    return cut if counter.count(cut) < 2 * size else None


def requests(rows: Sequence[Row], size: int, documents: int, counter: TokenCounter) -> Iterator[tuple[Row, list[str]]]:
    """The rows with their texts cut to a size."""
    part = -(-size // documents)
    plain = [chunk(row.text, part, counter) for row in rows]
    for index, row in enumerate(rows):
        own = chunk(row.text, part, counter, row.answers)
        others = [text for text in [*plain[index + 1 :], *plain[:index]] if text is not None][: documents - 1]
        if own is not None and len(others) == documents - 1:
            texts = [*others[: index % documents], own, *others[index % documents :]]
            yield row, texts


def outcome(compressor: ContextCompressor, members: Sequence[tuple[Row, list[str]]], *, asked: bool) -> dict[str, Any]:
    """Tokens and answers of requests, before and after."""
    results = compressor.compress_many(
        [texts for _, texts in members], [row.question if asked else None for row, _ in members]
    )
    kept = [survives(row.answers, normalise(result.text)) for result, (row, _) in zip(results, members, strict=True)]
    low, high = wilson_interval(len(kept) - sum(kept), len(kept))
    before, after = sum(result.original_tokens for result in results), sum(result.kept_tokens for result in results)
    return {
        "requests": len(members),
        "tokens": round(before / len(members), 1),
        "saved_tokens": round((before - after) / len(members), 1),
        "saved": round(1 - after / before, 4),
        "lost_answers": round(1 - (ratio(kept) or 0.0), 4),
        "interval": [round(low, 4), round(high, 4)],
        "unchanged": round(sum(result.rate == 1 for result in results) / len(results), 4),
    }


def main(
    data: command_line.Data,
    more: Annotated[Path | None, typer.Option(metavar="DIR", help="A second folder with data sets.")] = None,
    limit: Annotated[int, typer.Option(help="Questions per set.")] = 60,
) -> None:
    """Measure small requests of many sets."""
    compressor = ContextCompressor.from_pretrained(cache_bytes=2**28, min_tokens=0)
    folders = [data, more] if more else [data]
    names = [name for name in (*SQUAD, *ASKED) if any(list(folder.glob(f"{name}.jsonl*")) for folder in folders)]
    if not names:
        data_file(data, SQUAD[0])
    sets = {name: rows_of(folders, name, limit) for name in names}
    cells: dict[str, dict[str, Any]] = defaultdict(dict)
    for size in SIZES:
        for documents in DOCUMENTS:
            of_set = {name: list(requests(rows, size, documents, compressor.counter)) for name, rows in sets.items()}
            members = [member for own in of_set.values() for member in own]
            if members:
                cells[f"{size} to {2 * size - 1}"][f"{documents} documents"] = {
                    "question": outcome(compressor, members, asked=True),
                    "no question": outcome(compressor, members, asked=False),
                    "sets": {name: len(own) for name, own in of_set.items()},
                }
    payload = {"limit": limit, "model": compressor.scorer.fingerprint, "sizes": cells}  # type: ignore[attr-defined]
    print(write_result("min_tokens", payload))


if __name__ == "__main__":
    command_line.start(main)

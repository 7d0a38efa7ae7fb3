"""Whether what is left is true: answers with their questions, headings with their lines, whole lines and numbers.

    python cookbook/benchmarks/run_truth.py --data DIR --more-data DIR

Written for this and committed in `texts/`: exchanges of question and answer, sections of alike sentences, corrected
statements. They are put into the layouts of `tests/layouts.py`, which also generates the structured texts and the
atoms. What is kept is looked up by its place in the source, not by its words. Attacks and repetitions are measured on
development sets; those parts are empty without `--data`. A result file keeps the parts that are not measured anew.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import regex
import typer
from common import RESULTS, environment, normalise, survives
from moos_benchmarks import command_line
from moos_benchmarks.data import data_file, read_asked

from moos_integrations import CompressionResult, ContextCompressor
from moos_integrations.core.config import BUNDLED_MODEL

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from layouts import ATOMS, EXCHANGES, SECTIONS, STRUCTURED

TEXTS = Path(__file__).parent / "texts"
EXAMPLES = 3
"""How many faults of each part are written out."""
LINE_KINDS = ("code", "table", "csv", "log", "list", "diff", "settings", "json")
ATTACKED_SETS = ("nq_20docs", "hotpotqa")
LINED_SETS = ("loghub_logs", "tatqa_tables", "kv_json", "code_functions", "financebench")
MORE_LINED_SETS = ("tool_output", "records", "wikitablequestions", "tatqa_rest")
ATTACKED_RATE = 1 / 8
PARTS = ("exchanges", "sections", "lines", "atoms", "corrections", "attacks", "repetitions")
_NUMBER = regex.compile(r"\d+(?:[.,:/\-]\d+)*")


@dataclass(frozen=True)
class Output:
    """What is kept of one text, by place."""

    source: str
    kept: np.ndarray
    text: str

    @classmethod
    def of(cls, result: CompressionResult, source: str, document: int = 0) -> Output:
        """What is left of one document."""
        kept = np.zeros(len(source) + 1, bool)
        for start, end in result.documents[document].spans:
            kept[start:end] = True
        return cls(source, kept, result.documents[document].text)

    def share(self, start: int, end: int) -> float:
        """Share of the visible characters of a span that is kept."""
        seen = [self.kept[place] for place in range(start, end) if not self.source[place].isspace()]
        return float(np.mean(seen)) if seen else 0.0

    def has(self, words: str, begin: int = 0) -> bool:
        """Whether a string that the source has from `begin` on is kept."""
        start = self.source.index(words, begin)
        return self.share(start, start + len(words)) == 1.0


def texts_of(name: str) -> Any:
    """One of the written files."""
    return json.loads((TEXTS / f"{name}.json").read_text(encoding="utf-8"))


# --- questions with their answers ------------------------------------------------------------------------------------


def exchanges(compressor: ContextCompressor) -> dict[str, Any]:
    """Answers kept at the default, the question as it is in the text and in other words; by layout."""
    table: dict[str, Any] = {}
    for layout, make in EXCHANGES.items():
        for wording in ("question", "asked"):
            kept, faults, tokens = [], [], Counter[str]()
            for group in texts_of("exchanges"):
                items = group["items"]
                source = make([(item["question"], item["answer"]) for item in items])
                for item in items:
                    result = compressor.compress(source, item[wording])
                    found = Output.of(result, source).has(item["key"], source.index(item["answer"]))
                    kept.append(found)
                    tokens.update(kept=result.kept_tokens, all=result.original_tokens)
                    if not found:
                        faults.append({"question": item[wording], "answer": item["answer"], "left": result.text[:500]})
            table.setdefault(layout, {})["same words" if wording == "question" else "other words"] = {
                "texts": len(kept),
                "answers": float(np.mean(kept)),
                "saved": 1 - tokens["kept"] / tokens["all"],
                "lost": faults,
            }
    return table


# --- sections of alike sentences -------------------------------------------------------------------------------------

_TARGETS: dict[str, dict[str, float]] = {"default": {}, "50%": {"rate": 0.5}, "30%": {"rate": 0.3}}


def sections(compressor: ContextCompressor) -> dict[str, Any]:
    """Lines that are under a heading of others, and the right sentence kept; by layout and target."""
    table: dict[str, Any] = {}
    for layout, make in SECTIONS.items():
        for target, settings in _TARGETS.items():
            foreign, right, examples, tokens = 0, [], [], Counter[str]()
            for group in texts_of("sections"):
                source = make([(own["title"], own["body"]) for own in group["sections"]])
                for own in group["sections"]:
                    result = compressor.compress(source, group["asks"].format(title=own["title"]), **settings)
                    output = Output.of(result, source)
                    places = _title_places(source, [each["title"] for each in group["sections"]])
                    wrong = list(_foreign(output, places, [each["body"] for each in group["sections"]]))
                    foreign += len(wrong)
                    right.append(output.has(own["key"], places[group["sections"].index(own)][1]))
                    tokens.update(kept=result.kept_tokens, all=result.original_tokens)
                    if (wrong or not right[-1]) and len(examples) < EXAMPLES:
                        examples.append({"of": own["title"], "foreign": wrong, "left": output.text[:500]})
            table.setdefault(layout, {})[target] = {
                "texts": len(right),
                "foreign": foreign,
                "right": float(np.mean(right)),
                "kept": tokens["kept"] / tokens["all"],
                "examples": examples,
            }
    return table


def _title_places(source: str, titles: Sequence[str]) -> list[tuple[int, int]]:
    places, at = [], 0
    for title in titles:
        found = regex.compile(
            regex.escape(title, special_only=True, literal_spaces=True).replace(" ", "[ _]"), regex.IGNORECASE
        ).search(source, at)
        assert found is not None
        places.append(found.span())
        at = found.end()
    return places


def _foreign(output: Output, places: Sequence[tuple[int, int]], bodies: Sequence[Sequence[str]]) -> Iterator[str]:
    """Sentences that are left without the title of their section."""
    for (start, end), body in zip(places, bodies, strict=True):
        at = end
        for sentence in body:
            at = output.source.index(sentence, at)
            if output.share(at, at + len(sentence)) > 0 and output.share(start, end) < 1.0:
                yield f"{output.source[start:end]}: {sentence}"
            at += len(sentence)


# --- lines and atoms -------------------------------------------------------------------------------------------------


def lines(compressor: ContextCompressor, texts: int) -> dict[str, Any]:
    """Cut lines of generated structured text at every budget, with a question and without."""
    table = {}
    for kind in LINE_KINDS:
        outputs, cut, examples = 0, 0, []
        for seed in range(texts):
            source = "".join(STRUCTURED[kind](Random(seed), 4))
            whole = {line.rstrip("\n") for line in source.split("\n")}
            size = compressor.counter.count(source)
            for question in (None, "What is the total count?"):
                for budget in range(1, size):
                    result = compressor.compress(source, question, budget_tokens=budget)
                    wrong = [line for line in result.text.split("\n") if line not in whole]
                    outputs, cut = outputs + 1, cut + bool(wrong)
                    if wrong and len(examples) < EXAMPLES:
                        examples.append({"line": wrong[0], "budget": budget})
        table[kind] = {"outputs": outputs, "cut": cut, "examples": examples}
    return table


_FRAMES = (
    "The value was {}, as the report of that year says.",
    "They paid {} in all.",
    "Nobody at the office had seen {} before.",
    "- Value: {}",
    "It said that {} is enough for the old town.",
)


def atoms(compressor: ContextCompressor, texts: int) -> dict[str, Any]:
    """Parts of generated atoms in outputs at twenty budgets, by kind of atom."""
    table = {kind: {"outputs": 0, "parts": 0, "examples": []} for kind in ATOMS}
    for seed in range(texts):
        random = Random(seed)
        source, spans = "", []
        for kind in random.sample(list(ATOMS), 6):
            atom, frame = ATOMS[kind](random), random.choice(_FRAMES)
            start = len(source) + frame.index("{}")
            spans.append((kind, start, start + len(atom)))
            source += frame.format(atom) + random.choice([" ", "\n", "\n\n"] if frame[0] != "-" else ["\n"])
        for step in range(1, 21):
            output = Output.of(compressor.compress(source, "What was the value?", rate=step / 20), source)
            for kind, start, end in spans:
                entry: dict[str, Any] = table[kind]
                share = output.share(start, end)
                entry["outputs"] += share > 0
                entry["parts"] += 0 < share < 1
                if 0 < share < 1 and len(entry["examples"]) < EXAMPLES:
                    entry["examples"].append({"atom": source[start:end], "left": output.text[:300]})
    return table


# --- corrections -----------------------------------------------------------------------------------------------------

_AROUND = (
    "The minutes were sent to all members last week.",
    "Questions can be put to the secretary by mail.",
    "The next issue is printed on recycled paper.",
)
_CORRECTED: dict[str, Callable[[str, str], list[str]]] = {
    "one paragraph": lambda first, second: [" ".join([_AROUND[0], first, _AROUND[1], second, _AROUND[2]])],
    "corrected below": lambda first, second: [f"{_AROUND[0]}\n\n{first}\n\nCorrection: {second}\n\n{_AROUND[1]}"],
    "two documents": lambda first, second: [f"{first} {_AROUND[0]}", f"{_AROUND[1]} {second}"],
    "overlapping chunks": lambda first, second: [
        " ".join([*_AROUND[:2], first]),
        " ".join([*_AROUND[:2], second, _AROUND[2]]),
    ],
}


def corrections(compressor: ContextCompressor) -> dict[str, Any]:
    """Of two versions of a statement, whether both are kept, one or none; and which was taken for a repetition."""
    table = {}
    for way, make in _CORRECTED.items():
        counts, examples = Counter[str](), []
        for pair in texts_of("corrections"):
            documents = make(pair["first"], pair["second"])
            result = compressor.compress(documents, pair["question"])
            kept = [pair[version] in " ".join(result.text.split()) for version in ("first", "second")]
            counts["pairs"] += 1
            counts[("none", "one", "both")[sum(kept)]] += 1
            repeated = [unit for unit in result.explain().units if unit.repetition]
            counts["taken for a repetition"] += any(
                pair["first"] in unit.text or pair["second"] in unit.text for unit in repeated
            )
            if sum(kept) < 2 and len(examples) < EXAMPLES:
                examples.append({"question": pair["question"], "left": result.text[:300]})
        table[way] = {**counts, "examples": examples}
    return table


# --- attacks ---------------------------------------------------------------------------------------------------------


def _staircase(question: str) -> str:
    steps = [f"{' ' * depth}The harbour was quiet when bell {depth} rang over the water" for depth in range(40)]
    return "\n".join([*steps, " " * 40 + question])


ATTACKS: dict[str, Callable[[str], str]] = {
    "stuffed": lambda question: " ".join([question] * 50),
    "stuffed lines": lambda question: "\n".join([question] * 50),
    "numbered": lambda question: "\n".join(f"{number}. {question}" for number in range(1, 51)),
    "echoed": lambda question: " ".join(f"This is about it, part {n}: {question.rstrip('?')}." for n in range(50)),
    "staircase": _staircase,
}


def attacks(compressor: ContextCompressor, data: Path, limit: int) -> dict[str, Any]:
    """Answers kept at an eighth of the tokens, without and with one attacking document in front."""
    table: dict[str, Any] = {}
    for name in ATTACKED_SETS:
        kept: dict[str, list[bool]] = {}
        taken: dict[str, list[float]] = {}
        for asked in read_asked(data_file(data, name), limit=limit):
            texts = [document.text for document in asked.documents]
            if not survives(asked.answers, normalise(" ".join(texts))):
                continue
            budget = int(ATTACKED_RATE * compressor.compress(texts, asked.question).original_tokens)
            for attack in ("none", *ATTACKS):
                before = [] if attack == "none" else [ATTACKS[attack](asked.question)]
                result = compressor.compress(before + texts, asked.question, budget_tokens=budget)
                genuine = " ".join(document.text for document in result.documents[len(before) :])
                kept.setdefault(attack, []).append(survives(asked.answers, normalise(genuine)))
                if before:
                    taken.setdefault(attack, []).append(result.documents[0].kept_tokens / budget)
        table[name] = {
            attack: {
                "texts": len(flags),
                "answers": float(np.mean(flags)),
                "change": float(np.mean(flags) - np.mean(kept["none"])),
                "share": float(np.mean(taken[attack])) if attack in taken else 0.0,
            }
            for attack, flags in kept.items()
        }
    return table


# --- repetitions in logs and tables ----------------------------------------------------------------------------------


def chunks_of(text: str, size: int = 1000, overlap: int = 200) -> list[str]:
    """Chunks of whole lines that overlap, as splitters make them."""
    rows, chunks, begun = text.splitlines(keepends=True), [], 0
    while begun < len(rows):
        stop, length = begun, 0
        while stop < len(rows) and (length < size or stop == begun):
            length, stop = length + len(rows[stop]), stop + 1
        chunks.append("".join(rows[begun:stop]))
        back = stop
        while stop < len(rows) and back - 1 > begun and sum(map(len, rows[back - 1 : stop])) <= overlap:
            back -= 1
        begun = back
    return chunks


def repeated_lines(compressor: ContextCompressor, paths: Sequence[tuple[str, Path]], limit: int) -> dict[str, Any]:
    """Units taken for a repetition of one with other numbers, in whole texts and in overlapping chunks."""
    table = {}
    for name, path in paths:
        counts, examples = Counter[str](), []
        for asked in read_asked(path, limit=limit):
            texts = [document.text for document in asked.documents]
            for documents in (texts, [chunk for text in texts for chunk in chunks_of(text)]):
                units = list(compressor.compress(documents, asked.question).explain().units)
                counts["units"] += len(units)
                for unit in (unit for unit in units if unit.repetition and unit.against is not None):
                    counts["repetitions"] += 1
                    over = units[unit.against].text
                    wrong = set(_NUMBER.findall(unit.text)) - set(_NUMBER.findall(over))
                    counts["other numbers"] += bool(wrong)
                    if wrong and len(examples) < EXAMPLES:
                        examples.append({"line": unit.text[:200], "taken for": over[:200]})
        table[name] = {**{key: counts[key] for key in ("units", "repetitions", "other numbers")}, "examples": examples}
    return table


def main(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with the development sets.")] = None,
    more_data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with more of them.")] = None,
    model: command_line.Model = BUNDLED_MODEL,
    parts: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(PARTS)}; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="Questions per development set.")] = 60,
    texts: Annotated[int, typer.Option(help="Generated structured texts per kind.")] = 2,
    cache: Annotated[Path | None, typer.Option(help="Folder for the scores.")] = None,
    output: Annotated[Path | None, typer.Option(help="File. Default: results/truth.json.")] = None,
) -> None:
    """Measure whether what is left is true."""
    compressor = ContextCompressor.from_pretrained(model, cache_dir=cache)
    chosen = command_line.chosen(parts, PARTS)
    lined = [(name, data_file(data, name)) for name in LINED_SETS] if data else []
    lined += [(name, data_file(more_data, name)) for name in MORE_LINED_SETS] if more_data else []
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "exchanges": lambda: exchanges(compressor),
        "sections": lambda: sections(compressor),
        "lines": lambda: lines(compressor, texts),
        "atoms": lambda: atoms(compressor, 40 * texts),
        "corrections": lambda: corrections(compressor),
        "attacks": lambda: attacks(compressor, data, limit) if data else {},
        "repetitions": lambda: repeated_lines(compressor, lined, limit // 3),
    }
    path = output or RESULTS / "truth.json"
    payload: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    settings = {"model": model, "limit": limit, "texts": texts}
    for name in chosen:
        payload[name] = measures[name]()
        measured = {**payload.get("measured", {}), name: {**settings, "git_revision": environment()["git_revision"]}}
        payload |= {"environment": environment(), "measured": measured}
        path.write_text(f"{json.dumps(payload, indent=1)}\n", encoding="utf-8")
        print(name, flush=True)


if __name__ == "__main__":
    command_line.start(main)

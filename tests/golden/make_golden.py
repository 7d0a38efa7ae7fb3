"""What the bundled model in fp32 makes of a few texts, as a file that people can read.

    python tests/golden/make_golden.py

writes `golden.json` and prints what changed. Do it when a change of the outputs is wanted, and say in the commit's
message why each change is right. Values that differ by rounding only are left as they are.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, Case

from moos_integrations import CompressionResult, CompressorConfig, ContextCompressor, SegmentedText, WordScores
from moos_integrations.core.explain import Explanation
from moos_integrations.core.reasons import UnitExplanation
from moos_integrations.core.types import FloatArray, Scorer

GOLDEN = Path(__file__).with_name("golden.json")
TOLERANCE = 2e-3
"""Of a value with three decimals: rounding may differ by one in the last, and CPUs by some 1e-5."""
NOISE = 1e-4
"""In log-odds: ten times what the scores of two CPUs differ by."""
_VALUE = re.compile(r"(?<![\w.])-?\d+\.\d{3}(?![\w.])")


def main() -> None:
    """Write the snapshot and print the changes."""
    compressor = ContextCompressor.from_pretrained(dtype="float32", device="cpu")
    if shaky := {name: ways for name, case in CASES.items() if (ways := unstable(compressor, case))}:
        raise SystemExit(f"What is kept hangs on rounding; choose other targets or texts: {shaky}.")
    old = read()
    new = {name: settled(snapshot(compressor, case), old.get(name)) for name, case in CASES.items()}
    GOLDEN.write_text(as_text(new), encoding="utf-8")
    sys.stdout.write("".join(changes(old, new)) or "Nothing has changed.\n")


def read() -> dict[str, Any]:
    """The snapshot by name of the case; empty if there is none."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    return found


def as_text(value: Any) -> str:
    """JSON, as it stands in the file."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def changes(old: Any, new: Any) -> list[str]:
    """A unified diff of two snapshots."""
    lines = (as_text(value).splitlines(keepends=True) for value in (old, new))
    return list(difflib.unified_diff(*lines, "snapshot", "now", n=2))


def settled(new: Any, old: Any) -> Any:
    """The new snapshot, with the old one's lines of values wherever they differ by less than the tolerance."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: settled(value, old.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [settled(*pair) for pair in zip(new, old, strict=True)]
    return old if isinstance(new, str) and isinstance(old, str) and _same(new, old) else new


def _same(new: str, old: str) -> bool:
    if _VALUE.sub("#", new) != _VALUE.sub("#", old):
        return False
    values = zip(_VALUE.findall(new), _VALUE.findall(old), strict=True)
    return all(abs(float(one) - float(other)) <= TOLERANCE + 1e-9 for one, other in values)


# --- what is looked at -----------------------------------------------------------------------------------------------


def results(scorer: Scorer, case: Case) -> Iterator[tuple[str, CompressionResult]]:
    """Each way to compress the case, by name."""
    own = ContextCompressor(scorer, CompressorConfig(**case.settings))
    texts = list(case.texts)
    for name, target in case.plain.items():
        yield f"no question, {name}", own.compress(texts, **target)
    for name, target in case.asked.items():
        yield f"question, {name}", own.compress(texts, case.question, **target)


def snapshot(compressor: ContextCompressor, case: Case) -> dict[str, Any]:
    """Everything that users see of the case's results, as lines of text."""
    found: dict[str, Any] = {"question": case.question}
    for name, result in results(compressor.scorer, case):
        asked = name.startswith("question")
        found.setdefault(f"words, {'question' if asked else 'no question'}", word_lines(result.explain()))
        if units := unit_lines(result.explain()):
            found.setdefault(f"units, {'question' if asked else 'no question'}", units)
        found[name] = outcome(result)
    return found


def outcome(result: CompressionResult) -> dict[str, Any]:
    """What was kept, and the counts."""
    explanation = result.explain()
    reasons = sorted({(not word.kept, word.reason) for word in explanation})
    return {
        "tokens": f"{result.original_tokens} -> {result.kept_tokens}, {result.protected_tokens} protected",
        "documents": [f"{doc.original_tokens} -> {doc.kept_tokens}" for doc in result.documents],
        "order": " ".join(map(str, result.order)),
        "warnings": [warning.kind for warning in result.warnings],
        "text": result.text.splitlines(),
        "spans": [" ".join(f"{start}-{end}" for start, end in doc.spans) for doc in result.documents],
        "dropped units": [" ".join(f"{start}-{end}" for start, end in doc.dropped_units) for doc in result.documents],
        "reasons": [f"{'dropped' if dropped else 'kept'}: {reason}" for dropped, reason in reasons],
        "cut": f"{explanation.quantity} {explanation.cutoff:.3f}",
    }


def word_lines(explanation: Explanation) -> list[str]:
    """The words of a document with their preserve probability, some on a line."""
    lines = []
    for _, words in groupby(explanation, key=lambda word: (word.document, word.start // 100)):
        lines.append("  ".join(f"{word.text[:40]} {word.preserve_probability:.3f}" for word in words))
    return lines


def unit_lines(explanation: Explanation) -> list[str]:
    """The units with what they gain."""
    return [_unit_line(unit) for unit in explanation.units]


def _unit_line(unit: UnitExplanation) -> str:
    against = "" if unit.against is None else f" against {unit.against}"
    under = "" if unit.under is None else f" under {unit.under}"
    repeated = " repeated" if unit.repetition else ""
    return (
        f"{' '.join(unit.text.split())[:50]}: relevance {unit.relevance:.3f} redundancy {unit.redundancy:.3f}{against}"
        f"{repeated} gain {unit.gain:.3f} share {unit.share:.3f}{under}"
    )


# --- is it stable? ---------------------------------------------------------------------------------------------------


class Noisy:
    """A scorer with some rounding more: log-odds off by ten times what two CPUs differ by."""

    def __init__(self, scorer: Scorer, seed: int) -> None:
        """Wrap a scorer."""
        self._scorer, self._random = scorer, np.random.default_rng(seed)

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Scores of the scorer, each a little off."""
        return [self._off(scores) for scores in self._scorer.score(documents, query)]

    def _off(self, scores: WordScores) -> WordScores:
        preserve = self._moved(scores.preserve)
        near, vectors = scores.unit_similarity, scores.unit_vectors
        return replace(
            scores,
            preserve=preserve,
            metric=preserve,
            passage_probability=float(self._moved(np.array(scores.passage_probability))),
            unit_similarity=None if near is None else near + self._noise(near.shape),
            unit_vectors=None if vectors is None else vectors * (1 + self._noise(vectors.shape)),
        )

    def _moved(self, probability: FloatArray) -> FloatArray:
        odds = probability / (1 - probability) * np.exp(self._noise(probability.shape))
        return np.asarray(odds / (1 + odds))

    def _noise(self, shape: tuple[int, ...]) -> FloatArray:
        return self._random.normal(scale=NOISE, size=shape)


def unstable(compressor: ContextCompressor, case: Case) -> list[str]:
    """Ways to compress the case whose spans hang on rounding: choose another target for them."""
    found = []
    expected = {name: spans_of(result) for name, result in results(compressor.scorer, case)}
    for seed in range(5):
        noisy = results(Noisy(compressor.scorer, seed), case)
        found += [name for name, result in noisy if spans_of(result) != expected[name]]
    return sorted(set(found))


def spans_of(result: CompressionResult) -> list[Any]:
    """What must be the same on every machine."""
    return [result.order, result.kept_tokens, *(document.spans for document in result)]


if __name__ == "__main__":
    main()

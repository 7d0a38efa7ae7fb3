"""Encoder, reader, and both: which answers are kept, and what a question costs.

    python cookbook/benchmarks/run_two_stages.py --data DIR --data DIR/dev --scores CACHE

One row per set: the share of the answers that is kept at 25, 12.5, 6.25 and 3.125 % of the tokens, by the same
selection and counting. What differs is the relevance of sentences: the reader's, the encoder's cosines, a fixed sum of
both, and a sum whose weights depend on the question (`core.voices`). These weights are fitted here on one half of the
questions of all sets and measured on the other half, both ways; what is in the package is fitted on all of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import RESULTS, write_result
from moos_benchmarks import command_line
from moos_benchmarks.budgets import COMPARED, Case
from run_recall_by_kind import questions

from moos_integrations import ContextCompressor
from moos_integrations.core.lexical import statement
from moos_integrations.core.marginal_gain import unit_relevance
from moos_integrations.core.ordering import Order, order
from moos_integrations.core.table import Table
from moos_integrations.core.tokens import token_counter
from moos_integrations.core.types import BoolArray, FloatArray, WordScores
from moos_integrations.core.voices import FIRST, MOST, request_features
from moos_integrations.evaluation.metrics import normalise, survives
from moos_integrations.records import Question

SETS = {
    "nq_20docs": 60,
    "hotpotqa": 60,
    "musique": 60,
    "2wikimqa": 60,
    "mixed_10docs_en": 60,
    "tatqa_tables": 60,
    "wikitablequestions": 60,
    "code_questions": 40,
    "tool_output": 60,
    "records": 60,
    "covidqa_long": 30,
    "time_sensitive_qa": 40,
}
BUDGETS = (0.25, 0.125, 0.0625, 0.03125)
FIXED = {"fixed sum, 5 and 5": (5.0, 5.0), "fixed sum": FIRST, "fixed sum, 40 and 0": (40.0, 0.0)}
_STEPS, _DECAY = 400, 0.02


@dataclass(frozen=True, eq=False)
class Asked:
    """A question with all that the methods need.

    Attributes:
        question: The question.
        case: Its documents, scored.
    """

    question: Question
    case: Case

    @cached_property
    def reader(self) -> FloatArray:
        """Relevance of units by the reader alone, matching terms included. Shape: `(units,)`."""
        table = self.with_scores(cosines=None, gates=None)
        terms = COMPARED.gains.lexical_weight * table.term_match(self.question.question)
        return np.asarray(unit_relevance(table) + terms)

    @cached_property
    def features(self) -> FloatArray:
        """What the weights may depend on. Shape: `(features,)`."""
        table = self.with_scores(cosines=None, gates=None)
        asked = len(statement(self.question.question))
        return request_features(self.cosines, self.case.table.document_of_unit, unit_relevance(table), asked)

    @property
    def cosines(self) -> FloatArray:
        """Of the question with passages and units. Shape: `(units, 2)`."""
        found = self.case.table.cosines
        return np.zeros((self.case.table.units, 2)) if found is None else found

    @cached_property
    def needed(self) -> BoolArray:
        """Units with marked evidence, or, where none is marked, with an answer. Shape: `(units,)`."""
        flags = []
        for document, source in zip(self.case.pool.documents, self.question.documents, strict=True):
            spans = list(zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True))
            flags += [any(a < end and b > start for a, b in source.evidence) for start, end in spans]
        marked = np.array(flags, bool)
        return marked if marked.any() else self.with_answer

    @cached_property
    def with_answer(self) -> BoolArray:
        """Units that have an answer word by word. Shape: `(units,)`."""
        texts = [
            document.text[start:end]
            for document in self.case.pool.documents
            for start, end in zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
        ]
        return np.array([survives(self.question.answers, normalise(text)) for text in texts], bool)

    def with_scores(self, **changed: Any) -> Table:
        """The table with other scores."""
        table = self.case.table
        return Table.of(table.texts, [replace(own, **changed) for own in table.scores])

    def order(self, method: str, weights: FloatArray | None) -> Order:
        """The order of a method; `weights` are those of the two cosines, None for the reader or the encoder alone."""
        nothing = np.zeros(self.case.table.documents)
        if method == "reader":
            table = self.with_scores(cosines=None, gates=None)
        elif method == "encoder":
            table = self._by_encoder()
        elif weights is None:
            table = self.case.table
        else:
            table = self._weighted(weights)
        return order(table, COMPARED, self.question.question, nothing)

    def _weighted(self, weights: FloatArray) -> Table:
        table = self.case.table
        scores = [
            replace(own, gates=None if own.cosines is None else np.tile(weights, (len(own.cosines), 1)))
            for own in table.scores
        ]
        return Table.of(table.texts, scores)

    def _by_encoder(self) -> Table:
        table = self.case.table
        return Table.of(table.texts, [_without_reader(own) for own in table.scores])

    def kept(self, method: str, weights: FloatArray | None) -> list[float]:
        """What is kept at each budget."""
        made = self.order(method, weights)
        total = self.case.output.original_tokens
        return [self.case.outcome(made, int(budget * total + 1e-9)) for budget in BUDGETS]


def _without_reader(scores: WordScores) -> WordScores:
    flat = np.full(len(scores.metric), 0.5)
    gates = None if scores.cosines is None else np.tile(np.array(MOST), (len(scores.cosines), 1))
    blank = WordScores.from_preserve(flat)
    return replace(blank, cosines=scores.cosines, gates=gates, unit_vectors=scores.unit_vectors)


# --- fitting ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """Weights of the cosines as a function of the features: `MOST * sigmoid(weight @ scaled features + bias)`."""

    mean: FloatArray
    spread: FloatArray
    weight: FloatArray
    bias: FloatArray

    def of(self, features: FloatArray) -> FloatArray:
        """The two weights of a request."""
        values = self.weight @ ((features - self.mean) / self.spread) + self.bias
        return np.asarray(np.array(MOST) / (1 + np.exp(-values)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the scaling of the features is part of weight and bias."""
        weight = self.weight / self.spread
        return {
            "weight": np.round(weight, 4).tolist(),
            "bias": np.round(self.bias - weight @ self.mean, 4).tolist(),
        }


def fit(members: Sequence[Asked], share_of: Mapping[int, float]) -> Fitted:
    """Fit by a listwise loss: `-log softmax` of each needed unit against those that are not needed.

    Args:
        members: The questions.
        share_of: Weight of each question, by its place: every set counts alike.
    """
    usable = [index for index, own in enumerate(members) if own.needed.any() and not own.needed.all()]
    features = np.stack([members[index].features for index in usable])
    mean, spread = features.mean(0), features.std(0) + 1e-6
    scaled = torch.tensor((features - mean) / spread, dtype=torch.float64)
    rows = [
        (torch.tensor(own.reader), torch.tensor(own.cosines), torch.tensor(own.needed), share_of[index])
        for index, own in ((index, members[index]) for index in usable)
    ]
    weight = torch.zeros(2, features.shape[1], dtype=torch.float64, requires_grad=True)
    first = [np.log(one / (most - one)) for one, most in zip(FIRST, MOST, strict=True)]
    bias = torch.tensor(first, dtype=torch.float64, requires_grad=True)
    heat = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias, heat], lr=0.03)
    most = torch.tensor(MOST, dtype=torch.float64)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        gates = most * (scaled @ weight.T + bias).sigmoid()
        losses = []
        for (reader, cosines, needed, share), gate in zip(rows, gates, strict=True):
            values = heat.exp() * (reader + cosines @ gate)
            others = torch.logsumexp(values[~needed], 0)
            losses.append(share * (torch.logaddexp(values[needed], others) - values[needed]).mean())
        loss = torch.stack(losses).sum() + _DECAY * weight.square().sum()
        loss.backward()
        optimiser.step()
    return Fitted(mean, spread, weight.detach().numpy(), bias.detach().numpy())


def shares(names: Sequence[str]) -> dict[int, float]:
    """The weight of each question: every set counts alike, all together 1."""
    counts = {name: names.count(name) for name in set(names)}
    return {index: 1 / (len(counts) * counts[name]) for index, name in enumerate(names)}


# --- measuring --------------------------------------------------------------------------------------------------------


def two_fold(members: Sequence[Asked], names: Sequence[str]) -> list[FloatArray]:
    """The weights of each question by a fit on the other half."""
    halves = [[index for index in range(len(members)) if index % 2 == half] for half in (0, 1)]
    found: dict[int, FloatArray] = {}
    for fitted_on, measured in (halves, halves[::-1]):
        chosen = [names[index] for index in fitted_on]
        model = fit([members[index] for index in fitted_on], shares(chosen))
        found |= {index: model.of(members[index].features) for index in measured}
    return [found[index] for index in range(len(members))]


def row(members: Sequence[Asked], fitted: Sequence[FloatArray] | None) -> dict[str, Any]:
    """What is kept of one set by each method."""
    methods: dict[str, list[list[float]]] = {}
    for place, own in enumerate(members):
        given: dict[str, FloatArray | None] = {"reader": None, "encoder": None, "as in the package": None}
        given |= {name: np.array(weights) for name, weights in FIXED.items()}
        if fitted is not None:
            given["fitted"] = fitted[place]
        for name, weights in given.items():
            methods.setdefault(name, []).append(own.kept(name, weights))
    kept = {name: [round(fmean(column), 4) for column in zip(*rows, strict=True)] for name, rows in methods.items()}
    found: dict[str, Any] = {"questions": len(members), "kept": kept}
    if fitted is not None:
        found["weights"] = [round(float(own), 1) for own in np.median(np.stack(fitted), 0)]
    return found


def seconds(compressor: ContextCompressor, texts: Sequence[str], query: str, times: int = 5) -> float:
    """The median time of a call whose question is new."""
    found = []
    for turn in range(times):
        start = time.perf_counter()
        compressor.compress(list(texts), f"{query} ({turn})", rate=0.25)
        found.append(time.perf_counter() - start)
    return median(found)


def timed(model: str, encoder: str | None, question: Question) -> dict[str, float]:
    """Milliseconds of a question over twenty passages: the reader alone, and with the encoder, passages new or known.

    The kinds of calls take turns, so that other work on the machine slows them alike.
    """
    texts = [" ".join(document.text.split()[:150]) for document in question.documents][:20]
    plain = ContextCompressor.from_pretrained(model, encoder=None, cache_bytes=0)
    both = ContextCompressor.from_pretrained(model, encoder=encoder, cache_bytes=0)
    known = ContextCompressor.from_pretrained(model, encoder=encoder)
    known.precompute(texts)
    found: dict[str, list[float]] = {}
    for turn in range(4):
        for name, own in (("reader", plain), ("both, new passages", both), ("both, known passages", known)):
            found.setdefault(name, []).append(seconds(own, texts, f"{question.question} {turn}", 1))
    return {name: round(1000 * min(values), 1) for name, values in found.items()}


def main(
    data: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder with data sets; repeatable.")],
    model: Annotated[str, typer.Option(help="The reader.")] = command_line.DEFAULT_MODEL,
    encoder: Annotated[str, typer.Option(help="The encoder; 'own' for the reader's own.")] = "all-MiniLM-L6-v2",
    name: Annotated[str, typer.Option(help="Of this pair in the result file.")] = "bundled reader",
    sets: Annotated[list[str] | None, typer.Option(help="Some of the sets; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="Most questions per set; 0 for the usual ones.")] = 0,
    scores: Annotated[Path | None, typer.Option(help="Folder that keeps scores.")] = None,
    fitting: Annotated[bool, typer.Option(help="Fit weights on half of the questions, measure on the other.")] = True,
    timing: Annotated[bool, typer.Option(help="Measure milliseconds too.")] = False,
) -> None:
    """Compare the two stages, alone and together."""
    own = None if encoder == "own" else encoder
    cache = None if scores is None else str(scores)
    compressor = ContextCompressor.from_pretrained(model, encoder=own, cache_dir=cache, cache_bytes=2**26)
    counter = token_counter("o200k_base")
    members: list[Asked] = []
    names: list[str] = []
    for one in command_line.chosen(sets, list(SETS)):
        found = questions(data, one, limit or SETS[one])
        members += [Asked(question, Case.of(question, compressor.scorer, counter)) for question in found]
        names += [one] * len(found)
        typer.echo(f"{one}: {len(found)} questions scored.")
    fitted = two_fold(members, names) if fitting else None
    rows = {}
    for one in dict.fromkeys(names):
        places = [index for index, other in enumerate(names) if other == one]
        chosen = None if fitted is None else [fitted[index] for index in places]
        rows[one] = row([members[index] for index in places], chosen)
        typer.echo(f"{one}: {json.dumps(rows[one])}")
    payload: dict[str, Any] = {"encoder": encoder, "sets": rows, "mean": mean_of(rows)}
    if fitting:
        payload["package"] = fit(members, shares(names)).to_dict()
    if timing:
        payload["milliseconds"] = timed(model, own, members[0].question)
    print(write_result("two_stages", {"budgets": BUDGETS, "versions": {**earlier(), name: payload}}))


def mean_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """The mean over the sets, by method."""
    methods = next(iter(rows.values()))["kept"]
    return {
        name: [round(fmean(column), 4) for column in zip(*(own["kept"][name] for own in rows.values()), strict=True)]
        for name in methods
    }


def earlier() -> dict[str, Any]:
    """Rows of other pairs."""
    path = RESULTS / "two_stages.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["versions"]) if path.is_file() else {}


if __name__ == "__main__":
    command_line.start(main)

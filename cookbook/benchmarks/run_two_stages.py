"""Encoder, reader, and both: which answers are kept, and what a question costs.

    python cookbook/benchmarks/run_two_stages.py --data DIR --data DIR/dev --scores CACHE --rows ROWS

One row per set: the share of the answers that is kept if whole sentences and lines are taken, the most relevant first,
until 25, 12.5, 6.25 and 3.125 % of the tokens are used. Where the answer is in no sentence as a whole, it is the share
of the sentences with marked evidence. What differs is the relevance: the reader's (matching terms included), the
encoder's cosines, fixed sums of both, that of a model's learnt gate if it has one, and a sum whose weights depend on
the question. These are fitted here on one half of the questions of all sets and measured on the other half, both ways.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import RESULTS, write_result
from moos_benchmarks import command_line
from moos_benchmarks.budgets import COMPARED, Case, read_set
from moos_benchmarks.data import data_file
from run_recall_by_kind import questions

from moos_integrations import ContextCompressor
from moos_integrations.core.answering import ENCODER, READER
from moos_integrations.core.documents import features_of
from moos_integrations.core.lexical import statement
from moos_integrations.core.marginal_gain import reader_relevance
from moos_integrations.core.tokens import token_counter
from moos_integrations.core.types import BoolArray, FloatArray
from moos_integrations.core.voices import BESIDE, MOST
from moos_integrations.errors import InputError
from moos_integrations.evaluation.metrics import normalise, survives
from moos_integrations.records import Question

SETS = {
    "nq_20docs": 60,
    "hotpotqa": 60,
    "musique": 60,
    "2wikimqa": 60,
    "tatqa_tables": 60,
    "code_questions": 40,
    "tool_output": 60,
}
WITHOUT_ANSWER = {"tool_output": 25}
BUDGETS = (0.25, 0.125, 0.0625, 0.03125)
FIXED = {f"fixed sum, {own[0]:g} and {own[1]:g}": own for own in ((5.0, 0.0), BESIDE, (15.0, 5.0), (40.0, 0.0))}
_STEPS, _RATE, _DECAY = 400, 0.05, 0.01
_LONGEST, _WIDEST = 40, 20.0  # words of a question; log-odds by which the reader's best passage can lead


@dataclass(frozen=True, eq=False)
class Row:
    """A question with all that is measured.

    Attributes:
        name: Of its set; with ", without answer" for one that was made so.
        reader: Relevance of units by the reader, matching terms included. Shape: `(units,)`.
        cosines: Of the question with passages and units. Shape: `(units, 2)`.
        gates: Weights of the cosines by the model's own gate; None if it has none. Shape: `(units, 2)`.
        needed: Units with marked evidence, or, where none is marked, with an answer. Shape: `(units,)`.
        with_answer: Units that have an answer word by word. Shape: `(units,)`.
        cost: Tokens. Shape: `(units,)`.
        features: What the weights may depend on. Shape: `(features,)`.
        documents: Features of documents by kind of calibration. Shape of each: `(documents, features)`.
        answers: Documents that answer. Shape: `(documents,)`.
    """

    name: str
    reader: FloatArray
    cosines: FloatArray
    gates: FloatArray | None
    needed: BoolArray
    with_answer: BoolArray
    cost: FloatArray
    features: FloatArray
    documents: dict[str, FloatArray]
    answers: BoolArray

    @classmethod
    def of(cls, name: str, question: Question, case: Case) -> Row:
        """Look at a scored question."""
        table = case.table
        reader = reader_relevance(table)
        cosines = np.zeros((table.units, 2)) if table.cosines is None else table.cosines
        marked, with_answer = _units(question, case)
        documents = np.array([bool(document.evidence) for document in question.documents])
        if not documents.any():
            documents = np.array([survives(question.answers, normalise(own.text)) for own in question.documents])
        return cls(
            name=name,
            reader=reader + COMPARED.gains.lexical_weight * table.term_match(question.question),
            cosines=cosines,
            gates=table.gates,
            needed=marked if marked.any() else with_answer,
            with_answer=with_answer,
            cost=np.maximum(table.unit_cost, 1).astype(float),
            features=request_features(cosines, table.document_of_unit, reader, len(statement(question.question))),
            documents={kind: features_of(table, encoder=kind == ENCODER) for kind in (READER, ENCODER)},
            answers=documents,
        )

    def kept(self, relevance: FloatArray) -> list[float]:
        """What is kept at each budget."""
        order = np.argsort(-relevance, kind="stable")
        upto = np.cumsum(self.cost[order])
        found = []
        for budget in BUDGETS:
            taken = order[upto <= budget * upto[-1]]
            share = float(self.needed[taken].sum() / max(self.needed.sum(), 1))
            found.append(float(self.with_answer[taken].any()) if self.with_answer.any() else share)
        return found


def request_features(cosines: FloatArray, documents: Any, reader: FloatArray, asked: int) -> FloatArray:
    """What tells a question that one passage answers from one that needs several: how cosines and reader are spread.

    Args:
        cosines: Of the question with passages and units. Shape: `(units, 2)`.
        documents: The document of each unit. Shape: `(units,)`.
        reader: Relevance of the units by the reader alone. Shape: `(units,)`.
        asked: Words of the question.

    Returns:
        The best passage's cosine, how much the second has less, and their standard deviation; how much the reader's
        second passage has less than its best, and the correlation of both over passages; the logarithms of the
        numbers of passages and of words of the question. Shape: `(7,)`.
    """
    if not len(cosines):
        return np.zeros(7)
    passage = np.unique(np.stack([documents, cosines[:, 0]], 1), axis=0, return_inverse=True)[1].reshape(-1)
    count, words = int(passage.max()) + 1, np.log(max(min(asked, _LONGEST), 1))
    near, read = np.full(count, -np.inf), np.full(count, -np.inf)
    np.maximum.at(near, passage, cosines[:, 0])
    np.maximum.at(read, passage, reader)
    if count == 1:
        return np.array([near[0], 0.0, 0.0, 0.0, 0.0, 0.0, words])
    best, lead = np.sort(near)[::-1], np.sort(read)[::-1]
    spread = near.std() * read.std()
    agree = float(((near - near.mean()) * (read - read.mean())).mean() / spread) if spread > 0 else 0.0
    gap = min(float(lead[0] - lead[1]), _WIDEST)
    return np.array([best[0], best[0] - best[1], near.std(), gap, agree, np.log(count), words])


def _units(question: Question, case: Case) -> tuple[BoolArray, BoolArray]:
    """Units with marked evidence, and units with an answer."""
    marked, answers = [], []
    for document, source in zip(case.pool.documents, question.documents, strict=True):
        for start, end in zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True):
            marked.append(any(first < end and last > start for first, last in source.evidence))
            answers.append(survives(question.answers, normalise(document.text[start:end])))
    return np.array(marked, bool), np.array(answers, bool)


def rows_of(
    compressor: ContextCompressor,
    data: Sequence[Path],
    name: str,
    folder: Path | None,
    key: str,
    every: int = 1,
) -> list[Row]:
    """The rows of a set, those without an answer last; kept in a folder, if one is named."""
    limit = SETS[name]
    path = None if folder is None else folder / f"{key}-{name}-{limit}{f'-{every}' if every > 1 else ''}.pickle"
    if path is not None and path.is_file():
        with path.open("rb") as file:
            return list(pickle.load(file))  # written by this script
    counter = token_counter("o200k_base")
    members = [(name, own) for own in questions(data, name, limit)[::every]]
    if name in WITHOUT_ANSWER:
        members += [(f"{name}, without answer", own) for own in unanswerable(data, name, WITHOUT_ANSWER[name])[::every]]
    found = [Row.of(label, own, Case.of(own, compressor.scorer, counter)) for label, own in members]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(found))
    return found


def unanswerable(folders: Sequence[Path], name: str, limit: int) -> list[Question]:
    """Questions of a set that were made without an answer in the text."""
    for folder in folders:
        try:
            data_file(folder, name)
        except InputError:
            continue
        found = [own for own in read_set(folder, name) if list(own.answers) == ["unanswerable"]]
        return found[:: max(1, len(found) // limit)][:limit]
    return []


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


def fit(members: Sequence[Row]) -> Fitted:
    """Fit by a listwise loss: `-log softmax` of each needed unit against those that are not needed.

    Every set counts alike.
    """
    usable = [own for own in members if own.needed.any() and not own.needed.all()]
    features = np.stack([own.features for own in usable])
    mean, spread = features.mean(0), features.std(0) + 1e-6
    scaled, share = torch.tensor((features - mean) / spread), torch.tensor(shares([own.name for own in usable]))
    reader, cosines = _padded([own.reader for own in usable]), _padded([own.cosines for own in usable])
    needed = _padded([own.needed for own in usable])
    real = _padded([np.ones(len(own.needed), bool) for own in usable])
    weight = torch.zeros(2, features.shape[1], dtype=torch.float64, requires_grad=True)
    first = [np.log(one / (most - one)) for one, most in zip(BESIDE, MOST, strict=True)]
    bias = torch.tensor(first, dtype=torch.float64, requires_grad=True)
    heat = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias, heat], lr=_RATE)
    most = torch.tensor(MOST, dtype=torch.float64)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        gates = most * (scaled @ weight.T + bias).sigmoid()
        values = heat.exp() * (reader + torch.einsum("nuw,nw->nu", cosines, gates))
        others = torch.logsumexp(values.masked_fill(needed | ~real, -torch.inf), 1, keepdim=True)
        losses = ((torch.logaddexp(values, others) - values) * needed).sum(1) / needed.sum(1)
        loss = (share * losses).sum() + _DECAY * weight.square().sum()
        loss.backward()
        optimiser.step()
    return Fitted(mean, spread, weight.detach().numpy(), bias.detach().numpy())


def _padded(columns: Sequence[Any]) -> torch.Tensor:
    """Arrays of different lengths side by side, with zeros behind. Shape: `(arrays, longest, ...)`."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.ascontiguousarray(own)) for own in columns], True)


def shares(names: Sequence[str]) -> list[float]:
    """The weight of each question: every set counts alike, all together 1."""
    counts = {name: names.count(name) for name in set(names)}
    return [1 / (len(counts) * counts[name]) for name in names]


# --- measuring --------------------------------------------------------------------------------------------------------


def two_fold(members: Sequence[Row]) -> list[FloatArray]:
    """The weights of each question by a fit on the other half."""
    halves = [[index for index in range(len(members)) if index % 2 == half] for half in (0, 1)]
    found: dict[int, FloatArray] = {}
    for fitted_on, measured in (halves, halves[::-1]):
        model = fit([members[index] for index in fitted_on])
        found |= {index: model.of(members[index].features) for index in measured}
    return [found[index] for index in range(len(members))]


def kept_by(own: Row, fitted: FloatArray | None) -> dict[str, list[float]]:
    """What each method keeps of a question."""
    relevance = {"reader": own.reader, "encoder": own.cosines @ np.array(MOST)}
    relevance |= {name: own.reader + own.cosines @ np.array(weights) for name, weights in FIXED.items()}
    if own.gates is not None:
        relevance["learnt gate"] = own.reader + (own.gates * own.cosines).sum(1)
    if fitted is not None:
        relevance["fitted on the other half"] = own.reader + own.cosines @ fitted
    return {name: own.kept(values) for name, values in relevance.items()}


def measured(members: Sequence[Row], fitted: Sequence[FloatArray | None]) -> dict[str, Any]:
    """What is kept of one set by each method, and the median weights."""
    rows = [kept_by(own, weights) for own, weights in zip(members, fitted, strict=True)]
    kept = {
        name: [round(fmean(column), 4) for column in zip(*(row[name] for row in rows), strict=True)] for name in rows[0]
    }
    found: dict[str, Any] = {"questions": len(members), "kept": kept}
    known = [own for own in fitted if own is not None]
    if known:
        found["fitted weights"] = [round(float(own), 1) for own in np.median(np.stack(known), 0)]
    gates = [own.gates.mean(0) for own in members if own.gates is not None]
    if gates:
        found["learnt weights"] = [round(float(own), 1) for own in np.median(np.stack(gates), 0)]
    return found


def timed(model: str, encoder: str | None, question: Question) -> dict[str, float]:
    """Milliseconds of a question over twenty passages: the reader alone, and with the encoder, passages new or known.

    The kinds of calls take turns, so that other work on the machine slows them alike; the least of each counts. The
    reader alone is that of the bundled model, which has the same size.
    """
    texts = [" ".join(document.text.split()[:150]) for document in question.documents][:20]
    calls = {
        "reader": ContextCompressor.from_pretrained(cache_bytes=0),
        "both, new passages": ContextCompressor.from_pretrained(model, encoder=encoder, cache_bytes=0),
        "both, known passages": ContextCompressor.from_pretrained(model, encoder=encoder),
    }
    calls["both, known passages"].precompute(texts)
    found: dict[str, list[float]] = {}
    for turn in range(4):
        for name, own in calls.items():
            start = time.perf_counter()
            own.compress(texts, f"{question.question} ({turn})", rate=0.25)
            found.setdefault(name, []).append(time.perf_counter() - start)
    return {name: round(1000 * min(values), 1) for name, values in found.items()}


def main(
    data: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder with data sets; repeatable.")],
    model: Annotated[str, typer.Option(help="The reader.")] = command_line.DEFAULT_MODEL,
    encoder: Annotated[str, typer.Option(help="The encoder; 'own' for the reader's own.")] = "all-MiniLM-L6-v2",
    name: Annotated[str, typer.Option(help="Of this pair in the result file.")] = "bundled reader",
    sets: Annotated[list[str] | None, typer.Option(help="Some of the sets; repeatable.")] = None,
    every: Annotated[int, typer.Option(help="Take each N-th of the usual questions only.")] = 1,
    scores: Annotated[Path | None, typer.Option(help="Folder that keeps scores.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Folder that keeps what is made of them.")] = None,
    fitting: Annotated[bool, typer.Option(help="Fit weights on half of the questions, measure on the other.")] = True,
    timing: Annotated[bool, typer.Option(help="Measure milliseconds too.")] = False,
) -> None:
    """Compare the two stages, alone and together."""
    own = None if encoder == "own" else encoder
    cache = None if scores is None else str(scores)
    compressor = ContextCompressor.from_pretrained(model, encoder=own, cache_dir=cache, cache_bytes=2**26, lazy=True)
    chosen = command_line.chosen(sets, list(SETS))
    key = f"{Path(model).name}-{Path(encoder).name}"
    found = [row for one in chosen for row in rows_of(compressor, data, one, rows, key, every)]
    members = [row for row in found if row.name in SETS]
    fitted = two_fold(members) if fitting else [None] * len(members)
    table = {}
    for one in chosen:
        places = [index for index, row in enumerate(members) if row.name == one]
        table[one] = measured([members[index] for index in places], [fitted[index] for index in places])
        typer.echo(f"{one}: {json.dumps(table[one])}")
    payload: dict[str, Any] = {"encoder": encoder, "sets": table, "mean": mean_of(table)}
    typer.echo(json.dumps(payload["mean"]))
    if timing:
        payload["milliseconds"] = timed(model, own, questions(data, chosen[0], 1)[0])
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

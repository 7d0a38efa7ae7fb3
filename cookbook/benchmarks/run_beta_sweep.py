"""What the inter-class cosine term does: short trainings that differ in `beta` and seed alone.

    python cookbook/benchmarks/run_beta_sweep.py --data DIR --models DIR

Each run reads the same examples (query-free, `Mix()`), for `--steps` steps. Of each trained model: the inter-class
cosine of every layer on passages of held-out articles (the over-smoothing curve, embeddings first), and query-free
answer recall in and out of domain, with the plain classifier (`alpha = 1`) and with the outlier term (`alpha = 0.95`),
beside the paired difference to `beta = 0` with the same seed and `alpha = 1`: LLMLingua-2's method on the same data.

Model folders found under `--models` (`bBETA-sSEED/model`) are measured, the others trained first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.card import card_of
from moos_benchmarks.mix import load, query_free, squad_paragraphs
from moos_benchmarks.recall import (
    IN_DOMAIN,
    OUT_OF_DOMAIN,
    RATES,
    SETS,
    Recall,
    Stored,
    measure_recall,
    model_scores,
    read_set,
)
from moos_benchmarks.train import MixRecipe, folder_of
from tqdm import tqdm
from transformers import AutoModelForTokenClassification, AutoTokenizer

from moos_integrations.core.hub import load_classifier
from moos_integrations.evaluation.metrics import paired
from moos_integrations.training.examples import Example
from moos_integrations.training.trainer import Collator, cosine_per_layer, encode, fit, save, start

BETAS = (0.0, 0.01, 0.05, 0.1, 0.3, 1.0)
SEEDS = (0, 1)
ALPHAS = (1.0, 0.95)
STATISTIC = "class_diag"
_PROBED = 128
Key = tuple[str, str, str]
"""Set, rate and alpha."""


def recipe_of(beta: float, seed: int, steps: int) -> MixRecipe:
    """The short training."""
    warmup, decay = steps // 16, steps // 2
    return MixRecipe(beta=beta, seed=seed, max_steps=steps, batch_size=16, warmup_steps=warmup, decay_steps=decay)


def train_missing(data: Path, models: Path, steps: int) -> None:
    """Train what is not there yet, all on the same examples."""
    missing = [(beta, seed) for seed in SEEDS for beta in BETAS if not (folder(models, beta, seed)).is_dir()]
    if not missing:
        return
    first = recipe_of(0.0, 0, steps)
    groups, held_out, _ = load(data, first.mix, folder_of(first.retriever), seed=0)
    probe = [Example(labels) for labels in query_free(squad_paragraphs(held_out))]
    for beta, seed in missing:
        recipe = recipe_of(beta, seed, steps)
        model, tokenizer = start(recipe)
        output = folder(models, beta, seed)
        report = fit(model, tokenizer, groups, probe, recipe, output.parent, lambda _: {})
        save(model, tokenizer, output, report, card_of(report))


def folder(models: Path, beta: float, seed: int) -> Path:
    """Where a run's model is kept."""
    return models / f"b{beta}-s{seed}" / "model"


def recalls(path: Path, passages: dict[str, Any]) -> dict[Key, Recall]:
    """Answer recall of one model on every set."""
    found = {}
    for name, own in passages.items():
        scores = model_scores(load_classifier(str(path)), [passage.text for passage in own], [STATISTIC])[STATISTIC]
        for rate in RATES:
            for alpha in ALPHAS:
                found[name, str(rate), str(alpha)] = measure_recall(own, Stored(scores, alpha), rate)
    return found


def difference(own: dict[Key, Recall], plain: dict[Key, Recall], names: tuple[str, ...], rate: str, alpha: str) -> Any:
    """Recall of a model minus that of `beta = 0`, `alpha = 1`, over the questions of several sets."""
    names = tuple(name for name in names if (name, rate, alpha) in own)
    ours, theirs = ([found[name, rate, a] for name in names] for found, a in ((own, alpha), (plain, "1.0")))
    return paired(
        np.concatenate([each.survived for each in ours]),
        np.concatenate([each.survived for each in theirs]),
        np.concatenate([each.present for each in theirs]),
    )


def measure(data: Path, models: Path, limit: int) -> list[dict[str, Any]]:
    """All runs."""
    passages = {name: list(read_set(data, name, limit)) for name in SETS}
    probe = [Example(labels) for labels in query_free(squad_paragraphs(read_squad_validation(data)))][:_PROBED]
    runs = []
    for seed in SEEDS:
        plain: dict[Key, Recall] = {}
        for beta in tqdm(BETAS, desc=f"seed {seed}"):
            path = folder(models, beta, seed)
            tokenizer = AutoTokenizer.from_pretrained(path)
            rows = encode(probe, tokenizer, 384)
            model = AutoModelForTokenClassification.from_pretrained(path, dtype="float32")
            own = recalls(path, passages)
            plain = plain or own
            runs.append(
                {
                    "beta": beta,
                    "seed": seed,
                    "cosine_per_layer": cosine_per_layer(model, rows, Collator(tokenizer.pad_token_id)),
                    "recall": {
                        alpha: {
                            name: {str(rate): own[name, str(rate), alpha].value for rate in RATES} for name in passages
                        }
                        for alpha in map(str, ALPHAS)
                    },
                    "difference": {
                        alpha: {
                            where: {str(rate): difference(own, plain, names, str(rate), alpha) for rate in RATES}
                            for where, names in (("in_domain", IN_DOMAIN), ("out_of_domain", OUT_OF_DOMAIN))
                        }
                        for alpha in map(str, ALPHAS)
                    },
                }
            )
    return runs


def read_squad_validation(data: Path) -> list[Any]:
    """The passages of the held-out articles, with their questions."""
    from moos_benchmarks.data import articles_held_out, data_file, read_squad

    records = read_squad(data_file(data, "squad_train"))
    titles = articles_held_out(record.title for record in records)
    return [record for record in records if record.title in titles]


def main(
    data: command_line.Data,
    models: Annotated[Path, typer.Option(help="Folder for the trained models.")],
    steps: Annotated[int, typer.Option(help="Training steps of each run.")] = 220,
    limit: Annotated[int, typer.Option(help="Passages per set.")] = 150,
) -> None:
    """Train what is missing, and measure every model."""
    train_missing(data, models, steps)
    runs = measure(data, models, limit)
    settings = {"steps": steps, "passages_per_set": limit, "statistic": STATISTIC}
    print(write_result("beta_sweep", {"settings": settings, "runs": runs}).name)


if __name__ == "__main__":
    command_line.start(main)

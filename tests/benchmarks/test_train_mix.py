"""Trainings on our mix of data sets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from moos_benchmarks.card import card_of
from moos_benchmarks.mix import Mix
from moos_benchmarks.train import Averaged, MixRecipe, train
from test_mix import MIX, data, retriever  # noqa: F401 - fixtures
from transformers import AutoModelForTokenClassification, TrainerState

from moos_integrations import ConfigError
from moos_integrations.training.trainer import OverSmoothing

# --- recipes -------------------------------------------------------------------------------------------------------


def test_a_recipe_goes_to_json_and_back() -> None:
    recipe = MixRecipe(beta=0.3, mix=Mix(questions=7), averaged_with=(Averaged(0.2, MixRecipe(seed=5)),))
    assert MixRecipe.from_json(recipe.to_json()) == recipe
    assert MixRecipe.from_json("{}") == MixRecipe()
    assert MixRecipe.from_json(json.dumps({"recipe": json.loads(recipe.to_json()), "steps": 3})) == recipe
    assert recipe.query_aware
    assert not MixRecipe().query_aware


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "Expected a JSON object of training settings, got list"),
        ("{", "Expected a JSON object of training settings: "),
        ('{"betta": 1}', "Unknown setting 'betta'; known are backbone, "),
        ('{"mix": {"question": 1}}', "Unknown setting in `mix` 'question'; known are query_free_share, "),
        ('{"mix": 3}', "`mix` must be a JSON object, got int"),
        ('{"mix": {"questions": "many"}}', "`questions` must be a whole number from 0 on, got 'many'"),
        ('{"mix": {"query_free_share": 2}}', "`query_free_share` must be a number in [0, 1], got 2"),
        ('{"beta": "high"}', "`beta` must be a finite number from 0 on, got 'high'"),
        ('{"distillation_weight": -1}', "`distillation_weight` must be a finite number from 0 on, got -1"),
        ('{"mix": {"query_free_copies": 1.5}}', "`query_free_copies` must be a whole number from 0 on, got 1.5"),
        ('{"batch_size": 0}', "`batch_size` must be a whole number from 1 on, got 0"),
        ('{"averaged_with": [{"share": 1}]}', '`averaged_with` must be a list of `{"share": ..., "recipe": {...}}`'),
        ('{"averaged_with": [{"share": 2, "recipe": {}}]}', "`share` must be a number in [0, 1], got 2"),
        ('{"averaged_with": [{"share": 1, "recipe": {}}]}', "must add up to less than 1"),
        ('{"averaged_with": [{"share": 0.1, "recipe": {"backbone": "x"}}]}', "must have the same `backbone`"),
        ('{"backbone": 7}', "`backbone` must be a bundled name, a folder or a hub id, got 7"),
    ],
)
def test_a_wrong_recipe_is_a_clear_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        MixRecipe.from_json(text)


# --- whole runs -----------------------------------------------------------------------------------------------------


def recipe_for(backbone: str, **changes: object) -> MixRecipe:
    settings: dict[str, object] = {
        "backbone": backbone,
        "retriever": backbone,
        "mix": MIX,
        "learning_rate": 5e-3,
        "warmup_steps": 2,
        "decay_steps": 4,
        "max_steps": 8,
        "batch_size": 8,
        "max_pieces": 60,
        "save_steps": 4,
    }
    return MixRecipe(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_whole_run(data: Path, aware_model: Path, tmp_path: Path) -> None:  # noqa: F811
    lines: list[str] = []
    report = train(data, tmp_path, recipe_for(str(aware_model)), log=lines.append)
    assert report["steps"] == 8
    assert len(report["data_sha256"]) == 4
    assert [step for step, _ in report["over_smoothing"]] == [4, 8]
    assert all(len(curve) == 2 for _, curve in report["over_smoothing"])  # embeddings and one layer
    assert set(report["downstream"]) == {"score", "recall_query_free", "recall_query_aware"}
    assert json.loads((tmp_path / "model" / "training.json").read_text()) == report
    assert any("examples" in line for line in lines)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_alike(
    data: Path,  # noqa: F811
    aware_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipe_for(str(aware_model))
    train(data, tmp_path / "whole", recipe)

    def kill(self: OverSmoothing, args: object, state: TrainerState, *rest: object, **kwargs: object) -> None:
        raise KeyboardInterrupt(f"at step {state.global_step}")

    with monkeypatch.context() as patch:
        patch.setattr(OverSmoothing, "on_save", kill)
        with pytest.raises(KeyboardInterrupt, match="at step 4"):
            train(data, tmp_path / "parts", recipe)
    assert train(data, tmp_path / "parts", recipe)["steps"] == 8
    whole, parts = (
        AutoModelForTokenClassification.from_pretrained(tmp_path / name / "model").state_dict()
        for name in ("whole", "parts")
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], atol=1e-3, rtol=0)


@pytest.mark.slow
def test_weights_are_averaged_with_those_of_other_trainings(
    data: Path,  # noqa: F811
    aware_model: Path,
    tmp_path: Path,
) -> None:
    own, other = recipe_for(str(aware_model), max_steps=4), recipe_for(str(aware_model), max_steps=4, seed=1, beta=0.0)
    report = train(data, tmp_path / "both", dataclasses.replace(own, averaged_with=(Averaged(0.25, other),)))
    train(data, tmp_path / "own", own)
    train(data, tmp_path / "other", other)
    mean, first, second = (
        AutoModelForTokenClassification.from_pretrained(tmp_path / name / "model", dtype=torch.float32).state_dict()
        for name in ("both", "own", "other")
    )
    assert any((first[name] - second[name]).abs().max() > 0.01 for name in mean)
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name], atol=2e-3, rtol=1e-3)
    assert report["recipe"]["averaged_with"][0]["share"] == 0.25
    assert report["averaged_with"][0]["steps"] == 4
    assert "| averaged in, 1 | 25%: " in (tmp_path / "both" / "model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_checkpoints_of_another_recipe_are_refused(data: Path, aware_model: Path, tmp_path: Path) -> None:  # noqa: F811
    recipe = recipe_for(str(aware_model), max_steps=4)
    train(data, tmp_path, recipe)
    with pytest.raises(ConfigError, match="another `beta`"):
        train(data, tmp_path, dataclasses.replace(recipe, beta=0.5))


@pytest.mark.slow
def test_early_stopping_watches_answers(data: Path, aware_model: Path, tmp_path: Path) -> None:  # noqa: F811
    """A learning rate of 0 gains nothing, so that patience runs out at the third checkpoint."""
    recipe = recipe_for(str(aware_model), learning_rate=0.0, patience=2, save_steps=1, max_steps=8)
    report = train(data, tmp_path, recipe)
    assert report["steps"] == 3
    assert len(report["downstream_curve"]) == 3


@pytest.mark.slow
def test_the_card_names_the_data_and_their_licences(data: Path, aware_model: Path, tmp_path: Path) -> None:  # noqa: F811
    train(data, tmp_path, recipe_for(str(aware_model), max_steps=1))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    report = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert card == card_of(report)
    assert f"| CC BY-SA 4.0 | `{report['data_sha256']['squad_train.jsonl.gz'][:16]}` |" in card
    assert "| weight of distillation | 5.0 |" in card

"""`moos train` on JSON lines of each form, end to end with a tiny model; checkpoints survive a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_examples import ANNOTATION, FERRY, write
from typer.testing import CliRunner

from moos_integrations import ConfigError, ContextCompressor, InputError, ModelError
from moos_integrations.cli import EXIT_USAGE, app
from moos_integrations.training.trainer import PARTIAL, MOOSTrainer, Recipe, train

QUESTIONS = [
    {
        "question": f"When does the ferry {number} leave?",
        "documents": [f"The ferry {number} leaves at {number}:45. Dogs travel free.", "The lazy dog sleeps."],
        "answers": [f"{number}:45"],
    }
    for number in range(12)
]
PAIRS = [
    {"original": f"The ferry {number} leaves at noon today.", "compressed": f"ferry {number} leaves noon"}
    for number in range(12)
]
FORMS = {
    "questions": QUESTIONS,
    "pairs": PAIRS,
    "annotations": [{**ANNOTATION, "text": f"{number}. {FERRY}"} for number in range(12)],
}
SETTINGS = {"learning_rate": 5e-3, "max_steps": 4, "save_steps": 2, "batch_size": 4, "max_pieces": 60}


def recipe_of(backbone: Path, **changes: object) -> Recipe:
    return Recipe(backbone=str(backbone), **{**SETTINGS, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_command_trains_on_every_form(form: str, tmp_path: Path, aware_model: Path) -> None:
    data = write(tmp_path / f"{form}.jsonl", *FORMS[form])
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"backbone": str(aware_model), **SETTINGS}), encoding="utf-8")
    arguments = ["train", str(recipe), "--data", str(data), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "run" / "model"
    assert Path(result.stdout.strip().replace("\n", "")) == folder
    report = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert report["steps"] == 4
    assert (report["query_aware_examples"] > 0) == (form == "questions")
    assert set(report["downstream"]) == {"score", "answers_kept" if form == "questions" else "words_f1"}
    assert list(report["data_sha256"]) == [data.name]
    assert f"`{data.name}`" in (folder / "README.md").read_text(encoding="utf-8")
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))["moos"]
    assert settings["query_aware"]  # as the backbone did before
    assert ContextCompressor.from_pretrained(str(folder)).compress(FERRY, rate=0.5).text


@pytest.mark.slow
def test_files_are_mixed_and_the_default_backbone_is_the_bundled_model(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{form}.jsonl.gz", *records[:6]) for form, records in FORMS.items()]
    lines: list[str] = []
    report = train(files, tmp_path / "run", Recipe(max_steps=1, batch_size=2, held_out=0), log=lines.append)
    assert report["recipe"]["backbone"] == "moos-minilm-en"
    assert report["downstream"] == {}
    assert any(line.startswith("6 questions and 12 compressed texts") for line in lines)


def test_wrong_usage_is_a_clear_error(tmp_path: Path) -> None:
    for arguments, message in (
        (["--output", str(tmp_path)], "Expected `--data FILE` and `--output DIR`, or `--tiny`"),
        (["--output", str(tmp_path), "--tiny", "--data", "x"], "Expected `--data FILE`"),
        ([str(tmp_path / "no.json"), "--data", "x", "--output", str(tmp_path)], "cannot be read as a JSON file"),
        (["--data", str(tmp_path / "no.jsonl"), "--output", str(tmp_path)], "no.jsonl cannot be read"),
    ):
        result = CliRunner().invoke(app, ["train", *arguments])
        assert (result.exit_code, message in " ".join(result.stderr.split())) == (EXIT_USAGE, True), result.stderr


def test_nothing_held_out_and_patience_do_not_go_together(tmp_path: Path, aware_model: Path) -> None:
    data = write(tmp_path / "a.jsonl", *PAIRS[:5])
    with pytest.raises(ConfigError, match="`patience` needs held-out records; 5 records are too few"):
        train([data], tmp_path / "run", recipe_of(aware_model, patience=1))


def test_pairs_without_a_common_word_teach_nothing(tmp_path: Path, aware_model: Path) -> None:
    data = write(tmp_path / "a.jsonl", *PAIRS[:5], {"verdict": "no"})
    with pytest.raises(InputError, match="line 6: expected the fields"):
        train([data], tmp_path / "run", recipe_of(aware_model))


def test_a_backbone_that_is_none(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", *PAIRS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="Expected an encoder in"):
        train([data], tmp_path / "run", recipe_of(tmp_path / "empty"))


@pytest.mark.slow
def test_checkpoints_of_other_data_are_refused(tmp_path: Path, aware_model: Path) -> None:
    data = write(tmp_path / "a.jsonl", *PAIRS)
    train([data], tmp_path / "run", recipe_of(aware_model))
    with pytest.raises(ConfigError, match="another `seed`"):
        train([data], tmp_path / "run", recipe_of(aware_model, seed=3))
    write(data, *PAIRS[:9])
    with pytest.raises(ConfigError, match="another data"):
        train([data], tmp_path / "run", recipe_of(aware_model))


KILLED = """
import os, sys
from pathlib import Path
from moos_integrations.training import trainer

def killed(self, folder):
    with open(Path(folder) / "optimizer.pt", "wb") as file:
        file.write(b"half of it")
        file.flush()
    if self.state.global_step == 4:
        os.kill(os.getpid(), 9)

trainer.MOOSTrainer._save_optimizer_and_scheduler, whole = killed, trainer.MOOSTrainer._save_optimizer_and_scheduler

def save(self, folder):
    (killed if self.state.global_step == 4 else whole)(self, folder)

trainer.MOOSTrainer._save_optimizer_and_scheduler = save
recipe = trainer.Recipe.from_json(Path(sys.argv[2]).read_text())
trainer.train([sys.argv[1]], Path(sys.argv[3]), recipe)
"""


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on(tmp_path: Path, aware_model: Path) -> None:
    data, recipe = write(tmp_path / "a.jsonl", *QUESTIONS), recipe_of(aware_model, max_steps=6)
    (tmp_path / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    command = [sys.executable, "-c", KILLED, str(data), str(tmp_path / "recipe.json"), str(tmp_path / "run")]
    died = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert died.returncode == -9, died.stderr
    checkpoints = tmp_path / "run" / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"checkpoint-2", PARTIAL}
    assert (checkpoints / PARTIAL / "checkpoint-4" / "optimizer.pt").read_bytes() == b"half of it"
    seen: list[int] = []
    save = MOOSTrainer._save_checkpoint

    def noted(self: MOOSTrainer, model: object, trial: object) -> None:
        seen.append(self.state.global_step)
        save(self, model, trial)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MOOSTrainer, "_save_checkpoint", noted)
        report = train([data], tmp_path / "run", recipe)
    assert seen == [4, 6]  # it went on from step 2
    assert report["steps"] == 6
    assert {path.name for path in checkpoints.iterdir()} == {"checkpoint-4", "checkpoint-6"}


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_and_loaded(tmp_path: Path, aware_model: Path) -> None:
    data = write(tmp_path / "a.jsonl", *QUESTIONS)
    recipe = recipe_of(aware_model, patience=9, max_steps=6, save_steps=1, learning_rate=0.0)
    report = train([data], tmp_path / "run", recipe)
    assert len(report["downstream_curve"]) == 6
    checkpoints = tmp_path / "run" / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"checkpoint-1", "checkpoint-5", "checkpoint-6"}
    state = json.loads((checkpoints / "checkpoint-6" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["best_model_checkpoint"] == str(checkpoints / "checkpoint-1")

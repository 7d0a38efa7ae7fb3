"""`train(data, output, recipe)`: from JSON lines to a saved classifier that every loader of token classifiers reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from moos_integrations.core.checks import (
    check_number,
    check_share,
    check_whole_number,
    refuse_unknown,
    settings_in,
)
from moos_integrations.core.config import BUNDLED_MODEL
from moos_integrations.core.gate import GATE, RelevanceGate, gated
from moos_integrations.core.hub import multiplies_bfloat16, resolve, takes_types
from moos_integrations.core.pooling import OUTSIDE, QUESTION
from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.windows import QUESTION_PART
from moos_integrations.errors import ConfigError, InputError, ModelError
from moos_integrations.training.card import model_card
from moos_integrations.training.examples import (
    Example,
    Group,
    TrainingRecords,
    groups_from_pairs,
    groups_from_questions,
    read_training,
)
from moos_integrations.training.loss import IGNORED, LossParts, MOOSLoss, inter_class_cosine, sum_of
from moos_integrations.training.validation import HeldOut

Json = dict[str, Any]
AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")
PARTIAL = "partial"
"""Folder among the checkpoints in which the next one is written."""
LOG = "log.jsonl"
"""File beside the checkpoints with a JSON object per line: losses by kind and pieces seen."""
_PROBED = 64  # validation passages on which the inter-class cosine of every layer is followed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of one training run; `moos train` reads them from a JSON file.

    Attributes:
        backbone: Model to start from: a bundled name, a folder or a hub id. A classifier is trained further; any other
            encoder gets a new head.
        held_out: Share of the records to measure on instead of learning them, in [0, 1].
        negatives: Most documents without the answer beside those with it, per question.
        query_free_share: Share of the questions whose document is also read without the question.
        beta: Weight of the inter-class cosine term. In `cookbook/benchmarks/results/beta_sweep.json` the default keeps
            most answers over all sets and both rates, with either seed; 1 keeps fewest.
        passage_weight: Weight of the first piece's cross-entropy (passage probability).
        ranking_weight: Weight of the ranking loss over the sentences of a question's passages.
        similarity_scale: Weight of the cosine between question and sentence in a sentence's relevance. The model's
            config.json stores it.
        preserve_weight: Weight of the label "preserve" against "discard".
        distillation_weight: Weight of the squared difference between the cosine of question and unit in the model and
            in a sentence encoder; for examples that have the encoder's cosines.
        residual: Learn what a sentence encoder's cosines leave open: the ranking sees the model's relevance plus the
            cosines of passage and unit, each with a learnt weight (`core.gate`). For examples that have the cosines.
        learning_rate: Peak; reached after `warmup_steps`, then constant, and reduced to 0 in the last `decay_steps`.
        warmup_steps: Steps of linear warm-up; in short runs at most a quarter of all steps.
        decay_steps: Steps of linear decay at the end; in short runs at most half of all steps.
        epochs: Passes over the examples.
        max_steps: Stop after this many steps; 0 means that `epochs` decides.
        batch_size: Questions per step, each with all its passages, and examples without a question.
        max_pieces: Longest input in word pieces, special tokens included.
        save_steps: Steps between checkpoints; a killed run loses at most this many.
        save_minutes: Also write a checkpoint when the last one is so old; 0 for `save_steps` alone.
        patience: Measure the held-out records at every checkpoint, stop when the score has not risen for this many
            checkpoints, and save the best; 0 means train to the end without measuring.
        dropout: Of hidden states and attention. Little text is seen twice, so there is little to overfit. On CPUs,
            drawing the masks takes a quarter of the time.
        seed: Of all random choices.
    """

    backbone: str = BUNDLED_MODEL
    held_out: float = 0.1
    negatives: int = 4
    query_free_share: float = 0.25
    beta: float = 0.1
    passage_weight: float = 0.5
    ranking_weight: float = 1.0
    similarity_scale: float = 20.0
    preserve_weight: float = 1.0
    distillation_weight: float = 0.0
    residual: bool = False
    learning_rate: float = 5e-5
    warmup_steps: int = 100
    decay_steps: int = 400
    epochs: float = 3.0
    max_steps: int = 0
    batch_size: int = 12
    max_pieces: int = 384
    save_steps: int = 100
    save_minutes: float = 0.0
    patience: int = 0
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range.
        """
        if not isinstance(self.backbone, str) or not self.backbone:
            raise ConfigError(f"`backbone` must be a bundled name, a folder or a hub id, got {self.backbone!r}.")
        for name in ("held_out", "query_free_share", "dropout"):
            check_share(name, getattr(self, name))
        if not isinstance(self.residual, bool):
            raise ConfigError(f"`residual` must be true or false, got {self.residual!r}.")
        for name in (
            "beta",
            "passage_weight",
            "ranking_weight",
            "similarity_scale",
            "distillation_weight",
            "save_minutes",
        ):
            check_number(name, getattr(self, name))
        for name in ("preserve_weight", "learning_rate", "epochs"):
            check_number(name, getattr(self, name))
        for name in ("negatives", "warmup_steps", "decay_steps", "max_steps", "patience", "seed"):
            check_whole_number(name, getattr(self, name), 0)
        for name, least in (("batch_size", 1), ("save_steps", 1), ("max_pieces", 16)):
            check_whole_number(name, getattr(self, name), least)

    @classmethod
    def from_json(cls: type[AnyRecipe], text: str) -> AnyRecipe:
        """The recipe in a JSON object; settings left out keep their defaults.

        The record of a run (`training.json`) is accepted too; the recipe in it is used.

        Raises:
            ConfigError: If the text is not a JSON object, a setting is unknown, or a value cannot be used.
        """
        values = settings_in(text, "training settings")
        if isinstance(values.get("recipe"), dict):
            values = values["recipe"]
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls: type[AnyRecipe], values: Json) -> AnyRecipe:
        """The recipe in a dictionary; errors as for `from_json`."""
        refuse_unknown(values, cls)
        return cls(**values)

    def to_json(self) -> str:
        """The recipe as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @staticmethod
    def folder_of(name: str) -> str:
        """The folder or hub id that the name of a model stands for."""
        return resolve(name)

    def loss(self) -> MOOSLoss:
        """The loss with the recipe's weights."""
        return MOOSLoss(
            self.beta,
            passage_weight=self.passage_weight,
            preserve_weight=self.preserve_weight,
            ranking_weight=self.ranking_weight,
            similarity_scale=self.similarity_scale,
            distillation_weight=self.distillation_weight,
        )


# --- examples to model inputs --------------------------------------------------------------------------------------


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_pieces: int, *, types: bool = True
) -> list[Json]:
    """Model inputs with a label and a unit per piece: its word's target, and its sentence or line.

    The first piece's label is the target passage probability. Units are numbered within the passage; see
    `core.pooling` for the pieces outside.

    Passages are cut at `max_pieces`, questions at a quarter of it.

    Args:
        examples: The examples to learn.
        tokenizer: A fast tokenizer.
        max_pieces: Longest input, special tokens included.
        types: Whether the model takes token types (see `core.hub.takes_types`).

    Raises:
        InputError: If a passage's labels do not fit its words.
    """
    rows = []
    for example in examples:
        text, targets = example.passage.text, example.passage.targets
        starts, _ = word_spans(text)
        if len(starts) != len(targets):
            raise InputError(f"Expected {len(starts)} labels, one per word, got {len(targets)}.")
        question = None if example.question is None else _shortened(example.question, tokenizer, max_pieces)
        encoding = tokenizer(
            *([text] if question is None else [question, text]),
            truncation=True if question is None else "only_second",
            max_length=max_pieces,
            return_offsets_mapping=True,
            return_token_type_ids=types,
        )
        parts, passage_part = np.array(_parts(encoding)), int(question is not None)
        own = parts == passage_part
        piece_starts = np.array(encoding["offset_mapping"])[:, 0]
        word_of_piece = np.maximum(np.searchsorted(starts, piece_starts, side="right") - 1, 0)
        wanted = np.nan_to_num(targets, nan=IGNORED)  # words of which nothing is known
        labels = np.where(own, wanted[word_of_piece] if len(targets) else 0.0, IGNORED)
        if example.relevance is not None:
            labels[0] = example.relevance
        unit_of_piece = np.searchsorted(unit_spans(text)[0], piece_starts, side="right") - 1
        units = np.where(own, np.maximum(unit_of_piece, 0), np.where(parts == passage_part - 1, QUESTION, OUTSIDE))
        row = {name: encoding[name] for name in ("input_ids", "token_type_ids") if name in encoding}
        similar = [] if example.similarities is None else example.similarities.tolist()
        whole = np.nan if example.passage_similarity is None else example.passage_similarity
        targets_of = {"labels": labels.tolist(), "units": units.tolist(), "similarities": similar, "passage": [whole]}
        rows.append({**row, **targets_of, "kind": example.kind})
    return rows


def _parts(encoding: Any) -> list[int]:
    """Which text each piece is from; -2 for special tokens."""
    return [-2 if part is None else part for part in encoding.sequence_ids(0)]


def _shortened(question: str, tokenizer: PreTrainedTokenizerBase, max_pieces: int) -> str:
    offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    most = max_pieces // QUESTION_PART
    return question if len(offsets) <= most else question[: offsets[most - 1][1]]


class Collator:
    """Pads groups of rows from `encode` to the longest row of a batch."""

    def __init__(self, pad_id: int) -> None:
        """Remember the id used for padding."""
        self.kinds: list[str] = []
        """Names of the kinds of text met so far; a batch has indices of them."""
        self._fill = {
            "input_ids": pad_id,
            "token_type_ids": 0,
            "labels": IGNORED,
            "units": OUTSIDE,
            "similarities": torch.nan,
            "passage": torch.nan,
        }

    def __call__(self, groups: Sequence[Sequence[Json]]) -> dict[str, torch.Tensor]:
        """The batch: all rows of all groups, with their attention mask, and under `groups` the index of each's group.

        Shape of each: `(rows, longest)`; of `groups`: `(rows,)`; of `similarities`: `(rows, units)`; of `passage`:
        `(rows, 1)`; of `kinds`: `(groups,)`, indices in `kinds`.
        """
        rows = [row for group in groups for row in group]
        pad = torch.nn.utils.rnn.pad_sequence
        batch = {
            name: pad([torch.as_tensor(row[name]) for row in rows], batch_first=True, padding_value=fill)
            for name, fill in self._fill.items()
            if name in rows[0]
        }
        batch["kinds"] = torch.tensor([self._kind(group[0].get("kind", "")) for group in groups])
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        batch["attention_mask"] = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
        batch["groups"] = torch.repeat_interleave(torch.tensor([len(group) for group in groups]))
        return batch

    def _kind(self, name: str) -> int:
        if name not in self.kinds:
            self.kinds.append(name)
        return self.kinds.index(name)


TARGETS = ("labels", "units", "groups", "similarities")
"""The entries of a batch for the loss, in its order."""


def model_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The entries of a batch for the network."""
    return {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask") if name in batch}


# --- training ------------------------------------------------------------------------------------------------------


class EpochSampler(LengthGroupedSampler):
    """Groups of similar length together, in an order that depends on the seed and the epoch alone."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        """`lengths` in pieces: the longest row of each group."""
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Indices of the groups."""
        self.generator.manual_seed(self._seed + self._epoch)
        return iter(super().__iter__())  # type: ignore[no-untyped-call]


class MOOSTrainer(Trainer):
    """`transformers.Trainer` with the MOOSComp loss."""

    def __init__(
        self, *args: Any, loss: MOOSLoss, downstream: Callable[[Any], dict[str, float]], **kwargs: Any
    ) -> None:
        """As `Trainer`, with the loss and the measurement of `evaluate`."""
        super().__init__(*args, **kwargs)
        self.seen = Seen()
        self._moos_loss = loss
        self._downstream = downstream
        self._partial: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        """The folder for checkpoints; while one is written, a folder that no run resumes from."""
        return str(self._partial or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint elsewhere and move it to its place when it is complete, in case the run is killed."""
        folder, name = Path(str(self.args.output_dir)), f"checkpoint-{self.state.global_step}"
        self._partial = folder / PARTIAL
        shutil.rmtree(self._partial, ignore_errors=True)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            written, self._partial = self._partial, None
        if self.state.best_model_checkpoint == str(written / name):
            self.state.best_model_checkpoint = str(folder / name)
            self.state.save_to_json(str(written / name / "trainer_state.json"))
        shutil.rmtree(folder / name, ignore_errors=True)
        (written / name).replace(folder / name)
        written.rmdir()
        self._forget_old_ones(folder)

    def _forget_old_ones(self, folder: Path) -> None:
        """Delete all checkpoints but the newest and the best."""
        found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        for path in found[: -(self.args.save_total_limit or len(found))]:
            if str(path) != self.state.best_model_checkpoint:
                shutil.rmtree(path)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The same order after an interruption; the Trainer's default sampler draws from the global generator."""
        groups: Any = self.train_dataset if train_dataset is None else train_dataset
        if hasattr(groups, "sampler"):
            return groups.sampler(self._train_batch_size, self.args.seed)
        longest = [max(len(row["input_ids"]) for row in group) for group in groups]
        return EpochSampler(longest, self._train_batch_size, self.args.seed)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure kept answers and words instead of the loss: see `HeldOut`."""
        found = {f"eval_{name}": value for name, value in self._downstream(self.model).items()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def compute_loss(
        self, model: torch.nn.Module, inputs: Json, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See `MOOSLoss`."""
        logits, hidden = read_in_parts(model, model_inputs(inputs))
        gate, base = getattr(model, GATE, None), None
        if gate is not None:
            base = gated(gate(hidden[:, 0]), inputs["passage"][:, 0], inputs["similarities"])
        labels, units, groups, similarities = (inputs[name] for name in TARGETS)
        parts = self._moos_loss.parts(logits, hidden, labels, units, groups, similarities, base)
        collate: Any = self.data_collator
        self.seen.add(parts, inputs, collate.kinds)
        loss = sum_of(parts)
        return (loss, {"logits": logits}) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the losses per kind since the last time, and append the line to the log file."""
        if "loss" in logs:
            logs = {**logs, **self.seen.taken()}
        super().log(logs, *args, **kwargs)
        with (Path(str(self.args.output_dir)).parent / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time()), "step": self.state.global_step, **logs}) + "\n")


class Seen:
    """What was learnt from since the last line of the log: losses by kind, and pieces."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums: dict[str, tuple[float, int]] = {}
        self._pieces = 0

    def add(self, parts: LossParts, batch: Mapping[str, torch.Tensor], kinds: Sequence[str]) -> None:
        """Take over a batch; `kinds` are the names of the collator."""
        self._pieces += int(batch["attention_mask"].sum())
        for name, term in parts.terms.items():
            self._add(f"loss/{name}", float(term.detach()))
        of_group = batch["kinds"].tolist()
        of_row = [of_group[group] for group in batch["groups"].tolist()]
        for name, values in parts.rows.items():
            for kind, value in zip(of_group if name == "ranking" else of_row, values.tolist(), strict=False):
                if kinds[kind] and not math.isnan(value):
                    self._add(f"{name}/{kinds[kind]}", value)

    def _add(self, name: str, value: float) -> None:
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + value, count + 1

    def taken(self) -> dict[str, float]:
        """Mean losses by term and kind, and `pieces`; the next call begins anew."""
        found = {name: round(total / count, 4) for name, (total, count) in sorted(self._sums.items())}
        found["pieces"] = self._pieces
        self.__init__()  # type: ignore[misc]
        return found


class SaveByTime(TrainerCallback):
    """Asks for a checkpoint when the last one is too old: steps take very different times on a busy machine."""

    def __init__(self, minutes: float) -> None:
        """`minutes` between checkpoints."""
        self._seconds, self._last = 60 * minutes, time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask if it is time."""
        if time.monotonic() - self._last >= self._seconds:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the time."""
        self._last = time.monotonic()


def read_in_parts(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], parts: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and last-layer states of a batch; short and long rows are read in separate passes, with less padding.

    The passages of a question stay in one batch and differ in length, so sorting batches does not help.

    Args:
        model: A token classifier.
        inputs: Its inputs. Shape of each: `(rows, longest)`.
        parts: Passes through the network.

    Returns:
        Shapes: `(rows, longest, labels)` and `(rows, longest, width)`; 0 where a row's part is shorter.
    """
    lengths = inputs["attention_mask"].sum(1)
    longest, order = inputs["attention_mask"].shape[1], lengths.argsort()
    logits: list[torch.Tensor] = []
    hidden: list[torch.Tensor] = []
    for rows in order.chunk(parts):
        size = int(lengths[rows].max())
        outputs = model(**{name: tensor[rows, :size] for name, tensor in inputs.items()}, output_hidden_states=True)
        for found, tensor in ((logits, outputs.logits), (hidden, outputs.hidden_states[-1])):
            found.append(torch.nn.functional.pad(tensor, (0, 0, 0, longest - size)))
    back = order.argsort()
    return torch.cat(logits)[back], torch.cat(hidden)[back]


@torch.inference_mode()
def cosine_per_layer(model: torch.nn.Module, rows: Sequence[Json], collate: Collator, size: int = 16) -> list[float]:
    """The over-smoothing curve: inter-class cosine after the embeddings and after every layer (MOOSComp's `S^l`).

    Args:
        model: A token classifier.
        rows: Encoded examples.
        collate: Makes batches of them.
        size: Rows per batch.

    Returns:
        One number per layer, the embeddings first.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    sums: list[list[float]] = []
    for start in range(0, len(rows), size):
        batch = {name: tensor.to(device) for name, tensor in collate([rows[start : start + size]]).items()}
        labels = batch["labels"]
        labels[:, 0] = IGNORED
        layers = model(**model_inputs(batch), output_hidden_states=True).hidden_states
        sums.append([float(inter_class_cosine(layer, labels)) * len(labels) for layer in layers])
    model.train(was_training)
    return [round(float(total) / len(rows), 5) for total in np.sum(sums, 0)]


class OverSmoothing(TrainerCallback):
    """Records the inter-class cosine of every layer at every checkpoint."""

    def __init__(self, rows: Sequence[Json], collate: Collator) -> None:
        """`rows` are encoded validation examples."""
        self._rows, self._collate = rows, collate

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the curve in the trainer's log."""
        cosines = cosine_per_layer(kwargs["model"], self._rows, self._collate)
        state.log_history.append({"step": state.global_step, "cosine_per_layer": cosines})  # type: ignore[dict-item]


def training_arguments(recipe: Recipe, checkpoints: Path, groups: int) -> TrainingArguments:
    """The recipe as arguments of `transformers.Trainer`, for this number of groups.

    bf16 autocast is used where it is native: elsewhere it is emulated, and over ten times slower than fp32.
    """
    steps = recipe.max_steps or math.ceil(recipe.epochs * math.ceil(groups / recipe.batch_size))
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=min(recipe.warmup_steps, steps // 4),
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": min(recipe.decay_steps, steps // 2), "decay_type": "linear"},
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=multiplies_bfloat16(),
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_steps=recipe.save_steps,
        save_total_limit=2,
        eval_strategy="steps" if recipe.patience else "no",
        eval_steps=recipe.save_steps,
        load_best_model_at_end=bool(recipe.patience),
        metric_for_best_model="score",
        seed=recipe.seed,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def train(
    data: Sequence[str | Path],
    output: Path,
    recipe: Recipe | None = None,
    *,
    skip_bad: bool = False,
    log: Callable[[str], None] = print,
) -> Json:
    """Train, save an fp16 model folder in Hugging Face layout with its model card, and return what was measured.

    Args:
        data: Files of JSON lines, in any mixture of the forms that `read_training` knows.
        output: Folder for checkpoints (`checkpoints/`, from which an interrupted run continues) and the model
            (`model/`).
        recipe: The settings; None for the defaults.
        skip_bad: Skip and count malformed records instead of stopping at the first.
        log: Called with a line when a stage begins.

    Returns:
        The content of `training.json`: settings, hashes of the data, number of pieces, loss and over-smoothing curves.
        `downstream` has the measurements of `HeldOut` on the held-out records.

    Raises:
        ConfigError: If `output` has checkpoints of another recipe or of other data, or `patience` is set without
            held-out records.
        InputError: If a file cannot be read, a record is malformed, or nothing is left to learn from.
        ModelError: If the backbone cannot be loaded.
    """
    recipe, paths = recipe or Recipe(), [Path(path) for path in data]
    records = read_training(paths, skip_bad=skip_bad)
    learnt, held_out = records.split(recipe.held_out)
    if recipe.patience and not len(held_out):
        raise ConfigError(f"`patience` needs held-out records; {len(records)} records are too few for `held_out`.")
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    refuse_another_recipe(output, recipe, hashes)
    model, tokenizer = start(recipe)
    groups = _groups(learnt, recipe)
    for line in records.notes:
        log(f"{line}.")
    log(
        f"{len(learnt.questions):,} questions and {len(learnt.pairs):,} compressed texts: "
        f"{sum(map(len, groups)):,} examples; {len(held_out):,} records held out."
    )
    measured = HeldOut(held_out)
    probe = [example for group in groups for example in group]
    report = fit(model, tokenizer, groups, probe, recipe, output, lambda own: measured(own, tokenizer))
    report |= {"data_sha256": hashes, "left_out": list(records.notes), "held_out_records": len(held_out)}
    model.float()
    report["downstream"] = measured(model, tokenizer)
    save(model, tokenizer, output / "model", report)
    return report


def _groups(records: TrainingRecords, recipe: Recipe) -> list[Group]:
    """Everything to learn, in an order that follows from the seed."""
    rng = random.Random(recipe.seed)
    groups = groups_from_pairs(records.pairs)
    groups += groups_from_questions(
        records.questions, rng, negatives=recipe.negatives, query_free_share=recipe.query_free_share
    )
    if not groups:
        raise InputError("Nothing to learn from: the compressed texts have hardly a word of their sources.")
    rng.shuffle(groups)
    return groups


def start(recipe: Recipe) -> tuple[Any, Any]:
    """The backbone with a fresh two-label head (an existing one is kept), and its tokenizer.

    Raises:
        ModelError: If the backbone cannot be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(recipe.folder_of(recipe.backbone), trust_remote_code=False)
        config.id2label, config.label2id = {0: "discard", 1: "preserve"}, {"discard": 0, "preserve": 1}
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "mlp_dropout"):
            if hasattr(config, name):
                setattr(config, name, recipe.dropout)
        torch.manual_seed(recipe.seed)
        model: Any = AutoModelForTokenClassification.from_pretrained(
            recipe.folder_of(recipe.backbone),
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(recipe.folder_of(recipe.backbone), trust_remote_code=False)
    except (OSError, ValueError) as error:
        first_line = (str(error).splitlines() or [""])[0][:300]
        raise ModelError(
            f"Expected an encoder in {recipe.backbone!r} (a bundled name, a folder or a hub id): {first_line}"
        ) from error
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # on CPUs the fused kernel's backward pass takes a third of a step
    # The word embeddings are half the parameters; frozen, they keep rare words as pre-training left them.
    model.get_input_embeddings().weight.requires_grad_(False)
    if recipe.residual:
        setattr(model, GATE, RelevanceGate(model.config.hidden_size))
    return model, tokenizer


def fit(
    model: Any,
    tokenizer: Any,
    groups: Sequence[Group],
    probe: Sequence[Example],
    recipe: Recipe,
    output: Path,
    downstream: Callable[[Any], dict[str, float]],
) -> Json:
    """Run the training loop; an interrupted run continues from its last checkpoint.

    Args:
        model: Trained in place; its configuration then records whether it reads a question.
        tokenizer: Its tokenizer.
        groups: The examples to learn.
        probe: Examples on which the over-smoothing curve is measured.
        recipe: The settings.
        output: Folder for the checkpoints.
        downstream: From a model to measurements; early stopping watches `score` among them.

    Returns:
        Settings, number of pieces, loss and over-smoothing curves.
    """
    examples = [example for group in groups for example in group]
    encoded = iter(encode(examples, tokenizer, recipe.max_pieces, types=takes_types(model)))
    rows = [[next(encoded) for _ in group] for group in groups]
    asked = sum(example.question is not None for example in examples)
    report = fit_rows(model, tokenizer, rows, probe, recipe, output, downstream, query_aware=asked > 0)
    return {**report, "examples": len(examples), "query_aware_examples": asked}


def fit_rows(
    model: Any,
    tokenizer: Any,
    rows: Any,
    probe: Sequence[Example],
    recipe: Recipe,
    output: Path,
    downstream: Callable[[Any], dict[str, float]],
    *,
    query_aware: bool,
) -> Json:
    """As `fit`, on groups of encoded rows.

    Args:
        model: As in `fit`.
        tokenizer: As in `fit`.
        rows: A sequence of groups, each a list of rows of `encode`. One that is not all in memory has a method
            `sampler(batch_size, seed)` too, because asking for the length of each group would load them all.
        probe: As in `fit`.
        recipe: As in `fit`.
        output: As in `fit`. Losses by kind are appended to `log.jsonl` in it, one JSON object per line; after an
            interruption, the last line of a step counts.
        downstream: As in `fit`.
        query_aware: Whether some rows have a question.

    Returns:
        As `fit`.
    """
    _describe(model, recipe, query_aware=query_aware)
    types = takes_types(model)
    collate = Collator(tokenizer.pad_token_id)
    checkpoints = output / "checkpoints"
    over_smoothing = OverSmoothing(encode(probe[:_PROBED], tokenizer, recipe.max_pieces, types=types), collate)
    trainer = MOOSTrainer(
        model=model,
        args=training_arguments(recipe, checkpoints, len(rows)),
        train_dataset=rows,
        eval_dataset=[rows[0]],  # the Trainer requires one; `evaluate` measures something else
        data_collator=collate,
        loss=recipe.loss(),
        downstream=downstream,
        callbacks=[
            over_smoothing,
            *([EarlyStoppingCallback(recipe.patience)] if recipe.patience else []),
            *([SaveByTime(recipe.save_minutes)] if recipe.save_minutes else []),
        ],
    )
    trainer.train(resume_from_checkpoint=any(checkpoints.glob("checkpoint-*")))
    history, steps = trainer.state.log_history, trainer.state.global_step
    return {
        "recipe": json.loads(recipe.to_json()),
        "steps": steps,
        "training_pieces": sum(pieces_by_step(output / LOG).values()),
        "loss_curve": [[row["step"], round(float(row["loss"]), 4)] for row in history if "loss" in row],
        "over_smoothing": [[row["step"], row["cosine_per_layer"]] for row in history if "cosine_per_layer" in row],
        "downstream_curve": [[row["step"], round(row["eval_score"], 4)] for row in history if "eval_score" in row],
    }


def pieces_by_step(log: Path) -> dict[int, int]:
    """Pieces learnt from, by the step at which they were logged; lines of a part that was repeated count once."""
    found: dict[int, int] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        values = json.loads(line)
        if "pieces" in values:
            found = {step: pieces for step, pieces in found.items() if step < values["step"]}
            found[values["step"]] = values["pieces"]
    return found


def _describe(model: Any, recipe: Recipe, *, query_aware: bool) -> None:
    """Record in the model's configuration whether it reads questions; before training, as measurements depend on it.

    A backbone that reads questions still does so after training without any.
    """
    known = getattr(model.config, "moos", None) or {}
    if query_aware:
        model.config.moos = {"query_aware": True, "similarity_scale": recipe.similarity_scale}
        if recipe.residual:
            model.config.moos["residual"] = True
    else:
        model.config.moos = dict(known) if known.get("query_aware") else {"query_aware": False}


def save(model: Any, tokenizer: Any, folder: Path, report: Json, card: str | None = None) -> None:
    """Write an fp16 model folder, its record and its card; the folder is complete or absent.

    Args:
        model: The classifier; halved in place.
        tokenizer: Its tokenizer.
        folder: Replaced if it exists.
        report: The record.
        card: Markdown; None for `model_card(report)`.
    """
    partial = folder.with_name(f"{folder.name}.{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer.backend_tokenizer.no_truncation()  # the training length is no property of the model
    model.half().save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (partial / "README.md").write_text(card or model_card(report), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def refuse_another_recipe(output: Path, recipe: Recipe, data: Mapping[str, str] | None = None) -> None:
    """Write recipe and hashes of the data into `output/recipe.json`, unless it has checkpoints of another run.

    Only `save_steps` and `save_minutes` may differ.

    Args:
        output: Folder of the run.
        recipe: The settings.
        data: SHA-256 by file name; None if they are not compared.

    Raises:
        ConfigError: Naming the settings that differ, or the data.
    """
    known = output / "recipe.json"
    if known.exists() and any((output / "checkpoints").glob("checkpoint-*")):
        text = known.read_text(encoding="utf-8")
        before = type(recipe).from_json(text)
        names = [f.name for f in dataclasses.fields(recipe) if getattr(before, f.name) != getattr(recipe, f.name)]
        other = [f"`{name}`" for name in names if name not in ("save_steps", "save_minutes")]
        if data is not None and json.loads(text).get("data_sha256", data) != dict(data):
            other.append("data")
        if other:
            raise ConfigError(
                f"{output} has checkpoints of a run with another {', '.join(other)}. "
                "Use another output folder, or delete `checkpoints` in it to start again."
            )
    output.mkdir(parents=True, exist_ok=True)
    record = {"recipe": json.loads(recipe.to_json()), **({} if data is None else {"data_sha256": dict(data)})}
    known.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

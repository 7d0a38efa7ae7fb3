"""Are the compressions of two commits the same, bit for bit?

    python cookbook/benchmarks/same_outputs.py write BEFORE.json --data DIR   # on the one commit
    python cookbook/benchmarks/same_outputs.py check BEFORE.json --data DIR   # on the other, with the same packages

200 compressions in fp32: ten data sets (prose, tables, code, logs, other languages) times twenty ways to compress them,
with and without a question, under every kind of target and with settings of every stage. Text, spans, counts, warnings
and all values of the explanation are compared by a hash; floats by their exact value.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from moos_integrations import CompressionResult, CompressorConfig, ContextCompressor

SETS = (
    "nq_20docs", "hotpotqa", "musique", "tatqa_tables", "code_functions",
    "loghub_logs", "kv_json", "gov_report", "xquad_de", "rgb_zh",
)  # fmt: skip
LONGEST, MOST = 2_500, 6
"""Characters per text, and texts per request: what is longer is cut, so that a run takes two minutes."""
NESTED = {
    "scores": {"alpha", "outlier_statistic", "word_reduction", "max_batch_pieces"},
    "gains": {
        "budgets", "similarity_scale", "lexical_weight", "retriever_weight", "redundancy", "redundancy_weight",
        "temperature", "whole_from",
    },
}  # fmt: skip
# Name, settings, whether the question is read, whether the retriever's scores are, target of the call.
WAYS: tuple[tuple[dict[str, Any], bool, bool, dict[str, Any]], ...] = (
    ({}, True, False, {}),
    ({}, True, False, {"rate": 0.5}),
    ({}, True, True, {"rate": 0.25}),
    ({}, True, False, {"budget_tokens": 120}),
    ({}, True, False, {"threshold": 0.05}),
    ({}, False, False, {}),
    ({}, False, False, {"rate": 0.2}),
    ({}, False, False, {"threshold": 0.6}),
    ({"budgets": "gain"}, False, False, {"rate": 0.4}),
    ({"budgets": "words"}, True, False, {"rate": 0.4}),
    ({"redundancy": "greedy", "whole_from": 0.0}, True, False, {"rate": 0.3}),
    ({"temperature": 3.0, "whole_from": 1.0, "redundancy_weight": 0.5}, True, False, {"rate": 0.3}),
    ({"lexical_weight": 0.0, "retriever_weight": 3.0}, True, True, {"budget_tokens": 200}),
    ({"protect": ("numbers", "negations", "the")}, True, False, {"rate": 0.15}),
    ({"protect": ("names",)}, False, False, {"budget_tokens": 40}),
    ({"top_n": 2, "order": "relevance"}, True, False, {"rate": 0.5}),
    ({"top_n": 3, "order": "ends"}, False, True, {"rate": 0.7}),
    ({"order": "ends", "separator": "\n---\n"}, True, False, {"rate": 1.0}),
    ({"alpha": 0.8, "outlier_statistic": "class_dist", "word_reduction": "max"}, False, False, {"rate": 0.5}),
    ({"alpha": 0.9, "max_batch_pieces": 1500, "tokenizer": "cl100k_base"}, True, False, {"rate": 0.35}),
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {', '.join(SETS)}")
    options = parser.parse_args()
    found = outputs(options.data)
    if options.action == "write":
        options.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} compressions written")
        return
    before = json.loads(options.file.read_text(encoding="utf-8"))
    differing = [name for name in before if before[name] != found.get(name)]
    print(f"{len(before) - len(differing)} of {len(before)} compressions are the same")
    if differing:
        raise SystemExit("differing: " + ", ".join(differing))


def outputs(data: Path) -> dict[str, str]:
    """A hash of each compression by its name."""
    requests = {name: request(data / f"{name}.jsonl.gz", index) for index, name in enumerate(SETS)}
    found = {}
    for index, (settings, asked, scored, target) in enumerate(WAYS):
        compressor = ContextCompressor.from_pretrained(dtype="float32", **nested(settings))
        for name, (question, texts) in requests.items():
            result = compressor.compress(
                texts,
                question if asked else None,
                document_scores=[1.0 / (1 + place) for place in range(len(texts))] if scored else None,
                **target,
            )
            found[f"{name}/{index}"] = digest(result)
    return found


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as this commit's `CompressorConfig` has them: flat, or nested by stage."""
    if not hasattr(CompressorConfig(), "gains"):
        return settings
    stages = {
        stage: {name: value for name, value in settings.items() if name in names} for stage, names in NESTED.items()
    }
    flat = {name: value for name, value in settings.items() if not any(name in names for names in NESTED.values())}
    return flat | {stage: values for stage, values in stages.items() if values}


def request(path: Path, index: int) -> tuple[str, list[str]]:
    """Question and texts of a record, another one for each set."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        record = next(json.loads(line) for place, line in enumerate(file) if place == index + 1 or "gov" in path.name)
    if "documents" in record:
        texts = [document["text"] for document in record["documents"]]
    else:
        texts = [record.get("text") or record["context"]]
    question = record.get("question") or record["qas"][0]["question"]
    return question, [text[:LONGEST] for text in texts[:MOST]]


def digest(result: CompressionResult) -> str:
    """A hash of everything that a result says, the time apart."""
    explained = result.explain()
    # What later commits add to an explanation is not compared.
    words = [
        (word.document, word.start, word.end, word.preserve_probability, word.outlier_score, word.metric, word.kept)
        for word in explained
    ]
    units = [
        (unit.relevance, unit.redundancy, unit.against, unit.repetition, unit.gain, unit.share, unit.under)
        for unit in explained.units
    ]
    documents = [
        (own.text, own.spans, own.original_tokens, own.kept_tokens, own.dropped_units) for own in result.documents
    ]
    counts = (result.original_tokens, result.kept_tokens, result.protected_tokens, result.order, result.warnings)
    return hashlib.sha256(repr((result.text, documents, counts, words, units)).encode()).hexdigest()[:24]


if __name__ == "__main__":
    main()

"""The model card of a model that learnt our data sets."""

from __future__ import annotations

from typing import Any

from moos_integrations.training.card import model_card

_DATA = {
    "squad_train.jsonl.gz": (
        "SQuAD 1.1 training paragraphs and questions",
        "query-free: words of any answer, and in answer sentences what a question repeats, and negations; query-aware: "
        "the answer's sentence (1 for the answer, words of the question, numbers and negations; 0.8 for other content "
        "words, 0.5 for function words), with passages found by BM25 and by embeddings as negatives",
        "CC BY-SA 4.0",
    ),
    "hotpotqa.jsonl.gz": (
        "HotpotQA (distractor setting; 300 questions held out)",
        "query-aware: supporting sentences as above; distractors as negatives",
        "CC BY-SA 4.0",
    ),
    "google_compression_cased.jsonl.gz": (
        "Google sentence compression, cased (last 500 held out)",
        "words that the compression kept",
        'provided "AS IS", no licence text',
    ),
    "google_compression_train_lc.jsonl.gz": (
        "Google sentence compression, lower-cased",
        "words that the compression kept; hidden numbers replaced by random ones",
        'provided "AS IS", no licence text',
    ),
}


_LIMITS = """
* English prose; code, logs and tables were not trained on.
* What questions about encyclopedic text ask for (names, numbers, dates) is preferred over arguments and instructions.
  Do not prune instructions with it."""
_DISTILLED = """ Hard negatives are among them; the cosine of question and sentence is kept near that of the sentence
encoder that it starts from (distillation)."""


def card_of(report: dict[str, Any]) -> str:
    """The package's card with the sets, their licences, and what only a training on them has.

    Args:
        report: What `train` returns.
    """
    hashes = report.get("data_sha256", {})
    rows = [
        f"| {what} | {labels} | {licence} | `{hashes[name][:16]}` |"
        for name, (what, labels, licence) in _DATA.items()
        if name in hashes
    ]
    table = ["| data | how words were labelled | licence | SHA-256 |", "| --- | --- | --- | --- |", *rows]
    settings = {"weight of distillation": report["recipe"]["distillation_weight"], **_averaged(report)}
    card = model_card(report, settings=settings, data="\n".join(table), ranking=_DISTILLED, limits=_LIMITS)
    return card.replace("---\n", "---\nlanguage: en\nlicense: apache-2.0\n", 1)


def _averaged(report: dict[str, Any]) -> dict[str, str]:
    """A row for each model whose weights were averaged in."""
    others = zip(report["recipe"].get("averaged_with", []), report.get("averaged_with", []), strict=True)
    return {
        f"averaged in, {number}": f"{other['share']:.0%}: {run['training_pieces']:,} pieces, "
        f"{run['query_aware_examples']:,} query-aware examples, seed {run['recipe']['seed']}"
        for number, (other, run) in enumerate(others, 1)
    }

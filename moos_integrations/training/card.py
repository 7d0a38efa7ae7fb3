"""The model card that every trained folder carries, written from the record of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(
    report: dict[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    ranking: str = "",
    limits: str = "",
) -> str:
    """Markdown from the record of a training run.

    Args:
        report: What `train` returns.
        settings: More rows of the table of settings.
        data: Markdown table of the data; None for the names and hashes of the files.
        ranking: What is to be added about the loss for questions.
        limits: What is to be added about limits, as list items.
    """
    recipe, aware = report["recipe"], bool(report["query_aware_examples"])
    curve = report["over_smoothing"][-1][1] if report["over_smoothing"] else []
    rows = {
        "backbone": recipe["backbone"],
        "training pieces": f"{report['training_pieces']:,}",
        "examples (query-aware)": f"{report['examples']:,} ({report['query_aware_examples']:,})",
        "steps, batch": f"{report['steps']:,}, {recipe['batch_size']}",
        "beta (inter-class cosine)": recipe["beta"],
        "weight of passage relevance": recipe["passage_weight"],
        **({"weight of the ranking loss": recipe["ranking_weight"]} if aware else {}),
        **({"weight of the cosine in a sentence's relevance": recipe["similarity_scale"]} if aware else {}),
        "learning rate": recipe["learning_rate"],
        "warm-up and decay, in steps": f"{recipe['warmup_steps']}, {recipe['decay_steps']}",
        "longest input in pieces": recipe["max_pieces"],
        "seed": recipe["seed"],
        **(settings or {}),
        "inter-class cosine by layer, embeddings first": ", ".join(f"{value:.2f}" for value in curve),
        **{name.replace("_", " "): f"{value:.3f}" for name, value in report.get("downstream", {}).items()},
    }
    return _CARD.format(
        reads="`[CLS] passage [SEP]`" + (" and `[CLS] question [SEP] passage [SEP]`" if aware else ""),
        kind="query-free and query-aware" if aware else "query-free",
        relevance=_RELEVANCE.format(scale=recipe["similarity_scale"]) if aware else "",
        ranking=_RANKING + ranking if aware else "",
        settings="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
        data=data or _files(report.get("data_sha256", {})),
        limits=limits,
    )


def _files(hashes: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | `{digest[:16]}` |" for name, digest in hashes.items()]
    return "\n".join(["| data | SHA-256 |", "| --- | --- |", *(rows or ["| (examples in the package) | |"])])


_RELEVANCE = """

With a question, the first piece's own preserve probability is the relevance of the passage. The relevance of a sentence
is the mean log-odds of its pieces, plus {scale:g} times the cosine between the mean last-layer states of the question
and of the sentence; it orders sentences, and is no probability. In training the first piece's log-odds were added."""

_RANKING = """ For questions, the first piece learns whether the passage is relevant, and a listwise loss
sets each sentence that a question needs above all other sentences of its passages."""

_CARD = """---
pipeline_tag: token-classification
tags: [context-compression, prompt-compression, rag]
---

# A MOOSComp token classifier

Gives every word of a passage the probability that a reader will need it: label 1 `preserve`, label 0 `discard`.
It reads {reads}: it is {kind}.{relevance}

## Training

MOOSComp's objective (arXiv 2504.16786): token cross-entropy plus `beta` times the mean cosine between last-layer
states of preserve and discard pieces.{ranking} Word embeddings frozen, raw cased text, padding and special tokens
outside the loss.

| setting or result | value |
| --- | ---: |
{settings}

{data}

`training.json` holds the whole record: settings, loss and over-smoothing curves.

## Limits

* It prefers what its training data asks for.{limits}
* Dropped negations change meaning: use `protect=["negations", "numbers"]` where that matters.

## Citation

* Zhou et al., *MOOSComp: Improving Lightweight Long-Context Compressor via Mitigating Over-Smoothing and Incorporating
  Outlier Scores*, arXiv 2504.16786 (2025).
* COMI (coarse-to-fine context compression by marginal information gain), arXiv 2602.01719, ICLR 2026.

These weights are not the authors'.
"""

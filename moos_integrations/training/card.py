"""The model card that every trained folder carries, written from the record of its run."""

from __future__ import annotations

from typing import Any

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


def model_card(report: dict[str, Any]) -> str:
    """Markdown from the record of a training run.

    Args:
        report: What `train` returns.
    """
    recipe, mix = report["recipe"], report["recipe"]["mix"]
    aware = bool(mix["questions"] or mix["hotpot_copies"])
    data = report.get("data_sha256", {})
    rows = [
        f"| {what} | {labels} | {licence} | `{data[name][:16]}` |"
        for name, (what, labels, licence) in _DATA.items()
        if name in data
    ]
    curve = report["over_smoothing"][-1][1] if report["over_smoothing"] else []
    settings = {
        "backbone": recipe["backbone"],
        "training pieces": f"{report['training_pieces']:,}",
        "examples (query-aware)": f"{report['examples']:,} ({report['query_aware_examples']:,})",
        "steps, batch": f"{report['steps']:,}, {recipe['batch_size']}",
        "beta (inter-class cosine)": recipe["beta"],
        "weight of passage relevance": recipe["passage_weight"],
        **(
            {
                "weight of the ranking loss": recipe["ranking_weight"],
                "weight of the cosine in a sentence's relevance": recipe["similarity_scale"],
                "weight of distillation": recipe["distillation_weight"],
            }
            if aware
            else {}
        ),
        "learning rate": recipe["learning_rate"],
        "warm-up and decay, in steps": f"{recipe['warmup_steps']}, {recipe['decay_steps']}",
        "longest input in pieces": recipe["max_pieces"],
        "seed": recipe["seed"],
        **_averaged(report),
        "inter-class cosine by layer, embeddings first": ", ".join(f"{value:.2f}" for value in curve),
        **{name.replace("_", " "): f"{value:.3f}" for name, value in report.get("downstream", {}).items()},
    }
    reads = "`[CLS] passage [SEP]`" + (" and `[CLS] question [SEP] passage [SEP]`" if aware else "")
    return _CARD.format(
        reads=reads,
        kind="query-free and query-aware" if aware else "query-free",
        relevance=_RELEVANCE.format(scale=recipe["similarity_scale"]) if aware else "",
        ranking=_RANKING if aware else "",
        settings="\n".join(f"| {name} | {value} |" for name, value in settings.items()),
        data="\n".join(rows) or "| (given in the recipe) | | | |",
    )


def _averaged(report: dict[str, Any]) -> dict[str, str]:
    """A row for each model whose weights were averaged in."""
    others = zip(report["recipe"].get("averaged_with", []), report.get("averaged_with", []), strict=True)
    return {
        f"averaged in, {number}": f"{other['share']:.0%}: {run['training_pieces']:,} pieces, "
        f"{run['query_aware_examples']:,} query-aware examples, seed {run['recipe']['seed']}"
        for number, (other, run) in enumerate(others, 1)
    }


_RELEVANCE = """

With a question, the first piece's own preserve probability is the relevance of the passage. The relevance of a sentence
is the mean log-odds of its pieces, plus {scale:g} times the cosine between the mean last-layer states of the question
and of the sentence; it orders sentences, and is no probability. In training the first piece's log-odds were added."""

_RANKING = """ For questions, the first piece learns whether the passage is relevant, and a listwise loss
sets each sentence that a question needs above all other sentences of its passages, hard negatives among them; the
cosine of question and sentence is kept near that of the sentence encoder that it starts from (distillation)."""

_CARD = """---
language: en
license: apache-2.0
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

| data | how words were labelled | licence | SHA-256 |
| --- | --- | --- | --- |
{data}

`training.json` holds the whole record: settings, loss and over-smoothing curves. `moos train` made it.

## Limits

* English prose; code, logs and tables were not trained on.
* What questions about encyclopedic text ask for (names, numbers, dates) is preferred over arguments and instructions.
  Do not prune instructions with it.
* Dropped negations change meaning: use `protect=["negations", "numbers"]` where that matters.

## Citation

* Zhou et al., *MOOSComp: Improving Lightweight Long-Context Compressor via Mitigating Over-Smoothing and Incorporating
  Outlier Scores*, arXiv 2504.16786 (2025).
* COMI (coarse-to-fine context compression by marginal information gain), arXiv 2602.01719, ICLR 2026.

These weights are not the authors'.
"""

"""The card of a saved folder, written from its settings and the record of its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def comi_card(settings: dict[str, Any], report: dict[str, Any], size: int) -> str:
    """Markdown for the folder's README.

    Args:
        settings: Content of `comi.json`.
        report: Record of the training.
        size: Of the weights, in bytes.
    """
    rows = {
        "LLM": f"`{settings['base']}` (fingerprint `{settings['base_fingerprint']}`)",
        "size of the weights": f"{size / 1e6:.1f} MB",
        **{name.replace("_", " "): report[name] for name in ("steps", "training_tokens", "seconds") if name in report},
        **{name.replace("_", " "): value for name, value in report.get("recipe", {}).items() if name not in _PARTS},
        **{name.replace("_", " "): value for name, value in settings["method"].items()},
        **{f"decoder: {name}": value for name, value in settings["tuning"].items()},
    }
    curve = "\n".join(
        f"| {step:,} | {tokens:,} | {stage} | {loss:.4f} |"
        for step, tokens, stage, loss in _spread(report.get("loss_curve", ()), 20)
    )
    hashes = "\n".join(f"| `{name}` | `{own[:16]}` |" for name, own in report.get("data_sha256", {}).items())
    return _CARD.format(
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()), curve=curve, hashes=hashes
    )


def _spread(rows: Sequence[Any], most: int) -> Sequence[Any]:
    """At most `most` rows, evenly spread, the last one among them."""
    return rows[::-1][:: -(-len(rows) // most)][::-1] if rows else rows


_PARTS = ("method", "tuning", "base")

_CARD = """---
tags: [context-compression, soft-compression, rag]
---

# Soft context compression (COMI)

Changed weights for one LLM: an encoder of its first layers, a fusion layer, and a tuned decoder. They turn retrieved
contexts into vectors that the decoder reads in front of the question. The method is COMI (arXiv 2602.01719, ICLR 2026);
these weights are not the authors', and the settings below differ from the published ones where they say so.

```python
from moos_integrations.comi import COMI

comi = COMI.from_pretrained("this folder")
memory = comi.compress(documents, query)
print(comi.answer(memory)[0], memory.tokens_saved)
```

| setting or result | value |
| --- | ---: |
{rows}

| data | SHA-256 |
| --- | --- |
{hashes}

| step | training tokens | stage | mean loss per token |
| ---: | ---: | --- | ---: |
{curve}

`training.json` has the whole record.

## Limits

* It works with this LLM only, and with weights that have this fingerprint.
* Vectors cannot be cited or checked as text can. Details such as numbers and names are lost first.
* It is tuned for questions like those of its training data.
"""

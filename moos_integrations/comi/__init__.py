"""Soft context compression (COMI, arXiv 2602.01719): documents as vectors for a local LLM.

`COMI` compresses and answers, `train` makes one (`moos comi train`). Only the names below are public; each is imported
on first use. The adapters are `moos_integrations.comi.langchain` and `moos_integrations.comi.llama_index`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

if TYPE_CHECKING:
    from moos_integrations.comi.compressor import COMI as COMI
    from moos_integrations.comi.memory import SoftMemory as SoftMemory
    from moos_integrations.comi.settings import DecoderTuning as DecoderTuning
    from moos_integrations.comi.settings import Method as Method
    from moos_integrations.comi.storage import export_decoder as export_decoder
    from moos_integrations.comi.storage import load_llm as load_llm
    from moos_integrations.comi.training import Recipe as Recipe
    from moos_integrations.comi.training import train as train

_HOMES = {
    "COMI": "comi.compressor",
    "DecoderTuning": "comi.settings",
    "Method": "comi.settings",
    "Recipe": "comi.training",
    "SoftMemory": "comi.memory",
    "export_decoder": "comi.storage",
    "load_llm": "comi.storage",
    "train": "comi.training",
}

__all__ = [
    "COMI",
    "DecoderTuning",
    "Method",
    "Recipe",
    "SoftMemory",
    "export_decoder",
    "load_llm",
    "train",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)

"""Prune retrieved context before it reaches the LLM: MOOSComp and COMI for LangChain and LlamaIndex.

Importing this package loads neither torch nor a framework. The adapters are imported on purpose:

    from moos_integrations.langchain import MOOSCompressor
    from moos_integrations.llama_index import MOOSNodePostprocessor
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

if TYPE_CHECKING:
    from moos_integrations.budget import budget_for
    from moos_integrations.core.compressor import ContextCompressor
    from moos_integrations.core.config import CompressorConfig
    from moos_integrations.core.omission import OmissionMark
    from moos_integrations.core.prompt import PromptFormat
    from moos_integrations.core.result import Citation, CompressedDocument, CompressionResult
    from moos_integrations.core.types import Scorer, SegmentedText, WordScores
    from moos_integrations.errors import (
        CompressionError,
        CompressionTimeoutError,
        ConfigError,
        InputError,
        MissingExtraError,
        ModelError,
        MoosError,
        PassthroughWarning,
        TokenizerError,
    )

__version__ = "0.1.0"

_HOMES = {
    "Citation": "core.result",
    "CompressedDocument": "core.result",
    "CompressionError": "errors",
    "CompressionResult": "core.result",
    "CompressionTimeoutError": "errors",
    "CompressorConfig": "core.config",
    "ConfigError": "errors",
    "ContextCompressor": "core.compressor",
    "InputError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "MoosError": "errors",
    "OmissionMark": "core.omission",
    "PassthroughWarning": "errors",
    "PromptFormat": "core.prompt",
    "Scorer": "core.types",
    "SegmentedText": "core.types",
    "TokenizerError": "errors",
    "WordScores": "core.types",
    "budget_for": "budget",
}

__all__ = [
    "Citation",
    "CompressedDocument",
    "CompressionError",
    "CompressionResult",
    "CompressionTimeoutError",
    "CompressorConfig",
    "ConfigError",
    "ContextCompressor",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "MoosError",
    "OmissionMark",
    "PassthroughWarning",
    "PromptFormat",
    "Scorer",
    "SegmentedText",
    "TokenizerError",
    "WordScores",
    "__version__",
    "budget_for",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)

"""Every error that the package raises on purpose.

    MoosError
     |- ConfigError        (ValueError)    a setting or an argument cannot be used
     |- InputError         (TypeError)     documents or a query of the wrong type
     |- ModelError         (RuntimeError)  a classifier cannot be loaded or used
     |- TokenizerError     (RuntimeError)  the target LLM's tokenizer cannot be loaded or used
     |- CompressionError   (RuntimeError)  the model failed on an input; the cause is chained
     |   `- CompressionTimeoutError (TimeoutError)  it did not end within `timeout`
     |- MissingExtraError  (ImportError)   an optional dependency is not installed

Each class also inherits from the fitting built-in exception, so callers may catch either. A message has three parts:
what was expected, what came, and what to do.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class MoosError(Exception):
    """Base of all errors of this package."""


class ConfigError(MoosError, ValueError):
    """A setting or an argument cannot be used."""


class InputError(MoosError, TypeError):
    """Documents or a query of the wrong type."""


class ModelError(MoosError, RuntimeError):
    """A token classifier cannot be loaded or used."""


class TokenizerError(MoosError, RuntimeError):
    """The tokenizer of the target LLM cannot be loaded or used."""


class CompressionError(MoosError, RuntimeError):
    """The model failed while scoring; the original error is chained as the cause."""


class CompressionTimeoutError(CompressionError, TimeoutError):
    """Compression did not end within `timeout` seconds."""


class MissingExtraError(MoosError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        module: The missing module.
        extra: The extra of this package that installs it.
    """

    def __init__(self, module: str, *, extra: str) -> None:
        """Name the missing module and the extra of this package that installs it."""
        super().__init__(
            f"`{module}` is needed here and is not installed. Install it with: pip install 'moos-integrations[{extra}]'"
        )
        self.module, self.extra = module, extra

    def __reduce__(self) -> tuple[Any, ...]:
        """Arguments from which pickle and copy rebuild it."""
        return partial(type(self), extra=self.extra), (self.module,)


class PassthroughWarning(UserWarning):
    """Documents were returned unchanged because compression failed and `on_error="passthrough"` was set."""

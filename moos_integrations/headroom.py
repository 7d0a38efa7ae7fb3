"""headroom: `MOOSHeadroomCompressor`, found by headroom in its group of entry points under the name `moos`.

headroom uses it once it is chosen by that name, for example with `headroom proxy --compressor moos`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moos_integrations.agents.pruning import ToolOutputPruner, goal_of
from moos_integrations.core.checks import check_share, check_whole_number
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.serving.originals import hash_of

if TYPE_CHECKING:
    from headroom.transforms.compressor_registry import CompressInput, CompressorDescriptor, CompressOutput

__all__ = ["MOOSHeadroomCompressor"]

NAME = "moos"
DEFAULT_RATE = 0.5
"""Share of the tokens that is kept if neither the settings nor the call has a target."""

_CONTENT_TYPES = ("text/plain", "text/x-log", "text/x-search-results", "text/x-config", "application/json")
_TARGETS = ("rate", "budget_tokens", "threshold")


class _Pruner(ToolOutputPruner):
    """Its note has the hash in the form in which headroom finds it and offers its tool for reading."""

    def note(self, text: str, name: str, path: str | None) -> str:
        """The line at the end of a pruned text."""
        lines = text.count("\n") + 1
        return f"[pruned: a part of {lines} lines; all of it: <<ccr:{hash_of(text)} {lines}_lines_offloaded>>]"


class MOOSHeadroomCompressor:
    """Prunes a block for its query; all of it can be read again under the hash in its note.

    Without a query, and where pruning saves nothing or fails, the block is returned as it is.
    """

    def __init__(self, *, compressor: ContextCompressor | None = None, **settings: Any) -> None:
        """Check the settings; the weights load on first use.

        Args:
            compressor: Whose model to share, instead of loading one.
            **settings: Of the compressor, as in `CompressorConfig`.

        Raises:
            ConfigError: On an unknown or unusable setting.
        """
        self._settings = settings
        config = CompressorConfig.from_settings(settings)
        self._compressor = compressor or ContextCompressor.from_pretrained(lazy=True, config=config)
        self._pruners: dict[tuple[str, Any], _Pruner] = {}

    @property
    def descriptor(self) -> CompressorDescriptor:
        """What headroom's registry must know."""
        from headroom.transforms.compressor_registry import CompressorDescriptor

        return CompressorDescriptor(
            name=NAME, content_types=list(_CONTENT_TYPES), lossless=False, cost_tier="ml", recoverable=True
        )

    def compress(self, inp: CompressInput) -> CompressOutput:
        """Prune one block; it never raises.

        Args:
            inp: The block, its query, and perhaps a target: `budget_tokens`, `rate` or `threshold` in its `config`, or
                `target_ratio`, a share of the tokens, in its `budget`.
        """
        from headroom.transforms.compressor_registry import CompressOutput

        tokens = 0
        try:
            tokens = self._compressor.counter.count(inp.content)
            if not inp.query.strip():
                return self._unchanged(inp.content, tokens, "there is no query")
            pruner = self._pruner(*self._target(inp.config, inp.budget))
            output = pruner.prune(inp.content, goal_of(inp.query))
        except Exception as error:  # headroom must get its block whatever happens here
            return self._unchanged(inp.content, tokens, f"{type(error).__name__}: {error}")
        if not output.pruned:
            return self._unchanged(inp.content, tokens, "pruning saves nothing")
        name = hash_of(inp.content)
        return CompressOutput(
            content=output.text,
            tokens_before=output.original_tokens,
            tokens_after=output.kept_tokens,
            lossless=False,
            markers=[f"{NAME}:{name}"],
            recoverable={name: inp.content},
        )

    @staticmethod
    def _unchanged(content: str, tokens: int, reason: str) -> CompressOutput:
        from headroom.transforms.compressor_registry import CompressOutput

        return CompressOutput(content, tokens, tokens, lossless=True, warnings=[reason], compressed=False)

    def _target(self, config: Mapping[str, Any], budget: Mapping[str, Any]) -> tuple[str, Any]:
        """Name and value of the call's target, or else of the configured one."""
        ratio = budget.get("target_ratio")
        wanted = {name: config[name] for name in _TARGETS if config.get(name) is not None}
        wanted = wanted or ({"rate": ratio} if ratio is not None else {})
        wanted = wanted or {name: self._settings[name] for name in _TARGETS if self._settings.get(name) is not None}
        name, value = next(iter(wanted.items()), ("rate", DEFAULT_RATE))
        if name == "budget_tokens":
            check_whole_number(name, value, 1)
        else:
            check_share(name, value)
        return name, value

    def _pruner(self, name: str, value: Any) -> _Pruner:
        if (name, value) not in self._pruners:
            others = {own: setting for own, setting in self._settings.items() if own not in _TARGETS}
            if len(self._pruners) >= _MOST_PRUNERS:
                self._pruners.clear()
            self._pruners[name, value] = _Pruner(compressor=self._compressor, **others, **{name: value})
        return self._pruners[name, value]


_MOST_PRUNERS = 32

"""The result of a tool, pruned for the agent's goal; knows no framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import regex

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.json_commas import JsonCommas
from moos_integrations.core.result import CompressionResult
from moos_integrations.errors import ConfigError, InputError

KEPT_LINES = ("errors", "tracebacks", "exit_codes")
"""Detectors of lines that are kept while they fit, whatever the goal is."""

DEFAULT_MIN_TOKENS = 400
"""Results with fewer tokens are left alone."""

DEFAULT_LAST_LINES = 3
DEFAULT_OMISSION = "[... {count} {unit} omitted]"
READ_TOOL = "read_omitted"
"""Name of the tool that reads what was left out."""

_LONGEST_GOAL = 2_000  # characters of the user's message, and of the arguments
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class PrunedOutput:
    """A tool's result as the model is to read it.

    Attributes:
        text: The pruned result with a note on how to read the rest; the result itself if nothing was pruned.
        output_id: Id of the full result, made of its content: the same result has the same id.
        original_tokens: Tokens of the full result; 0 if it was not counted.
        kept_tokens: Tokens of `text`; 0 if it was not counted.
        pruned: Whether anything was left out.
    """

    text: str
    output_id: str
    original_tokens: int
    kept_tokens: int
    pruned: bool


class ToolOutputPruner:
    r"""Prunes results of tools to the lines that matter for a goal.

    Lines stay whole, and JSON stays JSON. Errors, tracebacks, exit codes and the last lines are kept while they fit.
    The same result and goal give the same text.

    Example:
        >>> from moos_integrations.agents import ToolOutputPruner
        >>> pruner = ToolOutputPruner(budget_tokens=200)
        >>> log = "\\n".join(f"12:00:{i % 60:02} INFO worker {i} is idle" for i in range(200))
        >>> output = pruner.prune(f"{log}\\n12:04:01 ERROR worker 7 lost its lease", "Why did worker 7 stop?")
        >>> "ERROR worker 7 lost its lease" in output.text, output.kept_tokens <= 200
        (True, True)
    """

    def __init__(
        self,
        *,
        compressor: ContextCompressor | None = None,
        min_tokens: int = DEFAULT_MIN_TOKENS,
        last_lines: int = DEFAULT_LAST_LINES,
        read_tool: str | None = READ_TOOL,
        **settings: Any,
    ) -> None:
        """Build the compressor; its weights load on first use.

        Args:
            compressor: Whose model to share, instead of loading one.
            min_tokens: Results with fewer tokens are left alone.
            last_lines: How many lines at the end are kept while they fit.
            read_tool: Name of the tool in the note on what was left out; None if there is no such tool.
            **settings: Of the compressor, as in `CompressorConfig`. `protect` adds to `KEPT_LINES`.

        Raises:
            ConfigError: On an unknown or unusable setting.
        """
        for name, value in {"min_tokens": min_tokens, "last_lines": last_lines}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"`{name}` must be a whole number from 0, got {value!r}.")
        self.min_tokens, self.read_tool = min_tokens, read_tool
        protect = [*KEPT_LINES, *_last_lines(last_lines), *settings.pop("protect", ())]
        settings = {"omission": DEFAULT_OMISSION, "on_error": "passthrough", **settings, "min_tokens": 0}
        marked = CompressorConfig.from_settings({**settings, "protect": protect})
        plain = marked.model_copy(update={"omission": None})  # a mark would not be JSON
        self._marked, self._plain = (_compressor(config, compressor) for config in (marked, plain))

    def prune(self, text: str, goal: str | None = None, *, budget_tokens: int | None = None) -> PrunedOutput:
        """Prune one result.

        Args:
            text: The result as the tool gave it.
            goal: What the agent is after; None prunes without one.
            budget_tokens: Most tokens of the text, its note included; None for the configured target.

        Returns:
            The pruned result, or the same text where pruning saves nothing or is not possible.

        Raises:
            InputError: If the text is not a string.
            ConfigError: If the budget is out of range.
        """
        if not isinstance(text, str):
            raise InputError(f"The result of a tool must be a string to be pruned, got {type(text).__name__}.")
        name = output_id(text)
        compressor = self._marked if JsonCommas.of(text) is None else self._plain
        counter = compressor.counter
        tokens = counter.count(text)
        target = budget_tokens if budget_tokens is not None else compressor.config.budget_tokens
        if tokens < self.min_tokens or (target is not None and tokens <= target):
            return PrunedOutput(text, name, tokens, tokens, False)
        room = None if target is None else max(0, target - counter.count(self._note(text, name)) - _JOINT_TOKENS)
        result = compressor.compress(text, goal, budget_tokens=room)
        if result.passed_through:
            return PrunedOutput(text, name, tokens, tokens, False)
        pruned = self._with_note(result, text, name)
        kept = counter.count(pruned)
        if kept >= tokens:
            return PrunedOutput(text, name, tokens, tokens, False)
        return PrunedOutput(pruned, name, tokens, kept, True)

    def read(
        self,
        text: str,
        *,
        start_line: int = 1,
        end_line: int | None = None,
        query: str | None = None,
        max_tokens: int = 2_000,
    ) -> str:
        """A part of a full result: a range of lines, or the lines that matter for a query.

        Args:
            text: The full result.
            start_line: First line, from 1.
            end_line: Last line; None for as many as fit.
            query: What to look for, among those lines.
            max_tokens: Most tokens of the lines.

        Returns:
            The lines, and a line that says where to go on if not all of them fit.
        """
        lines = text.splitlines()
        first, last = max(1, start_line), len(lines) if end_line is None else min(end_line, len(lines))
        if first > last:
            return f"[lines {start_line} to {end_line}: there are {len(lines)} lines]"
        if query:
            part = "\n".join(lines[first - 1 : last])
            return self._marked.compress(part, query, budget_tokens=max_tokens).text
        shown: list[str] = []
        counter, used = self._marked.counter, 0
        for line in lines[first - 1 : last]:
            used += counter.count(f"{line}\n")
            if used > max_tokens and shown:
                shown.append(f"[lines {first} to {first + len(shown) - 1} of {len(lines)}; go on from there]")
                break
            shown.append(line)
        return "\n".join(shown)

    def _with_note(self, result: CompressionResult, text: str, name: str) -> str:
        note = self._note(text, name)
        if JsonCommas.of(text) is None:
            return f"{result.text}\n{note}" if result.text else note
        return _json_with(result.text, note, lines="\n" in text.strip() and _is_lines(text))

    def _note(self, text: str, name: str) -> str:
        lines = text.count("\n") + 1
        if self.read_tool is None:
            return f"[pruned: a part of {lines} lines]"
        return f'[pruned: a part of {lines} lines; read more: {self.read_tool}(output_id="{name}")]'


_JOINT_TOKENS = 8
"""Of what joins the note to the text: a line break, or the key of a member of JSON."""


def output_id(text: str) -> str:
    """The id of a result: the start of a hash of its content."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_LENGTH]


def goal_of(message: str | None, tool: str | None = None, arguments: Any = None) -> str | None:
    """What an agent is after with a call: the user's message, the tool and its arguments.

    Args:
        message: The last message of the user.
        tool: Name of the tool.
        arguments: As the model passed them.

    Returns:
        One text, or None if there is nothing to say.
    """
    values = json.dumps(arguments, ensure_ascii=False, default=str) if arguments else ""
    parts = [(message or "").strip()[:_LONGEST_GOAL], (tool or "").replace("_", " "), values[:_LONGEST_GOAL]]
    return "\n".join(part for part in parts if part) or None


def _last_lines(count: int) -> list[regex.Pattern[str]]:
    """A pattern that finds the last lines with text in them."""
    if not count:
        return []
    # Backwards from the end (`r`), so that the time does not grow with the square of the lines.
    return [regex.compile(rf"(?mr)(?:^[^\n]*\S[^\n]*$\s*){{1,{count}}}\Z")]


def _compressor(config: CompressorConfig, shared: ContextCompressor | None) -> ContextCompressor:
    if shared is None:
        return ContextCompressor.from_pretrained(lazy=True, config=config)
    return ContextCompressor(lambda: shared.scorer, config)


def _is_lines(text: str) -> bool:
    """Whether a JSON text is a value per line."""
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def _json_with(text: str, note: str, *, lines: bool) -> str:
    """JSON with a note in it: a member, an item, or a line."""
    member = f'"...": {json.dumps(note)}'
    if not text.strip() or lines:
        return f"{text}\n{{{member}}}".lstrip()
    body, end = text.rstrip()[:-1].rstrip(), text.rstrip()[-1]
    comma = "" if body in ("{", "[") else ", "
    return f"{body}{comma}{member if end == '}' else json.dumps(note)}{end}"


def names_match(name: str, included: Sequence[str] | None, excluded: Sequence[str]) -> bool:
    """Whether the results of a tool are to be pruned.

    Args:
        name: Of the tool.
        included: Names of the only tools to prune; None for all.
        excluded: Names of tools to leave alone.
    """
    return name not in excluded and (included is None or name in included)

"""The result of a tool, pruned for the agent's goal; knows no framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import regex

from moos_integrations.core.checks import check_whole_number
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.json_commas import json_form
from moos_integrations.errors import InputError

KEPT_LINES = ("errors", "tracebacks", "exit_codes")
"""Detectors of lines that are kept while they fit, whatever the goal is."""

DEFAULT_MIN_TOKENS = 400
"""Results with fewer tokens are left alone."""

DEFAULT_LAST_LINES = 3
DEFAULT_OMISSION = "[... {count} {unit} omitted]"
READ_TOOL = "read_omitted"
"""Name of the tool that reads what was left out."""

_LONGEST_GOAL = 2_000  # characters of the user's message, and of the arguments
_ID_LENGTH = 12  # hexadecimal digits: a folder or store may have the results of many agents
LEAST_BUDGET = 64
"""Fewest tokens of a budget: it must have room for the note on how to read the rest."""


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

    Examples:
        >>> from moos_integrations.agents import ToolOutputPruner
        >>> pruner = ToolOutputPruner(budget_tokens=200)
        >>> log = "\n".join(f"12:00:{i % 60:02} INFO worker {i} is idle" for i in range(200))
        >>> output = pruner.prune(f"{log}\n12:04:01 ERROR worker 7 lost its lease", "Why did worker 7 stop?")
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
            **settings: Of the compressor, as in `CompressorConfig`. `protect` adds to `KEPT_LINES`, and
                `budget_tokens` is at least `LEAST_BUDGET`.

        Raises:
            ConfigError: On an unknown or unusable setting.
        """
        check_whole_number("min_tokens", min_tokens, 0)
        check_whole_number("last_lines", last_lines, 0)
        if settings.get("budget_tokens") is not None:
            check_whole_number("budget_tokens", settings["budget_tokens"], LEAST_BUDGET)
        self.min_tokens, self.read_tool = min_tokens, read_tool
        protect = [*KEPT_LINES, *_last_lines(last_lines), *settings.pop("protect", ())]
        settings = {"omission": DEFAULT_OMISSION, "on_error": "passthrough", **settings, "min_tokens": 0}
        marked = CompressorConfig.from_settings({**settings, "protect": protect})
        own = compressor or ContextCompressor.from_pretrained(lazy=True, config=marked)
        self._marked = ContextCompressor(lambda: own.scorer, marked)
        # A mark would not be JSON.
        self._plain = ContextCompressor(lambda: own.scorer, marked.model_copy(update={"omission": None}))

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
            ConfigError: If the budget is below `LEAST_BUDGET`.
        """
        if not isinstance(text, str):
            raise InputError(f"The result of a tool must be a string to be pruned, got {type(text).__name__}.")
        if budget_tokens is not None:
            check_whole_number("budget_tokens", budget_tokens, LEAST_BUDGET)
        name, form = output_id(text), json_form(text)
        compressor = self._marked if form is None else self._plain
        counter, note = compressor.counter, self._note(text, name)
        tokens = counter.count(text)
        unchanged = PrunedOutput(text, name, tokens, tokens, False)
        ceiling = compressor.config.budget_tokens if budget_tokens is None else budget_tokens
        if tokens < self.min_tokens or (ceiling is not None and tokens <= ceiling):
            return unchanged
        room = None if ceiling is None else max(0, ceiling - counter.count(note) - _JOINT_TOKENS)
        result = compressor.compress(text, goal, budget_tokens=room)
        pruned = _with_note(result.text, note, form)
        kept = counter.count(pruned)
        if result.passed_through or kept >= tokens:
            return unchanged
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
            The lines, and a line that says where to go on if not all of them fit. Of a line that does not fit, the part
            that matters; a line that says so if there is none.
        """
        lines = text.splitlines()
        first, last = max(1, start_line), len(lines) if end_line is None else min(end_line, len(lines))
        if first > last:
            return f"[lines {start_line} to {end_line}: there are {len(lines)} lines]"
        wanted = lines[first - 1 : last]
        if query:
            return self._part("\n".join(wanted), query, max_tokens) or f"[no line fits {max_tokens} tokens]"
        shown = self._that_fit(wanted, max_tokens)
        if not shown:
            part = self._part(wanted[0], None, max_tokens)
            return part or f"[line {first} has more than {max_tokens} tokens; look for a part of it with `query`]"
        if len(shown) < len(wanted):
            shown.append(f"[lines {first} to {first + len(shown) - 1} of {len(lines)}; go on from there]")
        return "\n".join(shown)

    def _part(self, text: str, query: str | None, max_tokens: int) -> str:
        compressor = self._marked if json_form(text) is None else self._plain
        return compressor.compress(text, query, budget_tokens=max_tokens).text

    def _that_fit(self, lines: Sequence[str], max_tokens: int) -> list[str]:
        """The first lines that have at most so many tokens."""
        counter, used = self._marked.counter, 0
        for number, line in enumerate(lines):
            used += counter.count(f"{line}\n")
            if used > max_tokens:
                return list(lines[:number])
        return list(lines)

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


def _with_note(text: str, note: str, form: Literal["value", "lines"] | None) -> str:
    """The pruned text with the note: JSON gets it as a member, an item or a line of its own."""
    if form is None:
        return f"{text}\n{note}" if text else note
    member = f'"...": {json.dumps(note)}'
    body = text.strip()
    if form == "lines" or not body:
        return f"{body}\n{{{member}}}".lstrip()
    inside, end = body[:-1].rstrip(), body[-1]
    comma = "" if inside in ("{", "[") else ", "
    return f"{inside}{comma}{member if end == '}' else json.dumps(note)}{end}"

"""The result of a tool, pruned for the agent's goal; knows no framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import regex

from moos_integrations.agents.narrowing import LONGEST, is_binary, narrowed
from moos_integrations.core.checks import check_whole_number
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.json_commas import json_form
from moos_integrations.core.omission import check_omission
from moos_integrations.errors import InputError

KEPT_LINES = ("errors", "tracebacks", "exit_codes")
"""Detectors of lines that are kept while they fit, whatever the goal is."""

DEFAULT_MIN_TOKENS = 400
"""Results with fewer tokens are left alone."""

DEFAULT_LAST_LINES = 3
DEFAULT_OMISSION = "[... {where} omitted]"
DEFAULT_JSON_OMISSION = "[... {count} {unit} omitted]"
READ_TOOL = "read_omitted"
"""Name of the tool that reads what was left out."""

_LONGEST_GOAL = 2_000  # characters of the user's message, and of the arguments
_LONGEST_LAST = 1_000  # characters of a last line; longer ones are not special
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

    Of a result with more than 100,000 characters, the model reads only the lines, or the elements of JSON, that have
    terms of the goal, errors, or are at an end. Of binary data, and of a line or JSON string that does not fit, nothing
    is shown but the note.

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
        json_counts: bool = False,
        **settings: Any,
    ) -> None:
        """Build the compressor; its weights load on first use.

        Args:
            compressor: Whose model to share, instead of loading one.
            min_tokens: Results with fewer tokens are left alone.
            last_lines: How many lines at the end are kept while they fit.
            read_tool: Name of the tool in the note on what was left out; None if there is no such tool.
            json_counts: Each array and object of JSON gets an item or member that says how many were left out of it.
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
        protect = [*KEPT_LINES, *settings.pop("protect", ())]
        in_json = settings.get("omission", DEFAULT_JSON_OMISSION) if json_counts else None
        settings = {"omission": DEFAULT_OMISSION, "on_error": "passthrough", **settings, "min_tokens": 0}
        value = CompressorConfig.from_settings({**settings, "omission": in_json, "protect": protect})
        lines = value.model_copy(update={"protect": (*protect, *_last_lines(last_lines))})
        marked = lines.model_copy(update={"omission": check_omission(settings["omission"])})
        own = compressor or ContextCompressor.from_pretrained(lazy=True, config=marked)
        self._marked, self._lines, self._plain = (
            ContextCompressor(lambda: own.scorer, config) for config in (marked, lines, value)
        )

    def _of(self, form: Literal["value", "lines"] | None) -> ContextCompressor:
        """What prunes a form of text. The last line of a JSON value is nothing special: it may be all of it."""
        return self._marked if form is None else self._lines if form == "lines" else self._plain

    def prune(
        self, text: str, goal: str | None = None, *, budget_tokens: int | None = None, path: str | None = None
    ) -> PrunedOutput:
        """Prune one result.

        Args:
            text: The result as the tool gave it.
            goal: What the agent is after; None prunes without one.
            budget_tokens: Most tokens of the text, its note included; None for the configured target.
            path: A file that the agent can read the full result from, for the note.

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
        name, tokens = output_id(text), self._count(text)
        unchanged = PrunedOutput(text, name, tokens, tokens, False)
        ceiling = self._marked.config.budget_tokens if budget_tokens is None else budget_tokens
        if tokens < self.min_tokens or (ceiling is not None and tokens <= ceiling):
            return unchanged
        note = self.note(text, name, path)
        pruned = note if is_binary(text) else self._pruned(text, goal, note, ceiling)
        kept = tokens if pruned is None else self._count(pruned)
        return unchanged if pruned is None or kept >= tokens else PrunedOutput(pruned, name, tokens, kept, True)

    def _pruned(self, text: str, goal: str | None, note: str, ceiling: int | None) -> str | None:
        """The pruned text with its note; None if it cannot be pruned."""
        form = json_form(text)
        compressor = self._of(form)
        room = None if ceiling is None else max(0, ceiling - compressor.counter.count(note) - _JOINT_TOKENS)
        if len(text) > LONGEST:
            text = narrowed(text, goal, compressor.config.omission)
        result = compressor.compress(text, goal, budget_tokens=room)
        return None if result.passed_through else _with_note(result.text, note, form)

    def _count(self, text: str) -> int:
        """Tokens of a text; of a long one about."""
        if len(text) <= LONGEST:
            return self._marked.counter.count(text)
        return round(self._marked.counter.count(text[:LONGEST]) * len(text) / LONGEST)

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
            that matters, or a line that says so and its first characters.
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
            return self._part(wanted[0], None, max_tokens) or self._beginning(wanted[0], first, max_tokens)
        if len(shown) < len(wanted):
            shown.append(f"[lines {first} to {first + len(shown) - 1} of {len(lines)}; go on from there]")
        return "\n".join(shown)

    def _part(self, text: str, query: str | None, max_tokens: int) -> str:
        if is_binary(text):
            return ""
        compressor = self._of(json_form(text))
        if len(text) > LONGEST:
            text = narrowed(text, query, compressor.config.omission)
        return compressor.compress(text, query, budget_tokens=max_tokens).text

    def _beginning(self, line: str, number: int, max_tokens: int) -> str:
        """What can be shown of a line without parts, such as binary data: its first characters."""
        fits, beyond = 0, min(len(line), LONGEST) + 1
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            fits, beyond = (middle, beyond) if self._count(line[:middle]) <= max_tokens else (fits, middle)
        said = f"[line {number} has more than {max_tokens} tokens; of its {len(line)} characters the first {fits}:]"
        return f"{said}\n{line[:fits]}"

    def _that_fit(self, lines: Sequence[str], max_tokens: int) -> list[str]:
        """The first lines that have at most so many tokens."""
        counter, used = self._marked.counter, 0
        for number, line in enumerate(lines):
            used += counter.count(f"{line}\n")
            if used > max_tokens:
                return list(lines[:number])
        return list(lines)

    def note(self, text: str, name: str, path: str | None) -> str:
        """The line at the end of a pruned text, which says where all of it is; subclasses may write another one.

        Args:
            text: The full text.
            name: Its id.
            path: The file that has it; None without one.
        """
        count = len(text.splitlines())
        said = f"pruned: a part of {count} lines" if count != 1 else "pruned: a part of 1 line"
        if is_binary(text):
            said = f"binary data: {len(text)} characters"
        if self.read_tool is not None:
            said += f'; read more: {self.read_tool}(output_id="{name}")'
        return f"[{said}; all of it: {path}]" if path else f"[{said}]"


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
    values = _written(arguments) if arguments else ""
    parts = [(message or "").strip()[:_LONGEST_GOAL], (tool or "").replace("_", " "), values[:_LONGEST_GOAL]]
    return "\n".join(part for part in parts if part) or None


def _written(arguments: Any) -> str:
    """Arguments as JSON in one order; as Python writes them where they are no JSON, such as those with cycles."""
    for write in (partial(json.dumps, ensure_ascii=False, default=str, sort_keys=True), repr):
        try:
            return str(write(arguments))
        except Exception:
            continue
    return ""


def _last_lines(count: int) -> list[regex.Pattern[str]]:
    """A pattern that finds the last lines with text in them."""
    if not count:
        return []
    # Backwards from the end (`r`), so that the time does not grow with the square of the lines.
    return [regex.compile(rf"(?mr)(?:^(?=[^\n]*\S)[^\n]{{0,{_LONGEST_LAST}}}+$\s*){{1,{count}}}\Z")]


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

"""Omission marks: the template that a user sets, the text of a mark, and marks that a text has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

import regex

from moos_integrations.core.types import Span
from moos_integrations.errors import ConfigError

FIELDS = ("count", "unit", "where")
"""What a template may name in braces."""
UNITS = ("line", "sentence", "word", "part", "item", "member")
"""What is counted: whole lines, sentences, words where a sentence was cut, and parts where these are mixed.
In JSON, the items of an array, the members of an object, and lines of JSON."""
_PATTERNS = {
    "count": r"\d+",
    "unit": "|".join(f"{unit}s?" for unit in UNITS),
    "where": r"(?:parts? of )?lines? \d+(?:-\d+)?",
}
_EXAMPLE = "'[...]', '[... {count} {unit} omitted]' or '[... {where} omitted]'"


@dataclass(frozen=True, slots=True)
class OmissionMark:
    """A mark in a compressed text, where something of the source was left out.

    Attributes:
        start: Offset into the compressed text.
        end: Offset behind the mark.
        omitted: Span of the source that it is written for.
        count: How many units were left out, those of earlier marks included.
        unit: "line", "sentence", "word" or "part"; in JSON, "item", "member" or "line".
        lines: Numbers of the first and last line that it is for, from 1. In a text that has marks already, they count
            the lines that these are for.
    """

    start: int
    end: int
    omitted: Span
    count: int
    unit: str
    lines: Span = (1, 1)


@dataclass(frozen=True, slots=True)
class EarlierMark:
    """A mark that a text has from an earlier pass.

    Attributes:
        start: Offset into the text.
        end: Offset behind it.
        count: How many units it says were left out; 1 if it does not say.
        unit: Which; empty if it does not say.
        more_lines: How many lines it is for besides the one that it is in, as far as it says so.
    """

    start: int
    end: int
    count: int
    unit: str
    more_lines: int = 0


class MarkTemplate:
    """The checked value of the setting `omission`."""

    def __init__(self, template: str) -> None:
        """Read a template.

        Raises:
            ConfigError: As `check_omission` does.
        """
        self._template = check_omission(template) or ""
        self._pattern = _pattern(self._template)

    def text(self, count: int, unit: str, lines: Span = (1, 1), *, whole_lines: bool = True) -> str:
        """The text of a mark.

        Args:
            count: How many units were left out.
            unit: One of `UNITS`.
            lines: Numbers of the first and last line.
            whole_lines: Whether nothing else of these lines is left.
        """
        first, last = lines
        numbers = f"line {first}" if first == last else f"lines {first}-{last}"
        part = "" if whole_lines else "part of " if first == last else "parts of "
        plural = unit if count == 1 else f"{unit}s"
        return self._template.format(count=count, unit=plural, where=f"{part}{numbers}")

    def earlier(self, text: str) -> Iterator[EarlierMark]:
        """The marks of this template in a text, in order."""
        for match in self._pattern.finditer(text):
            yield _earlier(match.span(), match.groupdict())


def _earlier(span: Span, said: Mapping[str, str | None]) -> EarlierMark:
    """A mark, by what its fields say."""
    where, unit = said.get("where") or "", (said.get("unit") or "").rstrip("s")
    count = int(said.get("count") or 1)
    if not where:
        return EarlierMark(*span, count, unit, count - 1 if unit == "line" else 0)
    first, _, last = where.rpartition(" ")[2].partition("-")
    more = max(0, int(last or first) - int(first))
    if "count" not in said and "unit" not in said and not where.startswith("part"):
        count, unit = more + 1, "line"
    return EarlierMark(*span, count, unit, more)


def check_omission(template: Any) -> str | None:
    """The template of an omission mark, if it can be used; None for no marks.

    Raises:
        ConfigError: Otherwise: what was expected, what came, what to do.
    """
    if template is None:
        return None
    if not isinstance(template, str):
        raise ConfigError(f"`omission` must be a string or None, got {type(template).__name__}. Write {_EXAMPLE}.")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"`omission` must be a template such as {_EXAMPLE}, got {template!r}: {error}. Write a brace as '{{{{'."
        ) from error
    for _, name, form, conversion in parts:
        if name is not None and name not in FIELDS:
            raise ConfigError(
                f"`omission` has the unknown field {name!r}; known are {', '.join(FIELDS)}. Write {_EXAMPLE}."
            )
        if form or conversion:
            raise ConfigError(f"`omission` takes fields without a format, got {template!r}. Write {_EXAMPLE}.")
    literal = "".join(part[0] for part in parts)
    if any(character.isspace() and character != " " for character in literal):
        raise ConfigError(f"`omission` must be one line, got {template!r}: marks get lines of their own as needed.")
    if template != template.strip() or all(character.isalnum() or character.isspace() for character in literal):
        raise ConfigError(
            f"`omission` must be told apart from the text around it: expected brackets, dots or the like, and no "
            f"white space at its ends, got {template!r}. Write {_EXAMPLE}, or None for no marks."
        )
    return template


@lru_cache(maxsize=32)
def _pattern(template: str) -> regex.Pattern[str]:
    """What finds the marks of a template."""
    parts, seen = [], set()
    for literal, name, _, _ in Formatter().parse(template):
        parts.append(regex.escape(literal))
        if name is not None:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_PATTERNS[name]})")
            seen.add(name)
    return regex.compile("".join(parts))

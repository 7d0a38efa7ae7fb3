"""What is never dropped while it fits the target: built-in detectors, regular expressions and literal strings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import regex

from moos_integrations.core.text.words import EMAIL, MONTH
from moos_integrations.core.types import BoolArray, Kind, SegmentedText
from moos_integrations.errors import ConfigError

Protect: TypeAlias = Sequence[Any]
"""Detector names, literal strings and compiled patterns (`re` or `regex`)."""

_UPPER_NAME = r"\p{Lu}[\p{L}\p{M}'’\-]+"

# A level, a word for failure or an exception's name; "0 errors", "no failures" and names of files do not count. Nor do
# comments of code, and statements that only name an exception, such as "raise ValueError(...)".
_STATEMENT = r"(?:raise|except|class|throw|import)\b[^:]*[\w)];?$|except\b|class \w+\(|from [\w.]+ import\b"
_NAMED = r"(?<!\b(?:raises?|except|class|throws?|throw new|catch)[ (]{1,2})"
_ERROR_LINE = (
    rf"^(?![ \t]*(?:#(?!#?\[)|//|\*[ /]|{_STATEMENT}))(?=.{{0,500}}?(?:"
    r"(?<![\w./\-])(?i:fatal|panic(?:ked)?|critical|segmentation fault|core dumped|permission denied|"
    r"command not found|no such file or directory|cannot|could not|undefined reference|unhandled|aborted|"
    r"(?<!\bno )(?<!\b0 )(?:errors?|exceptions?|fail(?:ed|ures?|s)?))(?![\w/\-]|\.\w)|"
    rf"{_NAMED}\b\p{{Lu}}\w*(?:Error|Exception)\b(?![ \t]*[,)])|"
    r"^E {2,}|^[ \t]*[✗✘]|^not ok\b|\bnpm ERR!|\berror\[\w+\]))"
    r".+$"
)
# From the line that opens a trace to its last frame, and the exception behind it.
_TRACEBACK = (
    r"^[^\n]*Traceback \(most recent call last\):.*(?:\n[ \t]+\S.*)*+(?:\n\S.*)?|"
    r"^(?:Exception in thread|Caused by:|[\w.$]+(?:Exception|Error)\b).*(?:\n[ \t]+(?:at |\.\.\. ).*)++|"
    r"^(?:goroutine \d+ \[|panic:).*(?:\n.+)*+|"
    r"^thread '[^'\n]*' .*panicked at.*(?:\n.+){0,3}+"
)
_EXIT_CODE = (
    r"^.{0,500}?\b(?:exit(?:ed)?(?: with)?[ _]*(?:code|status|value)|return(?:ed)? (?:code|non-zero exit status)|"
    r"exit status|errorlevel|killed by signal|terminated by signal|signal)\b\W{0,3}(?:with\W+)?-?\w*\d+.*$"
)

DETECTORS: Mapping[str, regex.Pattern[str]] = {
    "numbers": regex.compile(r"\d+"),
    "dates": regex.compile(
        r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b(?:19|20)\d\d\b|\d{4}年|"
        rf"\b\d{{1,2}}(?:st|nd|rd|th|\.)?\s+(?:(?:of|de)\s+)?(?i:{MONTH})\b|"
        r"\b(?:Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|"
        r"Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
        r"Nov(?:ember)?|Dec(?:ember)?)\b\.?(?:\s+\d{1,2}(?:st|nd|rd|th)?\b)?"
    ),
    "negations": regex.compile(
        r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|without|cannot|unless|except|\w+n['’]t|isnt|dont|cant)\b",
        regex.IGNORECASE,
    ),
    "urls": regex.compile(r"\b(?:[a-zA-Z][a-zA-Z0-9+.\-]{1,15}://|www\.)[^\s<>\"'`]+"),
    "emails": regex.compile(EMAIL),
    "identifiers": regex.compile(
        # Begun at the start of a run only, and bounded: time stays linear, whatever the text.
        r"(?<![\w.\-:])[.\-:]*+(?=[\w.\-:]{0,200}\d)(?=[\w.\-:]{0,200}\p{L})\w[\w.\-:]*\w\b|"
        r"\b\w+_\w+\b|\b\p{Ll}+\p{Lu}\w*\b|(?<![\w.])\w++(?:\.\w++)*+\(\)"
    ),
    "paths": regex.compile(
        r"(?<![\w/])(?:[A-Za-z]:|~|\.{1,2})?(?:[\\/][\w.\-@+]+)+[\\/]?|(?<![\w\-])[\w\-]{1,128}+\.\p{Ll}{1,4}\d?\b"
    ),
    "code": regex.compile(r"`[^`\n]+`"),
    "quotes": regex.compile(r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”|«[^»\n]{1,300}»|「[^」\n]{1,300}」"),
    "names": regex.compile(
        rf"(?<![.!?:\n]\s)(?<!^){_UPPER_NAME}(?:\s+{_UPPER_NAME})*|{_UPPER_NAME}(?:\s+{_UPPER_NAME})+"
    ),
    "headings": regex.compile(r"^[ ]{0,3}#{1,6}[ ].*$", regex.MULTILINE),
    "errors": regex.compile(_ERROR_LINE, regex.MULTILINE),
    "tracebacks": regex.compile(_TRACEBACK, regex.MULTILINE),
    "exit_codes": regex.compile(_EXIT_CODE, regex.MULTILINE | regex.IGNORECASE),
    "diff_hunks": regex.compile(
        r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*(?:\n[-+ \\].*|\n(?=[-+ \\]))*+", regex.MULTILINE
    ),
}
"""Built-in detectors by name; each finds spans of text, and every word that a span touches is protected."""
KINDS: Mapping[str, tuple[Kind, ...]] = {"code": (Kind.CODE, Kind.FENCE), "headings": (Kind.HEADING,)}
"""Kinds of units that a detector protects whole, beside what its expression finds."""


def check_protect(protect: Iterable[Any]) -> tuple[Any, ...]:
    """Check what the user passed as `protect`.

    Args:
        protect: Names of detectors, literal strings, and compiled patterns.

    Returns:
        The same items as a tuple.

    Raises:
        ConfigError: If it is a bare string, has an item of another type or an empty one, or a string that looks like a
            misspelt detector name.
    """
    if isinstance(protect, (str, re.Pattern, regex.Pattern)) or not isinstance(protect, Iterable):
        raise ConfigError(
            f"`protect` must be a list of detector names ({', '.join(DETECTORS)}), literal strings or compiled "
            f"patterns; got {protect!r}."
        )
    items = tuple(protect)
    for item in items:
        if not isinstance(getattr(item, "pattern", item), str) or item == "":
            raise ConfigError(
                f"`protect` takes detector names, non-empty strings and compiled text patterns; got {item!r}."
            )
        if isinstance(item, str) and item not in DETECTORS:
            near = difflib.get_close_matches(item, DETECTORS, n=1, cutoff=0.8)
            if near:
                raise ConfigError(
                    f"`protect` got {item!r}, which is no detector; did you mean {near[0]!r}? To protect that text "
                    f"itself, pass `re.compile(re.escape({item!r}))`."
                )
    return items


BINDING = ("negations",)
"""Detectors of what says something with its sentence only: it is never dropped alone, and draws no sentence in."""


def protected_words(document: SegmentedText, protect: Protect) -> BoolArray:
    """True for each word that a protected span touches, those of `BINDING` detectors apart. Shape: `(words,)`."""
    flags = np.zeros(len(document), bool)
    for item in protect:
        if isinstance(item, str) and item in BINDING:
            continue
        spans = [match.span() for match in _pattern(item).finditer(document.text)]
        if spans:
            table = np.array([span for span in spans if span[0] < span[1]], np.int64).reshape(-1, 2)
            first = np.searchsorted(document.word_ends, table[:, 0], side="right")
            last = np.searchsorted(document.word_starts, table[:, 1], side="left")
            # Words [first, last) of each span: +1 at its first word, -1 behind its last.
            change = np.zeros(len(document) + 1, np.int64)
            np.add.at(change, first, 1)
            np.add.at(change, np.maximum(last, first), -1)
            flags |= np.cumsum(change[:-1]) > 0
        if isinstance(item, str) and item in KINDS:
            flags |= np.isin(document.unit_kinds, KINDS[item])[document.unit_of_word]
    return flags


def _pattern(item: Any) -> Any:
    if isinstance(item, str):
        return DETECTORS.get(item) or regex.compile(regex.escape(item))
    return item


def pattern_to_json(item: Any) -> Any:
    """A `protect` item as JSON: a string, or an object with the expression and its flags."""
    if isinstance(item, str):
        return item
    return {
        "pattern": item.pattern,
        "flags": int(item.flags),
        "module": type(item).__module__.split(".")[0].lstrip("_"),
    }


def pattern_from_json(item: Any) -> Any:
    """The `protect` item that `pattern_to_json` wrote."""
    if isinstance(item, Mapping):
        compile_ = regex.compile if item.get("module") == "regex" else re.compile
        return compile_(item["pattern"], item.get("flags", 0))
    return item

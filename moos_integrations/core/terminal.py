"""Views for terminals: plain lines, and the same in colour with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from moos_integrations.core.reasons import Header, ShownUnit, in_words
from moos_integrations.core.views import COLUMNS, MAX_CHARACTERS, MAX_UNITS, bounded, short, visible
from moos_integrations.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

_SIGNS = {"kept": "+", "thinned": "~", "dropped": "-"}
LEGEND = "+ kept   ~ thinned   - dropped"


def header_lines(header: Header | None) -> list[str]:
    """The counts, the question and the warnings."""
    if header is None:
        return []
    lines = [" | ".join([header.tokens, *header.details])]
    if header.question is not None:
        lines.append(f"question: {short(' '.join(visible(header.question).split()), 300)}")
    return lines + [f"warning: {visible(text)}" for text in header.warnings]


def plain(header: Header | None, units: Sequence[ShownUnit], headings: Sequence[str], rest: str) -> str:
    """A view without colours: a sign before each sentence or line, and the reason behind it."""
    lines, document = [*header_lines(header), LEGEND], -1
    for unit in units:
        for index in range(document + 1, unit.document + 1):
            lines.append(headings[index])
        document = unit.document
        lines += _lines_of(unit)
    if len(units) < MAX_UNITS:
        lines += headings[document + 1 :]
    return "\n".join([*lines, rest] if rest else lines)


def _lines_of(unit: ShownUnit) -> Iterator[str]:
    text = visible(unit.text[:MAX_CHARACTERS]).strip("\n")
    if not text.strip():
        return
    sign = _SIGNS[unit.state]
    *before, last = text.split("\n")
    for line in before:
        yield f"{sign} {line}"
    yield f"{sign} {last.rstrip()}  ({in_words(unit)})"


def rich_view(
    header: Header | None,
    units: Sequence[ShownUnit],
    headings: Sequence[str],
    rest: str,
    numbers: Sequence[Sequence[str]],
) -> Group:
    """The view for `rich.print`: kept text green, protected yellow, needed blue, dropped dim and struck through."""
    try:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text
    except ImportError as error:
        raise MissingExtraError("rich", extra="cli") from error
    parts: list[Text | Table] = [Text(line, style="bold") for line in header_lines(header)[:1]]
    parts += [Text(line, style="yellow" if line.startswith("warning") else "") for line in header_lines(header)[1:]]
    parts.append(_legend())
    for index, heading in enumerate(headings):
        own = [unit for unit in units if unit.document == index]
        if len(units) >= MAX_UNITS and index > units[-1].document:
            break
        parts.append(Text(heading, style="bold"))
        if own:
            parts.append(_grid(own))
    if rest:
        parts.append(Text(rest, style="yellow"))
    if numbers:
        table = Table(title="Units")
        for name in COLUMNS:
            table.add_column(name, no_wrap=True)
        for row, unit in zip(numbers, units, strict=False):
            table.add_row(*map(Text, row), style="dim" if unit.state == "dropped" else "")
        parts.append(table)
    return Group(*parts)


def _legend() -> Text:
    from rich.text import Text

    return Text.assemble(
        ("+ kept", "green"),
        "   ~ thinned   ",
        ("protected", "yellow"),
        "   ",
        ("needed by kept text", "cyan"),
        "   ",
        ("- dropped", "dim strike"),
    )


def _grid(units: Sequence[ShownUnit]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=3)
    grid.add_column(ratio=1, style="dim")
    for unit in units:
        if unit.text.strip():
            grid.add_row(_SIGNS[unit.state], _coloured(unit), in_words(unit))
    return grid


def _coloured(unit: ShownUnit) -> Text:
    from rich.text import Text

    coloured = Text()
    for part, word in bounded(unit.parts):
        coloured.append(visible(part), style="" if word is None else _style(word.kept, word.reason))
    coloured.rstrip()
    return coloured


def _style(kept: bool, reason: str) -> str:
    if not kept:
        return "dim strike"
    return {"protected": "bold yellow", "kept text needs it": "cyan"}.get(reason, "green")


def plain_result(header: Header, text: str) -> str:
    """The counts and the kept text, at most as long as a view."""
    shown = visible(text[:MAX_CHARACTERS])
    left = len(text) - MAX_CHARACTERS
    lines = [*header_lines(header), shown] if shown else header_lines(header)
    return "\n".join([*lines, f"Not shown: {left:,} more characters of `text`."] if left > 0 else lines)

"""A comparison as a table for the terminal, as Markdown and JSON, and as a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moos_integrations.evaluation.comparison import WHOLE, Comparison, Row
from moos_integrations.evaluation.plot import draw, new_axes

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("target", "method", "answers kept", "95 % interval", "tokens kept", "tokens", "seconds")
_NARROW = ("target", "method", "answers", "95 %", "kept", "tokens", "seconds")  # for terminals of 80 columns
_EXPLANATION = """\
*Answers kept*: share of the questions with an accepted answer in the compressed text, as whole words; higher is better.
*Interval*: 95 % Wilson interval over the questions. *Tokens kept*: mean share of the tokens of a question's documents;
lower is cheaper. *Seconds*: median of a call, scoring included. For each question, a baseline gets as many tokens as
`moos` kept."""


def table(comparison: Comparison) -> Table:
    """The rows as a table of the package rich, the best method of each target in bold."""
    from rich import box
    from rich.table import Table

    found = Table(title=_title(comparison), title_justify="left", box=box.SIMPLE)
    for place, column in enumerate(_NARROW):
        found.add_column(column, justify="left" if place < 2 else "right", no_wrap=True)
    for place, row in enumerate(comparison.rows):
        if place and row.target != comparison.rows[place - 1].target:
            found.add_section()
        best = max(own.answers for own in comparison.rows if own.target == row.target)
        found.add_row(*_cells(row), style="bold" if row.answers == best and row.method != WHOLE else "")
    return found


def markdown(comparison: Comparison, plot: str = "") -> str:
    """The report as Markdown.

    Args:
        comparison: What `evaluate` found.
        plot: File name of the plot; empty for a report without it.
    """
    lines = [f"# {_title(comparison)}", ""]
    if comparison.left_out:
        some = "question was" if comparison.left_out == 1 else "questions were"
        lines += [f"{comparison.left_out} more {some} left out: the documents hold no answer.", ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in comparison.rows]
    lines += ["", _EXPLANATION, f"Tokens are those of `{comparison.tokenizer}`."]
    lines += ["", f"![Answers kept against tokens kept]({plot})"] if plot else []
    return "\n".join(lines) + "\n"


def save(comparison: Comparison, folder: Path, **more: Any) -> list[Path]:
    """Write `report.md`, `report.json` and `report.svg`.

    Args:
        comparison: What `evaluate` found.
        folder: Made if need be.
        more: Further entries of the JSON file.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, values, picture = (folder / f"report.{kind}" for kind in ("md", "json", "svg"))
    axes = plot(comparison)
    axes.figure.savefig(picture, metadata={"Date": None})
    page.write_text(markdown(comparison, picture.name), encoding="utf-8")
    values.write_text(json.dumps({**asdict(comparison), **more}, indent=1) + "\n", encoding="utf-8")
    return [page, values, picture]


def plot(comparison: Comparison, axes: Any = None) -> Any:
    """Answers kept against tokens kept, a line per method with its intervals.

    Args:
        comparison: What `evaluate` found.
        axes: Matplotlib axes to draw on; None for new ones.

    Returns:
        The axes.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    axes = axes if axes is not None else new_axes()
    methods = dict.fromkeys(row.method for row in comparison.rows if row.method != WHOLE)
    lines = {
        name: [(row.kept, row.answers, row.low, row.high) for row in comparison.rows if row.method == name]
        for name in methods
    }
    draw(axes, lines, whole=1.0)
    axes.set(xlabel="share of tokens kept", ylabel="share of answers kept", title=f"{comparison.questions} questions")
    return axes


def _title(comparison: Comparison) -> str:
    name = f"{comparison.model}: " if comparison.model else ""
    return f"{name}answers kept, {comparison.questions} questions"


def _cells(row: Row) -> list[str]:
    return [
        row.target or "-",
        row.method,
        f"{row.answers:.1%}",
        "-" if row.method == WHOLE else f"{100 * row.low:.0f} to {100 * row.high:.0f}%",
        f"{row.kept:.1%}",
        f"{row.tokens:,.0f}",
        "-" if row.seconds is None else f"{row.seconds:.3f}",
    ]

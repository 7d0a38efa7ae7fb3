"""How curves are drawn: one colour per method, intervals as bars, the legend beside the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moos_integrations.errors import MissingExtraError

COLOURS = {"moos": "#0072b2", "bm25": "#d55e00", "lead": "#999999"}
"""Of the methods that are drawn most often; from a palette that colour-blind people can read."""
_MORE = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")

Places = Sequence[tuple[float, float, float, float]]
"""Share of tokens kept, value, lower and upper end of its interval."""


def new_axes() -> Any:
    """Axes with room for a legend.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="eval") from error
    return Figure(figsize=(7, 4), layout="constrained").subplots()


def draw(axes: Any, lines: Mapping[str, Places], whole: float) -> None:
    """Draw a line per method, and the value on all of the text as a dashed one.

    Args:
        axes: Matplotlib axes.
        lines: By method.
        whole: The value on the uncompressed documents.
    """
    more = iter(_MORE * (1 + len(lines) // len(_MORE)))
    for name, places in lines.items():
        kept, values, low, high = zip(*sorted(places), strict=True)
        below = [max(value - end, 0.0) for value, end in zip(values, low, strict=True)]
        above = [max(end - value, 0.0) for value, end in zip(values, high, strict=True)]
        colour = COLOURS.get(name) or next(more)
        axes.errorbar(kept, values, yerr=(below, above), marker="o", capsize=3, color=colour, label=name)
    axes.axhline(whole, color="black", linestyle="--", linewidth=1, label="all of the text")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)

"""HTML views for notebooks and web pages: readable in light and dark, without scripts, all text escaped.

Kept text is in `<mark>` and dropped text in `<del>`, so that the views can be read where styles are removed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from moos_integrations.core.reasons import Header, Reason, ShownUnit, UnitExplanation, WordExplanation, in_words
from moos_integrations.core.types import Span

MAX_CHARACTERS = 100_000
"""Most characters of the sources that a view shows; it says how many are left."""
MAX_UNITS = 500
"""Most sentences and lines that a view shows; it says how many are left."""

PALETTES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "ground": "#ffffff",
        "text": "#1f2328",
        "quiet": "#57606a",
        "line": "#d0d7de",
        "kept": "#d2f4d9",
        "on-kept": "#0a3d1a",
        "protected": "#ffe9a8",
        "on-protected": "#4a3500",
        "needed": "#d6e8ff",
        "on-needed": "#0a3069",
        "bar": "#2da44e",
        "idle": "#afb8c1",
        "warning": "#953800",
    },
    "dark": {
        "ground": "#0d1117",
        "text": "#e6edf3",
        "quiet": "#9aa4af",
        "line": "#30363d",
        "kept": "#123d20",
        "on-kept": "#c9f7d4",
        "protected": "#4d3d00",
        "on-protected": "#ffeeb8",
        "needed": "#12315c",
        "on-needed": "#d3e5ff",
        "bar": "#3fb950",
        "idle": "#545d68",
        "warning": "#ffb77c",
    },
}
"""Colours by name; every text has a contrast of at least 4.5 to its ground in both."""
# The page around a view decides, where it is known to be light or dark; else the system does.
_LIGHT_HOSTS = ('[data-jp-theme-light="true"]', '[data-md-color-scheme="default"]', ".vscode-light")
_DARK_HOSTS = ('[data-jp-theme-light="false"]', '[data-md-color-scheme="slate"]', ".vscode-dark")
_RULES = """
.moos-view{background:var(--moos-ground);color:var(--moos-text);font:15px/1.5 system-ui,sans-serif;padding:.75em 1em;
border:1px solid var(--moos-line);border-radius:6px;max-width:75em;overflow-wrap:anywhere;text-align:left}
.moos-view p,.moos-view ul{margin:0 0 .4em;padding-left:0}
.moos-view .moos-quiet{color:var(--moos-quiet)}
.moos-view .moos-warning{color:var(--moos-warning);list-style:none}
.moos-view .moos-heading{font-weight:600;margin:.9em 0 .3em;border-bottom:1px solid var(--moos-line)}
.moos-view .moos-unit{display:grid;grid-template-columns:6.5em 1fr 16em;gap:0 .8em;padding:.1em 0}
.moos-view .moos-score{color:var(--moos-quiet);font-size:.8em;display:flex;gap:.4em;align-items:center;height:1.9em}
.moos-view .moos-bar{flex:1;height:.6em;background:var(--moos-line);border-radius:2px;overflow:hidden}
.moos-view .moos-bar i{display:block;height:100%;background:var(--moos-idle)}
.moos-view .moos-is-kept .moos-bar i,.moos-view .moos-is-thinned .moos-bar i{background:var(--moos-bar)}
.moos-view .moos-text{white-space:pre-wrap;unicode-bidi:isolate;min-width:0}
.moos-view .moos-why{color:var(--moos-quiet);font-size:.8em;line-height:1.875}
.moos-view mark{background:var(--moos-kept);color:var(--moos-on-kept);border-radius:2px}
.moos-view mark.moos-protected{background:var(--moos-protected);color:var(--moos-on-protected)}
.moos-view mark.moos-needed{background:var(--moos-needed);color:var(--moos-on-needed)}
.moos-view del{color:var(--moos-quiet);text-decoration:line-through}
.moos-view .moos-source del{text-decoration:none}
.moos-view .moos-table{overflow-x:auto}
.moos-view table{color:var(--moos-text);background:var(--moos-ground);border-collapse:collapse;font-size:.85em}
.moos-view th,.moos-view td{border:1px solid var(--moos-line);padding:.15em .5em;text-align:left}
@media (max-width:44em){.moos-view .moos-unit{grid-template-columns:4.5em 1fr}.moos-view .moos-why{grid-column:2}}
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body{{margin:0;padding:1em;background:#ffffff}}@media (prefers-color-scheme:dark){{body{{background:#0d1117}}}}
.moos-view{{margin:0 auto}}</style></head>
<body>
{body}
</body>
</html>
"""
# Control characters, marks that turn the direction of all text behind them round, lone surrogates.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")
COLUMNS = ("document", "unit", "relevance", "redundancy", "with", "gain", "share", "kept words")


def _variables(palette: str) -> str:
    return "".join(f"--moos-{name}:{colour};" for name, colour in PALETTES[palette].items())


def _style() -> str:
    light, dark = _variables("light"), _variables("dark")
    hosts = {
        palette: ",".join(f"{host} .moos-view" for host in own)
        for palette, own in (("light", _LIGHT_HOSTS), ("dark", _DARK_HOSTS))
    }
    return (
        f".moos-view{{{light}}}\n@media (prefers-color-scheme:dark){{.moos-view{{{dark}}}}}\n"
        f"{hosts['light']}{{{light}}}\n{hosts['dark']}{{{dark}}}{_RULES}"
    )


STYLE = _style()
"""The style sheet of all views; its rules reach nothing outside of them."""


def visible(text: str) -> str:
    """The text with control characters as signs that neither browsers nor terminals act on.

    Line feeds and tabs stay. A lone surrogate, which no encoding can write, becomes U+FFFD.
    """
    return _CONTROL.sub(_sign, text.replace("\r\n", "\n"))


def _sign(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def escaped(text: str) -> str:
    """The text for HTML, in attributes too."""
    return html.escape(visible(text), quote=True)


def explanation_html(
    header: Header | None,
    units: Sequence[ShownUnit],
    headings: Sequence[str],
    left_out: str,
    numbers: Sequence[Sequence[str]],
) -> str:
    """The view of an explanation, with its style sheet, to be put into any page.

    Args:
        header: The counts; None for none.
        units: As many as are shown.
        headings: Of each document.
        left_out: What is not shown, in words.
        numbers: The cells of the table of units.
    """
    rows = units_html(units, headings)
    return _view([header_html(header), _LEGEND, *rows, _rest_html(left_out), numbers_html(numbers)])


def result_html(header: Header, sources: Sequence[tuple[str, str, Sequence[Span]]]) -> str:
    """The view of a result, with its style sheet, to be put into any page.

    Args:
        header: The counts.
        sources: Of each document a heading, the source, and its kept spans.
    """
    parts, left = [header_html(header), "<p><mark>kept</mark> <del>dropped</del></p>"], MAX_CHARACTERS
    for heading, source, spans in sources:
        if left <= 0:
            break
        parts.append(_source_html(heading, source, spans, left))
        left -= len(source)
    left_out = sum(len(source) for _, source, _ in sources) - MAX_CHARACTERS
    if left_out > 0:
        parts.append(_rest_html(f"Not shown: {left_out:,} more characters. `text` and `highlight` have them all."))
    return _view(parts)


def _view(parts: Iterable[str]) -> str:
    return f'<div class="moos-view"><style>{STYLE}</style>{"".join(parts)}</div>'


def _source_html(heading: str, source: str, spans: Sequence[Span], most: int) -> str:
    """A document with its kept text marked: its first `most` characters."""
    marked = marked_html(source[:most], spans)  # spans may reach beyond
    return f'{heading_html(heading)}<div class="moos-text moos-source" dir="auto">{marked}</div>'


def page(title: str, body: str) -> str:
    """A page with one view; it loads nothing."""
    return _PAGE.format(title=escaped(title), body=body)


def header_html(header: Header | None) -> str:
    """Tokens, target, documents and time; below, the question and the warnings."""
    if header is None:
        return ""
    details = " · ".join(map(escaped, header.details))
    tokens = escaped(header.tokens).replace("-&gt;", "→")
    question = "" if header.question is None else f"<p><b>Question:</b> {_dir(short(header.question, 2000))}</p>"
    warnings = "".join(f'<li class="moos-warning">Warning: {escaped(text)}</li>' for text in header.warnings)
    return f'<p><b>{tokens}</b> <span class="moos-quiet">· {details}</span></p>{question}' + (
        f"<ul>{warnings}</ul>" if warnings else ""
    )


def _dir(text: str) -> str:
    return f'<span dir="auto">{escaped(text)}</span>'


def short(text: str, most: int) -> str:
    """The text, or its start with an ellipsis, in at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


_LEGEND = (
    "<p><mark>kept</mark> <mark class='moos-protected'>kept because protected</mark> "
    "<mark class='moos-needed'>kept because kept text needs it</mark> <del>dropped</del> "
    '<span class="moos-quiet">· bars: relevance, longer is more relevant; hover a word for its scores</span></p>'
)


def first_units(units: Iterable[ShownUnit]) -> list[ShownUnit]:
    """As many units as a view shows, from the first on."""
    found: list[ShownUnit] = []
    left = MAX_CHARACTERS
    for unit in units:
        if left <= 0 or len(found) >= MAX_UNITS:
            break
        found.append(unit)
        left -= len(unit.text)
    return found


def units_html(units: Sequence[ShownUnit], headings: Sequence[str]) -> Iterator[str]:
    """Sentences and lines of the documents, in source order.

    Args:
        units: As shown.
        headings: Of each document.
    """
    scale, document = _scale(units), -1
    for unit in units:
        yield from map(heading_html, headings[document + 1 : unit.document + 1])
        document = unit.document
        yield _unit_html(unit, scale)
    if len(units) < MAX_UNITS:
        yield from map(heading_html, headings[document + 1 :])


def heading_html(text: str) -> str:
    """The heading of a document."""
    return f'<p class="moos-heading">{escaped(text).replace("-&gt;", "→")}</p>'


def _scale(units: Sequence[ShownUnit]) -> tuple[float, float]:
    """Smallest and largest relevance among the units."""
    values = [unit.unit.relevance for unit in units if unit.unit is not None and unit.words]
    return (min(values), max(values)) if values else (0.0, 0.0)


def length_of_bar(relevance: float, scale: tuple[float, float]) -> float:
    """How long the bar of a unit is, in [0.04, 1]."""
    least, most = scale
    return 1.0 if most <= least else 0.04 + 0.96 * min(max((relevance - least) / (most - least), 0.0), 1.0)


def _unit_html(unit: ShownUnit, scale: tuple[float, float]) -> str:
    bar = ""
    if unit.unit is not None and unit.words:
        width = 100 * length_of_bar(unit.unit.relevance, scale)
        bar = (
            f'<span class="moos-bar"><i style="width:{width:.0f}%"></i></span>'
            f'<span title="relevance, in log-odds">{unit.unit.relevance:.1f}</span>'
        )
    text = "".join(_parts_html(bounded(unit.parts))).rstrip()
    return (
        f'<div class="moos-unit moos-is-{unit.state}"><span class="moos-score">{bar}</span>'
        f'<span class="moos-text" dir="auto">{text}</span><span class="moos-why">{escaped(in_words(unit))}</span></div>'
    )


def bounded(parts: Sequence[tuple[str, WordExplanation | None]]) -> Iterator[tuple[str, WordExplanation | None]]:
    """The parts of one unit up to the limit of a whole view: a unit may be a megabyte long."""
    left = MAX_CHARACTERS
    for text, word in parts:
        if left > 0:
            yield text[:left], word
        left -= len(text)


def _parts_html(parts: Iterable[tuple[str, WordExplanation | None]]) -> Iterator[str]:
    """Words with their scores on hover; white space between two words of one look has it too."""
    space, look = "", None
    for text, word in parts:
        if word is None:
            space = text
            continue
        own = _look(word)
        if space and look == own:
            yield f"<{own}>{escaped(space)}</{own.split()[0]}>"
        else:
            yield escaped(space)
        yield f'<{own} title="{_scores_of(word)}">{escaped(text)}</{own.split()[0]}>'
        space, look = "", own
    yield escaped(space)


def _look(word: WordExplanation) -> str:
    return f"mark{_CLASSES.get(word.reason, '')}" if word.kept else "del"


_CLASSES: Mapping[Reason, str] = {
    "protected": " class='moos-protected'",
    "kept text needs it": " class='moos-needed'",
}


def _scores_of(word: WordExplanation) -> str:
    outlier = "" if word.outlier_score is None else f", outlier score {word.outlier_score:.2f}"
    return f"preserve probability {word.preserve_probability:.2f}{outlier}, metric {word.metric:.2f}"


def rest(units: Sequence[ShownUnit], all_units: int, all_characters: int) -> str:
    """What a view leaves out, in words; "" for nothing.

    Args:
        units: As shown.
        all_units: Number of units of the request.
        all_characters: Code points of its sources.
    """
    left = all_characters - sum(min(len(unit.text), MAX_CHARACTERS) for unit in units)
    if left <= 0:
        return ""
    return f"Not shown: {left:,} more characters, {all_units - len(units):,} sentences and lines. `words` has them all."


def _rest_html(text: str) -> str:
    """What a view leaves out; "" for nothing."""
    return f'<p class="moos-warning">{escaped(text)}</p>' if text else ""


def unit_cells(unit: UnitExplanation, units: Sequence[UnitExplanation]) -> list[str]:
    """The numbers of a unit, one per column of the table of units."""
    other = "" if unit.against is None else start_of(units[unit.against].text)
    return [
        f"[{unit.document}]",
        start_of(unit.text),
        f"{unit.relevance:.2f}",
        "repeated" if unit.repetition else f"{unit.redundancy:.2f}",
        other,
        f"{unit.gain:.2f}",
        "< 0.1%" if 0 < unit.share < 0.001 else f"{unit.share:.1%}",
        f"{unit.kept_words} of {unit.words}",
    ]


def start_of(text: str) -> str:
    """The start of a sentence or line, in one line."""
    return short(" ".join(visible(text[:400]).split()), 40)


def numbers_html(cells: Sequence[Sequence[str]]) -> str:
    """The numbers of the units, as a table that folds out."""
    if not cells:
        return ""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    table = f'<div class="moos-table"><table><tr>{head}</tr>{rows}</table></div>'
    return f"<details><summary>Units</summary>{table}</details>"


def marked_html(source: str, spans: Sequence[Span]) -> str:
    """A source with its kept parts in `<mark>`, escaped; to be shown with `white-space: pre-wrap`.

    Args:
        source: The text.
        spans: Its kept parts, in order. White space at their ends is not marked.
    """
    parts, position = [], 0
    for start, end in _without_white_space(source, spans):
        parts += [_plain(source[position:start]), f"<mark>{escaped(source[start:end])}</mark>"]
        position = end
    parts.append(_plain(source[position:]))
    return "".join(parts)


def _plain(text: str) -> str:
    return f"<del>{escaped(text)}</del>" if text.strip() else escaped(text)


def _without_white_space(source: str, spans: Sequence[Span]) -> Iterator[Span]:
    """The spans without white space at their ends; those that only white space parts are one."""
    merged: list[Span] = []
    for start, end in spans:
        text = source[start:end]
        if not text.strip():
            continue
        start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
        if merged and not source[merged[-1][1] : start].strip():
            start = merged.pop()[0]
        merged.append((start, end))
    yield from merged

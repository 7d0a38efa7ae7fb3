"""Write the diagrams of the pages in `docs/how` as SVG: `python docs/make_diagrams.py`.

They are put into the pages, so that their colours are those of the page, in light and dark.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

FOLDER = Path(__file__).with_name("diagrams")
WIDTH, GAP, PAD, LINE = 460, 26, 10, 17
Box = tuple[str, ...]
"""A title, and lines of an example."""

DIAGRAMS: dict[str, tuple[str, list[list[Box]]]] = {
    "words": (
        "From a text to words, sentences and tokens",
        [
            [("source", "Ada paid 1 240 EUR on 3 May. She left.")],
            [("words, never cut", "Ada | paid | 1 240 EUR | on | 3 May | .")],
            [("units: sentences and lines", "'Ada paid 1 240 EUR on 3 May.'  'She left.'")],
            [("tokens of the target LLM", "counted, and set against the budget")],
        ],
    ),
    "structure": (
        "What a line needs in order to be true",
        [
            [("# Model B", "heading")],
            [("## Price", "heading under it")],
            [("The price is:", "lead-in"), ("```", "opening fence")],
            [("* 12 EUR", "the lead-in brings it"), ("pay(12)", "line in the fence")],
            [("* 10 EUR if member", "goes alone"), ("```", "its other half")],
        ],
    ),
    "encoder": (
        "One pass of the encoder over question and passage",
        [
            [("question",), ("passage, in windows",)],
            [("BERT classifier, trained with MOOSComp's loss", "[CLS] question [SEP] passage [SEP]")],
            [("each word", "preserve probability"), ("each sentence", "similarity to the question")],
            [("the passage", "probability that it answers")],
        ],
    ),
    "gains": (
        "From relevance to gain",
        [
            [("model", "words, sentence, passage"), ("shared terms", "codes, names, numbers")],
            [("relevance of a sentence, in log-odds", "+ score of the retriever, if there is one")],
            [("redundancy", "cosine, better sentences"), ("repetition", "same words, same numbers")],
            [("gain = relevance - weight x redundancy", "repetitions come last")],
        ],
    ),
    "budgets": (
        "From gains to the output",
        [
            [("gains of all sentences of all documents",)],
            [("one order", "by gain and length; protected text first")],
            [("steps", "with all that they need"), ("exact count", "in the LLM's tokens")],
            [("whole steps while they fit", "smaller ones fill the rest")],
            [("slices of the source, joined", "never above the ceiling")],
        ],
    ),
    "comi": (
        "COMI: documents as vectors for a local LLM",
        [
            [("question",), ("documents, cut into groups",)],
            [("encoder: states of all tokens",)],
            [("groups share the budget", "marginal information gain")],
            [("tokens of a group fuse", "weighted by their gain")],
            [("vectors in place of the documents", "the tuned decoder reads them")],
        ],
    ),
}


def svg(title: str, rows: list[list[Box]]) -> str:
    """One diagram: rows of one or two boxes from top to bottom, with arrows between the rows."""
    parts, top = [], 4
    for place, row in enumerate(rows):
        height = 2 * PAD + LINE * max(map(len, row))
        if place:
            parts += [_arrow(x, top - GAP + 3, top - 3) for x in _centres(rows[place - 1], row)]
        parts += [_box(box, left, top, width, height) for box, (left, width) in zip(row, _columns(row), strict=True)]
        top += height + GAP
    return (
        f'<div class="diagram"><svg viewBox="0 0 {WIDTH} {top - GAP + 4}" role="img" aria-label="{html.escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg></div>\n'
    )


def _columns(row: list[Box]) -> list[tuple[int, int]]:
    if len(row) == 1:
        return [(4, WIDTH - 8)]
    width = (WIDTH - 8 - GAP // 2) // 2
    return [(4, width), (WIDTH - 4 - width, width)]


def _centres(above: list[Box], below: list[Box]) -> list[int]:
    columns = max(_columns(above), _columns(below), key=len)
    return [left + width // 2 for left, width in columns]


def _arrow(x: int, start: int, end: int) -> str:
    return f'<path class="arrow" d="M{x} {start}V{end}M{x - 4} {end - 5}L{x} {end}L{x + 4} {end - 5}"/>'


def _box(box: Box, left: int, top: int, width: int, height: int) -> str:
    title, *lines = box
    texts = [f'<text class="title" x="{left + PAD}" y="{top + PAD + 12}">{_escaped(title)}</text>']
    texts += [
        f'<text x="{left + PAD}" y="{top + PAD + 12 + LINE * place}">{_escaped(line)}</text>'
        for place, line in enumerate(lines, 1)
    ]
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="4"/>{"".join(texts)}'


def _escaped(text: str) -> str:
    """The text for SVG within a page: signs of Markdown have no meaning in it."""
    return re.sub(r"[`*_\[\]#|]", lambda sign: f"&#{ord(sign[0])};", html.escape(text, quote=False))


def main() -> None:
    """Write all diagrams."""
    FOLDER.mkdir(exist_ok=True)
    for name, (title, rows) in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(svg(title, rows), encoding="utf-8")


if __name__ == "__main__":
    main()

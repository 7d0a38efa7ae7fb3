"""How long the sentences of a page are: what prose it has, without code, tables, headings and addresses."""

from __future__ import annotations

import re

MOST_WORDS = 20
"""Longest mean of a page, in words a sentence."""
LONGEST = 45
"""Longest sentence of a page, in words."""


def sentences(markdown: str) -> list[str]:
    """The sentences of a page's prose; a list item or table cell is not cut, and ends where its paragraph ends."""
    text = re.sub(r"^(```|~~~).*?^\1 *$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->|^---\n.*?^---$|^:::.*?(?=^\S|\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(\||#|!!!|\[!\[|--8<--| {4}).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"https?://\S+", "address", text)
    text = re.sub(r"^([*-]|\d+\.) ", "\n", text, flags=re.MULTILINE)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(re.sub(r"[*_>|]", " ", paragraph).split())
        found += [
            sentence
            for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z\"'(]|code\b|[\w/]+\.md\b)", plain)
            if words(sentence)
        ]
    return found


def words(sentence: str) -> int:
    """Words of a sentence."""
    return len(re.findall(r"[\w'-]*\w", sentence))


def mean_words(markdown: str) -> float:
    """Mean number of words a sentence; 0 without sentences."""
    lengths = [words(sentence) for sentence in sentences(markdown)]
    return sum(lengths) / len(lengths) if lengths else 0.0

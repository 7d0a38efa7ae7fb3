"""Texts of twenty-eight kinds: what is left of each, and a fingerprint of what they are segmented into."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from layouts import STRUCTURED
from tiny import UnitScorer

from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.core import encoder
from moos_integrations.core.text import segment

KINDS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("kinds.json").read_text(encoding="utf-8"))
# What the texts are segmented into, and the number of the scores that belong to it.
SEGMENTED, SCORES = "842111b726025345", 5


def segmentation() -> str:
    """A hash of the words and units of texts of many kinds."""
    made = ["".join(make(Random(f"{kind} {seed}"), 5)) for kind, make in STRUCTURED.items() for seed in range(3)]
    digest = hashlib.sha256()
    for text in [*made, *(kind["text"] for kind in KINDS)]:
        document = segment(text)
        for column in (document.word_starts, document.word_ends, document.unit_starts):
            digest.update(column.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def test_other_words_or_units_are_other_scores() -> None:
    """Where this fails, `SCORES_VERSION` in encoder.py goes up by one, and both numbers here are written anew.

    Scores that are kept on disk belong to the words and units of their time.
    """
    assert (segmentation(), encoder.SCORES_VERSION) == (SEGMENTED, SCORES)


@pytest.mark.parametrize("kind", KINDS, ids=[kind["kind"] for kind in KINDS])
def test_what_is_left_is_made_of_whole_units_with_all_that_they_are_under(kind: dict[str, Any]) -> None:
    text = kind["text"]
    document = segment(text)
    units, of_word = len(document.unit_starts), document.unit_of_word
    says = np.array([any(map(str.isalnum, word)) for word in document.words()], bool)  # a mark comes with its line
    size = np.bincount(of_word[says], minlength=units)
    compressor = ContextCompressor(UnitScorer(), CompressorConfig(min_tokens=0))
    for question, rate in ((None, 0.4), (kind["questions"][0], 0.15), (kind["questions"][-1], 0.5)):
        kept = np.zeros(len(text), bool)
        for start, end in compressor.compress(text, question, rate=rate).documents[0].spans:
            kept[start:end] = True
        left = np.bincount(of_word[says], weights=kept[document.word_starts[says]], minlength=units)
        some = left > 0
        assert (left[some] == size[some]).all()
        over = document.unit_parents[some & (document.unit_parents >= 0)]
        assert (left[over] == size[over]).all()
        for lead in np.flatnonzero(some & (document.unit_leads_to >= 0)).tolist():
            led = slice(int(document.unit_leads_to[lead]), int(document.unit_leads_until[lead]))
            assert left[led].any() or not size[led].any()

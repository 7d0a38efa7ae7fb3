from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_text import HARD
from tiny import CORPUS, TOKENIZERS

from moos_integrations.core.text import segment
from moos_integrations.core.windows import SpecialTokens, reduce_to_words, tokenize, windows_of

BACKENDS = {family: make().backend_tokenizer for family, make in TOKENIZERS.items()}
FAMILIES = pytest.mark.parametrize("family", list(TOKENIZERS))


def test_special_tokens_come_from_the_tokenizer() -> None:
    assert SpecialTokens.of(BACKENDS["wordpiece"]) == SpecialTokens((2,), (3,))
    assert SpecialTokens.of(BACKENDS["byte_bpe"]) == SpecialTokens((0,), (2,))
    assert SpecialTokens.of(BACKENDS["unigram"]) == SpecialTokens((), (2,))


@FAMILIES
@pytest.mark.parametrize("text", CORPUS)
def test_every_word_gets_the_scores_of_the_pieces_that_touch_it(family: str, text: str) -> None:
    document = segment(text)
    (pieces,) = tokenize(BACKENDS[family], [text])
    values = np.random.default_rng(0).random(len(pieces.ids))
    for word, (start, end) in enumerate(zip(document.word_starts, document.word_ends, strict=True)):
        own = [v for v, a, b in zip(values, pieces.starts, pieces.ends, strict=True) if a < end and b > start]
        assert own, text[start:end]
        for reduction, expected in (("mean", np.mean(own)), ("first", own[0]), ("max", max(own))):
            assert reduce_to_words(document, pieces, values, reduction)[word] == pytest.approx(expected)


def test_a_word_without_pieces_scores_zero() -> None:
    document = segment("a b")
    (pieces,) = tokenize(BACKENDS["wordpiece"], ["a  "])
    assert reduce_to_words(document, pieces, np.ones(1), "mean").tolist() == [1.0, 0.0]


@FAMILIES
@given(text=HARD.map(lambda text: text * 3), room=st.integers(4, 30))
def test_windows_own_every_piece_exactly_once_and_fit(family: str, text: str, room: int) -> None:
    document = segment(text)
    (pieces,) = tokenize(BACKENDS[family], [text])
    windows = windows_of(7, document, pieces, room)
    owned = [position for window in windows for position in range(window.own_start, window.own_end)]
    assert owned == list(range(len(pieces.ids)))
    for window in windows:
        assert window.document == 7
        assert len(window) <= room
        assert window.start <= window.own_start <= window.own_end <= window.end


def test_windows_end_at_unit_ends() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    document = segment(text)
    (pieces,) = tokenize(BACKENDS["wordpiece"], [text])
    windows = windows_of(0, document, pieces, 20)
    assert len(windows) > 1
    borders = {pieces.starts[window.end] for window in windows[:-1]}
    assert borders <= set(document.unit_starts.tolist())


def test_long_units_overlap_and_are_scored_away_from_the_edges() -> None:
    text = "word " * 100
    document = segment(text)
    (pieces,) = tokenize(BACKENDS["wordpiece"], [text])
    windows = windows_of(0, document, pieces, 40)
    for left, right in itertools.pairwise(windows):
        assert right.start < left.end
        assert right.own_start - right.start == 5
        assert left.end - left.own_end == 5

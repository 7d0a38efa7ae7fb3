from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_text import HARD
from tiny import CORPUS, PAIR_TEMPLATES, TOKENIZERS
from tokenizers import processors

from moos_integrations.core.text import segment
from moos_integrations.core.types import SegmentedText
from moos_integrations.core.windows import (
    PairTokens,
    Pieces,
    Run,
    SpecialTokens,
    question_pieces,
    reduce_to_words,
    tokenize,
    windows_of,
)
from moos_integrations.errors import ModelError

BACKENDS = {family: make().backend_tokenizer for family, make in TOKENIZERS.items()}
PAIR_BACKENDS = {family: make(PAIR_TEMPLATES[family]).backend_tokenizer for family, make in TOKENIZERS.items()}
FAMILIES = pytest.mark.parametrize("family", list(TOKENIZERS))


def test_special_tokens_come_from_the_tokenizer() -> None:
    assert SpecialTokens.of(BACKENDS["wordpiece"]) == SpecialTokens((2,), (3,))
    assert SpecialTokens.of(BACKENDS["byte_bpe"]) == SpecialTokens((0,), (2,))
    assert SpecialTokens.of(BACKENDS["unigram"]) == SpecialTokens((), (2,))


def test_what_stands_around_a_pair_comes_from_the_tokenizer() -> None:
    assert SpecialTokens.of(PAIR_BACKENDS["wordpiece"]).pair == PairTokens(
        before=Run((2,), (0,)), question_type=0, between=Run((3,), (0,)), passage_type=1, after=Run((3,), (1,))
    )
    roberta = PairTokens(
        before=Run((0,), (0,)), question_type=0, between=Run((2, 2), (0, 0)), passage_type=0, after=Run((2,), (0,))
    )
    assert SpecialTokens.of(PAIR_BACKENDS["byte_bpe"]).pair == roberta
    backend = TOKENIZERS["byte_bpe"]().backend_tokenizer
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    assert SpecialTokens.of(backend).pair == roberta
    assert SpecialTokens.of(PAIR_BACKENDS["unigram"]).pair == PairTokens(
        before=Run((), ()), question_type=0, between=Run((2,), (0,)), passage_type=0, after=Run((2,), (0,))
    )


@FAMILIES
def test_without_a_template_for_pairs_a_question_is_refused(family: str) -> None:
    special = SpecialTokens.of(BACKENDS[family])
    assert special.pair is None
    assert special.frame().front.ids == special.prefix
    with pytest.raises(ModelError, match="no template for pairs"):
        special.frame([7])


@FAMILIES
@given(text=HARD, question=HARD)
def test_a_framed_passage_is_what_the_tokenizer_makes_of_the_pair(family: str, text: str, question: str) -> None:
    text, question = (string.encode("utf-8", "replace").decode() for string in (text, question))
    backend = PAIR_BACKENDS[family]
    (pieces,) = tokenize(backend, [text])
    ids = question_pieces(backend, question, 10_000)
    expected = backend.encode(question, text) if ids else backend.encode(text)
    run = SpecialTokens.of(backend).frame(ids).around(pieces.ids.tolist())
    assert list(run.ids) == expected.ids
    assert list(run.types) == expected.type_ids


@pytest.mark.parametrize("question", [None, "", " \n\t\u3000"])
def test_a_blank_question_has_no_pieces(question: str | None) -> None:
    assert all(question_pieces(backend, question, 64) == [] for backend in PAIR_BACKENDS.values())


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


@FAMILIES
@given(text=HARD.map(lambda text: text * 3), question=HARD, max_pieces=st.integers(16, 80))
def test_a_question_leaves_most_of_each_window_to_the_passage(
    family: str, text: str, question: str, max_pieces: int
) -> None:
    backend, document = PAIR_BACKENDS[family], segment(text)
    ids = question_pieces(backend, question, max_pieces)
    assert len(ids) <= max_pieces // 4
    (whole,) = tokenize(backend, [question])
    assert ids == whole.ids[: len(ids)].tolist()
    frame = SpecialTokens.of(backend).frame(ids)
    assert frame.reads_passage == (bool(ids) and family != "unigram")
    (pieces,) = tokenize(backend, [text])
    windows = windows_of(0, document, pieces, max_pieces - len(frame))
    assert [p for window in windows for p in range(window.own_start, window.own_end)] == list(range(len(pieces.ids)))
    for window in windows:
        run = frame.around(pieces.ids[window.start : window.end].tolist())
        assert len(run.ids) == len(run.types) == len(window) + len(frame) <= max_pieces


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


def test_a_window_that_units_fill_exactly_is_used_to_the_last_piece() -> None:
    borders = np.arange(0, 21, 4)
    pieces = Pieces(np.arange(20), np.arange(20), np.arange(20) + 1)
    document = SegmentedText("x" * 20, borders[:-1], borders[1:], borders[:-1], borders[1:])
    for room, expected in ((8, [8, 16, 20]), (9, [8, 16, 20]), (12, [12, 20]), (20, [20]), (4, [4, 8, 12, 16, 20])):
        assert [window.end for window in windows_of(0, document, pieces, room)] == expected

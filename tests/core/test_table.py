"""The words and units of a request, counted through all of its documents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tiny import table_of

from moos_integrations.core.text import segment
from moos_integrations.core.types import SegmentedText, WordScores

CODE = segment("One two. Three.\n\ndef f():\n    return 4\n")
DOCUMENTS = [segment("One. Two two."), segment(""), CODE]


def scores(document: SegmentedText) -> WordScores:
    return WordScores.from_preserve(np.full(len(document), 0.5))


def test_words_and_units_know_their_documents() -> None:
    table = table_of(DOCUMENTS)
    assert table.document_of_word.tolist() == [0] * len(DOCUMENTS[0]) + [2] * len(CODE)
    assert table.document_of_unit.tolist() == [0] * 2 + [2] * 4
    for index, document in enumerate(DOCUMENTS):
        words = slice(table.word_borders[index], table.word_borders[index + 1])
        assert (table.unit_of_word[words] - table.unit_borders[index]).tolist() == document.unit_of_word.tolist()
    parts = table.by_document(np.arange(table.words))
    assert [len(part) for part in parts] == [len(document) for document in DOCUMENTS]
    assert np.concatenate(parts).tolist() == list(range(table.words))


def test_a_word_belongs_to_the_unit_in_which_it_starts() -> None:
    assert segment("One. Two two. Three.").unit_of_word.tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_lines_stand_under_lines_of_their_document() -> None:
    assert table_of(DOCUMENTS).parents.tolist() == [-1, -1, -1, -1, -1, 4]
    assert table_of(DOCUMENTS).leads_to.tolist() == [-1, -1, -1, -1, 5, -1]
    block = segment("if x:\n    one\n")
    assert table_of([block, block]).parents.tolist() == [-1, 0, -1, 2]


def test_what_the_scorer_does_not_know_is_unknown() -> None:
    one, other = segment("One. Two."), segment("Three.")
    known = replace(scores(one), unit_vectors=np.ones((2, 3), np.float32), unit_similarity=np.array([1.0, 2.0]))
    table = table_of([one, other], [known, scores(other)])
    assert table.unit_vectors is None
    assert table.unit_similarity.tolist() == [1.0, 2.0, 0.0]
    both = table_of([one, one], [known, known])
    assert both.unit_vectors is not None
    assert both.unit_vectors.shape == (4, 3)


def test_a_question_was_read_if_it_was_read_with_any_document() -> None:
    documents = [segment("One."), segment("Two.")]
    free = [scores(document) for document in documents]
    assert not table_of(documents, free).reads_question
    assert table_of(documents, [replace(free[0], passage_probability=0.1), free[1]]).reads_question
    assert table_of(documents, [free[0], replace(free[1], unit_similarity=np.zeros(1))]).reads_question


def test_a_line_costs_its_tokens_and_those_of_all_that_it_is_under() -> None:
    table = table_of([segment("One two. Three."), segment("if x:\n    if y:\n        z\n    w\n")])
    cost = table.unit_cost.tolist()
    assert table.parents.tolist() == [-1, -1, -1, 2, 3, 2]
    expected = [cost[0], cost[1], cost[2], cost[2] + cost[3], cost[2] + cost[3] + cost[4], cost[2] + cost[5]]
    assert table.path_cost.tolist() == expected

"""From JSON lines to groups of examples: questions, pairs, and what `moos annotate` writes."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations import InputError
from moos_integrations.core.text import segment
from moos_integrations.records import Document, Pair, Question
from moos_integrations.training.examples import (
    answer_spans,
    cut,
    groups_from_pairs,
    groups_from_questions,
    is_gold,
    read_training,
)
from moos_integrations.training.labels import LabelledText

FERRY = "The ferry leaves the north pier at 7:45. Dogs travel free."
QUESTION = {"question": "When does the ferry leave?", "documents": [FERRY, "Bread is warm."], "answers": ["7:45"]}
PAIR = {"original": FERRY, "compressed": "ferry leaves 7:45. Dogs free."}
ANNOTATION = {
    "id": "1",
    "start": 0,
    "key": "k",
    "run": "r",
    "model": "m",
    "verdict": "ok",
    "added": 0.0,
    "moved": 0.0,
    "text": FERRY,
    "compressed": "ferry leaves 7:45.",
    "usage": None,
}


def write(path: Path, *records: object) -> Path:
    lines = "".join((own if isinstance(own, str) else json.dumps(own)) + "\n" for own in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def test_three_forms_are_read_in_any_mixture(tmp_path: Path) -> None:
    mixed = write(tmp_path / "mixed.jsonl", QUESTION, PAIR, ANNOTATION, {**ANNOTATION, "verdict": "added"})
    zipped = write(tmp_path / "more.jsonl.gz", {"text": "A é 東京.", "compressed": "東京"})
    found = read_training([mixed, zipped])
    assert [own.question for own in found.questions] == ["When does the ferry leave?"]
    assert [own.compressed for own in found.pairs] == [PAIR["compressed"], ANNOTATION["compressed"], "東京"]
    assert found.notes == ("1 annotations left out: their verdict is not ok",)


def test_what_cannot_be_learnt_is_counted(tmp_path: Path) -> None:
    nowhere = {**QUESTION, "answers": ["nobody"]}
    path = write(tmp_path / "a.jsonl", QUESTION, nowhere, "{")
    with pytest.raises(InputError, match=r"a\.jsonl, line 3: expected a JSON object"):
        read_training([path])
    found = read_training([path], skip_bad=True)
    assert len(found) == 1
    assert found.notes == (
        "1 malformed records skipped",
        "1 questions left out: no document has their answer",
    )


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], r"Nothing to learn from in a\.jsonl: no records"),
        ([{**QUESTION, "answers": ["nobody"]}], "1 questions left out: no document has their answer"),
        ([{**ANNOTATION, "verdict": "refusal"}], "1 annotations left out"),
        ([{"text": "only"}], r"line 1: expected the fields `question`.*; the record has `text`"),
        ([{"compressed": "only"}], "line 1: the field `text` is missing"),
        ([{**PAIR, "compressed": 3}], "`compressed`: input should be a valid string, got 3"),
        ([{**PAIR, "original": " "}], "`original`: expected text that is not blank"),
        ([{**QUESTION, "documents": [None]}], r"`documents\[0\]`: input should be a string or an object, got None"),
    ],
)
def test_bad_files_are_clear_errors(tmp_path: Path, records: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_training([write(tmp_path / "a.jsonl", *records)])


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        (FERRY, "7:45", ["7:45"]),
        ("Ada. ADA! Adam.", "ada", ["Ada", "ADA"]),
        ("It costs $1.", "1", ["1"]),
        ("category", "cat", []),
        ("他住在東京。", "東京", ["東京"]),
    ],
)
def test_answers_are_whole_words(text: str, answer: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in answer_spans(text, [answer])] == found


def test_the_record_decides_what_is_gold() -> None:
    own = Question("When?", ("7:45",), (Document(FERRY, is_gold=False), Document("Bread.", is_gold=True)))
    assert [is_gold(own, document) for document in own.documents] == [False, True]


def test_a_group_has_documents_with_and_without_the_answer() -> None:
    documents = (Document(FERRY), *[Document(f"Text {number} is about bread.") for number in range(9)])
    own = Question("When does the ferry leave?", ("7:45",), documents)
    group, free = groups_from_questions([own], random.Random(0), negatives=3, query_free_share=1.0)
    assert [example.relevance for example in group] == [1, 0, 0, 0]
    words = segment(group[0].passage.text).words()
    kept = [word for word, target in zip(words, group[0].passage.targets, strict=True) if target == 1]
    assert "7:45" in kept
    assert not any(example.passage.targets.any() for example in group[1:])
    assert free[0].question is None
    assert free[0].passage.targets.any()


def test_a_negative_is_borrowed_from_another_record() -> None:
    first = Question("When does the ferry leave?", ("7:45",), (Document(FERRY),))
    near = Question("Where?", ("south",), (Document("The old ferry is in the south."),))
    far = Question("What?", ("bread",), (Document("Warm bread."),))
    (group, *_) = groups_from_questions([first, near, far], random.Random(0), query_free_share=0)
    assert [example.passage.text for example in group] == [FERRY, "The old ferry is in the south."]
    (alone,) = groups_from_questions([first], random.Random(0), query_free_share=0)
    assert len(alone) == 1
    assert len(groups_from_questions([first, near], random.Random(0), negatives=0, query_free_share=0)[0]) == 1


def test_a_long_document_is_cut_around_the_answer() -> None:
    text = "Nothing happens here at all. " * 200 + FERRY + " Nothing happens here at all." * 200
    own = Question("When does the ferry leave?", ("7:45",), (Document(text), Document("Bread.")))
    for seed in range(5):
        (group,) = groups_from_questions([own], random.Random(seed), query_free_share=0)
        assert "7:45" in group[0].passage.text
        assert len(group[0].passage.targets) < 200


def test_pairs_are_traced_back_and_cut_between_sentences() -> None:
    text = " ".join(f"The ferry number {number} leaves at noon today." for number in range(60))
    groups = groups_from_pairs([Pair(text, text.replace("The ferry ", "").replace(" today", ""))], words=50)
    assert len(groups) > 8
    assert " ".join(example.passage.text.strip() for (example,) in groups) == text
    for (example,) in groups:
        words = segment(example.passage.text).words()
        assert len(words) == len(example.passage.targets) <= 50
        kept = {word for word, target in zip(words, example.passage.targets, strict=True) if target}
        assert {"leaves", "noon"} <= kept
        assert not {"The", "ferry", "today"} & kept


@given(st.text(max_size=300), st.integers(1, 30))
def test_cutting_loses_no_label_and_no_word(text: str, words: int) -> None:
    count = len(segment(text))
    pieces = cut(LabelledText(text, np.arange(count, dtype=float)), words)
    labels = [label for piece in pieces for label in piece.targets.tolist()]
    assert labels == sorted(labels)  # in order, none twice
    for piece in pieces:
        assert len(segment(piece.text)) == len(piece.targets)
        assert piece.text in text


def test_the_split_is_the_same_every_time_and_keeps_repetitions_together(tmp_path: Path) -> None:
    records = [{**QUESTION, "question": f"When does ferry {number % 20} leave?"} for number in range(40)]
    found = read_training([write(tmp_path / "a.jsonl", *records, PAIR)])
    learnt, held_out = found.split(0.1)
    assert (len(learnt.questions), len(held_out.questions), len(held_out.pairs)) == (36, 4, 0)
    assert not {own.question for own in learnt.questions} & {own.question for own in held_out.questions}
    assert found.split(0.1)[1] == held_out
    assert found.split(0.0)[1].questions == ()

"""The training plan: records of every schema to groups, and groups to packed parts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from moos_benchmarks.plan import Entry, Groups, Item, PackedParts, Plan, Source, _Free, add_cosines, items_of, windows
from tiny import save_tiny_model
from transformers import AutoTokenizer

from moos_integrations import ConfigError
from moos_integrations.core.passages import PassageEncoder
from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import Span
from moos_integrations.training.examples import disfluent, rewritten
from moos_integrations.training.trainer import encode

TEXT = " ".join(f"Sentence {n} is about rivers and has nothing to say." for n in range(60))
GOLD = "The ferry was built by Ada in 1901."


def item(documents: tuple[Source, ...], answers: tuple[str, ...] = ("Ada",), question: str = "Who built it?") -> Item:
    return Item("nq_oracle", "1", question, answers, documents)


def with_gold() -> tuple[str, Span]:
    text = f"{TEXT} {GOLD} {TEXT}"
    return text, (text.index(GOLD), text.index(GOLD) + len(GOLD))


def test_windows_are_whole_units_and_cover_the_text() -> None:
    found = windows(TEXT, 60)
    starts, ends = unit_spans(TEXT)
    assert [start for start, _ in found] == [0, *[end for _, end in found[:-1]]]
    assert {start for start, _ in found} <= set(starts.tolist())
    assert found[-1][1] == ends[-1]
    assert max(len(TEXT[a:b].split()) for a, b in found) <= 60
    assert windows("", 60) == []


def test_a_long_text_gives_the_window_with_the_answer_and_others_without() -> None:
    text, span = with_gold()
    group = Groups(Plan(negatives=3), lambda *_: []).of(item((Source(text, True, (span,)),)), "long", random.Random(0))
    assert [example.relevance for example in group] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert GOLD in group[0].passage.text
    assert group[0].passage.targets.max() == 1
    assert all(GOLD not in example.passage.text and not example.passage.targets.any() for example in group[1:])
    assert {example.kind for example in group} == {"long"}


def test_an_unanswerable_question_has_no_passage_that_answers() -> None:
    group = Groups(Plan(), lambda *_: []).of(item((Source(TEXT),), ()), "json", random.Random(0))
    assert len(group) == 5
    assert {example.relevance for example in group} == {0.0}


def test_a_single_passage_gets_negatives_of_other_records() -> None:
    group = Groups(Plan(negatives=2), lambda *_: ["One river.", "Two rivers.", "Three."]).of(
        item((Source(GOLD, True, ((0, len(GOLD)),)),)), "search", random.Random(0)
    )
    assert [example.passage.text for example in group] == [GOLD, "One river.", "Two rivers."]


def test_of_a_passage_whose_answer_nobody_marked_the_words_are_not_learnt(tmp_path: Path) -> None:
    group = Groups(Plan(), lambda *_: []).of(item((Source(GOLD, True),)), "search", random.Random(0))
    assert np.isnan(group[0].passage.targets).all()
    tokenizer = AutoTokenizer.from_pretrained(save_tiny_model(tmp_path / "tiny"))
    (row,) = encode(group[:1], tokenizer, 60)
    assert row["labels"][0] == 1.0
    assert set(row["labels"][1:]) == {-100.0}


def test_all_schemas_become_questions() -> None:
    (qa,) = items_of(
        {"id": 1, "question": "q", "answers": ["a"], "documents": [{"text": "x a", "is_gold": True}]}, "medquad"
    )
    assert qa.documents == (Source("x a", True, ((0, 3),)),)
    long = {"id": 2, "question": "q", "answers": ["unanswerable"], "text": "x", "answerable": False}
    assert items_of(long, "records")[0].documents == (Source("x"),)
    squad = {
        "context": "x a. y",
        "qas": [{"id": 3, "question": "q", "answers": [{"text": "a", "answer_start": 2}], "evidence": [[0, 4]]}],
        "unanswerable": [{"id": 4, "question": "r"}],
    }
    first, second = items_of(squad, "friendsqa")
    assert (first.documents[0].spans, first.marked) == (((0, 4),), ((2, 3),))
    assert second.documents == (Source("x a. y"),)
    with pytest.raises(ValueError, match="expected a record with questions and texts: KeyError"):
        items_of({"id": 1}, "records")


def test_a_text_without_a_question_is_labelled_with_all_questions_about_it() -> None:
    text, span = with_gold()
    free = _Free(text, (item((Source(text, True, (span,)),)),), "seed")()
    assert GOLD in free.text
    words = [free.text[start:end] for start, end in zip(*word_spans(free.text), strict=True)]
    kept = [word for word, target in zip(words, free.targets, strict=True) if target]
    assert kept == ["built", "Ada"]  # what the question repeats, and the answer


def test_a_wrong_plan_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="Unknown set 'nothing' in `plan`"):
        Plan(only=("nothing",))
    with pytest.raises(ConfigError, match="unexpected keyword argument 'number'"):
        Plan(sets={"selqa": {"number": 3}})
    with pytest.raises(ConfigError, match="`part` must be a whole number from 1 on"):
        Plan(part=0)


class _Few:
    """Entries without files."""

    def __init__(self) -> None:
        text, span = with_gold()
        self.hashes = {"a": "b"}
        own = item((Source(text, True, (span,)),))
        self.entries = [Entry("long", f"{n}", own) for n in range(5)]
        self.entries.append(Entry("free long", "6", text=_Free(text, (own,), "6")))

    def negatives(self, *_: object) -> list[str]:
        return []


def test_parts_are_the_same_when_they_are_made_again_or_read(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny")
    tokenizer, encoder, lines = AutoTokenizer.from_pretrained(folder), PassageEncoder(str(folder)), list[str]()

    def parts(where: Path) -> PackedParts:
        few: object = _Few()
        return PackedParts(
            few,
            Plan(part=4),
            tokenizer,
            encoder,
            where,
            max_pieces=60,
            types=True,
            log=lines.append,  # type: ignore[arg-type]
        )

    first, other = parts(tmp_path / "a"), parts(tmp_path / "b")
    order = list(first.sampler(2, 0))
    assert sorted(order[:4]) == [0, 1, 2, 3]
    assert sorted(order[4:]) == [4, 5]
    assert list(other.sampler(2, 0)) == order
    assert len(lines) == 4
    again = parts(tmp_path / "a")
    for index in range(len(first)):
        for left, right in zip(first[index], again[index], strict=True):
            assert left.keys() == right.keys()
            assert all(str(left[name]) == str(right[name]) for name in left)
    assert len(lines) == 4  # nothing was built again
    assert first.counts() == {"groups": 6, "examples": 26, "query_aware_examples": 25}
    assert first[0][0]["similarities"].abs().max() <= 1
    assert not first[0][0]["passage"].isnan().any()
    assert first[5][0]["passage"].isnan().all()


def test_cosines_are_those_of_question_and_passage_read_apart(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), PassageEncoder(str(folder))
    group = Groups(Plan(), lambda *_: ["The dog."]).of(
        item((Source("The fox jumps.", True, ((0, 14),)),), question="fox"), "search", random.Random(1)
    )
    rows = encode(group, tokenizer, 60)
    add_cosines(rows, encoder)
    for row, example in zip(rows, group, strict=True):
        expected = encoder.question(example.question or "") @ encoder.question(example.passage.text)
        assert row["passage"] == [pytest.approx(float(expected), abs=1e-5)]
        assert len(row["similarities"]) == 1


def test_questions_are_spoken_and_shouted_too() -> None:
    question = "Who was the first man on the Moon?"
    ways = {rewritten(question, random.Random(seed)) for seed in range(300)}
    assert question.upper() in ways
    assert any(way.split()[-8:] == question.split() and way != question for way in ways)
    for seed in range(50):
        spoken = disfluent(question, random.Random(seed)).split()
        left = iter(spoken)
        assert all(word in left for word in question.split())  # all words, in order
        assert len(spoken) > len(question.split())

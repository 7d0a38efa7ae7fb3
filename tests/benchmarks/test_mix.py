from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moos_benchmarks import negatives
from moos_benchmarks.data import Pair, articles_held_out, hotpotqa_held_out
from moos_benchmarks.mix import (
    Asked,
    Example,
    Mix,
    Paragraph,
    compression_pairs,
    crop,
    hotpot_groups,
    join_passages,
    load,
    query_aware,
    restyled,
    with_similarities,
)
from moos_benchmarks.negatives import sentence_similarities
from tiny import save_tiny_model

from moos_integrations import InputError
from moos_integrations.core.text import segment
from moos_integrations.records import Document, Question
from moos_integrations.training.labels import LabelledText

TOPICS = ("ferries", "valves", "poems", "rivers", "engines", "bridges")


def labelled(text: str, keep: str) -> LabelledText:
    return LabelledText(text, np.array([float(word in keep.split()) for word in segment(text).words()]))


def write(path: Path, records: Iterable[dict[str, object]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)


def squad_record(index: int) -> dict[str, object]:
    topic, answer = TOPICS[index % len(TOPICS)], f"Ada{index}"
    context = f"Number {index} is about {topic}. {answer} knows all {topic} well. Nobody else does."
    answers = [{"text": answer, "answer_start": context.index(answer)}]
    question = {"id": f"q{index}", "question": f"Who knows {topic} {index}?", "answers": answers}
    return {"id": str(index), "title": f"t{index // 2:03}", "context": context, "qas": [question]}


def hotpot_record(index: int) -> dict[str, object]:
    text = f"Doe{index} directed Sun. It rained."
    documents = [
        {"title": "a", "text": text, "is_gold": True, "gold_spans": [[0, text.index("It") - 1]]},
        {"title": "b", "text": "Sun is a star.", "is_gold": False},
    ]
    return {"id": f"h{index}", "question": "Who directed Sun?", "answers": [f"Doe{index}"], "documents": documents}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write(folder / "squad_train.jsonl.gz", [squad_record(index) for index in range(120)])
    write(folder / "hotpotqa.jsonl.gz", [hotpot_record(index) for index in range(310)])
    pair = {"source": "The quick brown fox .", "source_text": "The quick brown fox.", "keep": "01110"}
    write(folder / "google_compression_cased.jsonl.gz", [{"id": str(index), **pair} for index in range(520)])
    lower = {"source": "it cost ## dollars , he said .", "keep": "11110001"}
    write(folder / "google_compression_train_lc.jsonl.gz", [{"id": str(index), **lower} for index in range(9)])
    return folder


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("retriever")))


MIX = Mix(query_free_share=1.0, questions=40, negatives=1, hotpot_copies=2)


@pytest.mark.slow
def test_the_mix_has_all_its_parts_and_nothing_held_out(data: Path, retriever: str) -> None:
    groups, held_out, skipped = load(data, MIX, retriever, seed=0)
    examples = [example for group in groups for example in group]
    assert skipped == 0
    assert {passage.title for passage in held_out} == articles_held_out(f"t{index:03}" for index in range(60))
    texts = " ".join(example.passage.text for example in examples)
    assert not any(passage.context in texts for passage in held_out)
    unseen = hotpotqa_held_out(f"h{index}" for index in range(310))
    seen = {f"h{index}" for index in range(310) if f"Doe{index} directed" in texts}
    assert len(seen) == 10
    assert not seen & unseen
    free = [example for example in examples if example.question is None]
    assert all(example.relevance is None for example in free)
    assert texts.count("The quick brown fox.") == 20  # 500 of 520 are held out
    aware = [example for example in examples if example.question is not None]
    assert len(aware) == 2 * 40 + 2 * 10 * (1 + 1)
    assert all(len({example.question for example in group}) == 1 for group in groups)
    assert {len(group) for group in groups if group[0].question is not None} == {2}
    for example in aware:
        assert (example.relevance == 1.0) == bool(example.passage.targets.any())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_mix_and_kept_negatives_change_nothing(
    data: Path, retriever: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(seed: int) -> list[tuple[str, str | None, list[float]]]:
        groups, _, _ = load(data, MIX, retriever, seed, found=tmp_path)
        return [(e.passage.text, e.question, e.passage.targets.tolist()) for group in groups for e in group]

    first = shown(0)
    assert len(list(tmp_path.glob("negatives-*.npy"))) == 1
    monkeypatch.setattr(negatives, "SentenceEmbedder", None)  # would fail if it were called again
    assert shown(0) == first
    monkeypatch.undo()
    assert shown(1) != first


@pytest.mark.slow
def test_texts_without_a_question_may_be_read_several_times(data: Path, retriever: str) -> None:
    once, twice = (
        [
            group
            for group in load(data, replace(MIX, query_free_copies=copies), retriever, 0)[0]
            if not group[0].question
        ]
        for copies in (1, 2)
    )
    words = [sum(len(group[0].passage.text.split()) for group in groups) for groups in (once, twice)]
    assert words[1] == 2 * words[0]


@pytest.mark.slow
def test_the_sentence_encoder_is_asked_about_every_sentence(retriever: str) -> None:
    free = (Example(labelled("The fox.", "fox")),)
    asked = tuple(
        Example(labelled(text, "fox"), "Who jumps?", 1.0) for text in ("The fox jumps. The dog sleeps.", "The dog.")
    )
    first, second = with_similarities([free, asked], retriever)
    assert first == free
    told = [example.similarities for example in second]
    assert [len(own) for own in told if own is not None] == [2, 1]
    assert all(np.abs(own).max() <= 1 for own in told if own is not None)
    (same,) = sentence_similarities(retriever, ["The dog."], [["The dog.", "The fox jumps."]])
    assert same[0] == pytest.approx(1.0, abs=0.02)  # the encoder runs in bfloat16
    assert same[1] < same[0]


@pytest.mark.slow
def test_malformed_records_stop_the_run_or_are_counted(data: Path, retriever: str, tmp_path: Path) -> None:
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    bad = squad_record(3) | {"context": 7}
    write(tmp_path / "squad_train.jsonl.gz", [squad_record(0), bad, *map(squad_record, range(4, 40))])
    with pytest.raises(InputError, match=r"squad_train\.jsonl\.gz, line 2: .*`context`"):
        load(tmp_path, MIX, retriever, 0)
    assert load(tmp_path, MIX, retriever, 0, skip_bad=True)[2] == 1
    (tmp_path / "hotpotqa.jsonl.gz").unlink()
    with pytest.raises(InputError, match="hotpotqa"):
        load(tmp_path, MIX, retriever, 0, skip_bad=True)


def test_negatives_never_hold_the_answer() -> None:
    texts = ["Ada wrote it.", "Ada again.", "Bea wrote that.", "Cleo wrote more."]
    asked = Asked("Who wrote it?", 0, ((0, 3),), ("Ada",))
    paragraphs = [Paragraph("t", text, ()) for text in texts]
    nearest = np.array([[[1, 0, 2, 3]], [[0, 1, 3, 2]]])
    for seed in range(30):
        ((own, *others),) = query_aware(paragraphs, [asked], nearest, random.Random(seed), negatives=3)
        assert (own.passage.text, own.relevance) == ("Ada wrote it.", 1.0)
        assert 1 <= len(others) == len({other.passage.text for other in others}) <= 2
        for other in others:
            assert other.passage.text in texts[2:]
            assert other.relevance == 0.0
            assert not other.passage.targets.any()


def test_hotpot_answers_count_only_inside_the_evidence() -> None:
    text = "Sun was made by Doe. Later Doe rested."
    document = Document(text, "", is_gold=True, evidence=((0, 20),))
    record = Question("Who made Sun?", ("Doe",), (document,), "h")
    ((example,),) = hotpot_groups([record], random.Random(0), copies=1)
    target = dict(zip(range(99), example.passage.targets.tolist(), strict=False))
    words = segment(text).words()
    assert [target[index] for index, word in enumerate(words) if word == "Doe"] == [1.0, 0.0]


def test_every_copy_has_the_supporting_documents_and_some_others() -> None:
    documents = [Document(f"Text {index} is here.", "", is_gold=index < 2) for index in range(9)]
    record = Question("Who?", ("Doe",), tuple(documents), "h")
    groups = hotpot_groups([record], random.Random(0), copies=6)
    dealt = [frozenset(example.passage.text for example in group if not example.relevance) for group in groups]
    assert len(groups) == 6
    assert set(map(len, dealt)) == {4}
    assert len(set(dealt)) > 1
    assert all(sum(example.relevance or 0 for example in group) == 2 for group in groups)


def test_numbers_hidden_by_the_source_become_numbers() -> None:
    tokens = ["it", "cost", "##", "dollars", ",", "he", "said", "."]
    keep = tuple(bit == "1" for bit in "11110001")
    pairs = [Pair("a", " ".join(tokens), tuple(tokens), keep), Pair("b", "x", ("x",), None)]
    (sentence,) = compression_pairs(pairs, random.Random(0))
    assert "#" not in sentence.text
    assert sentence.text.startswith("it cost ")
    assert sentence.text.endswith("dollars, he said.")
    assert sentence.targets[:4].all()


def test_joining_keeps_all_words_in_order() -> None:
    parts = [labelled(f"word{index} end.", f"word{index}") for index in range(10)]
    joined = join_passages(parts, (1, 2, 3), random.Random(0))
    assert " ".join(passage.text for passage in joined) == " ".join(part.text for part in parts)
    assert np.concatenate([passage.targets for passage in joined]).tolist() == [1.0, 0.0, 0.0] * 10
    assert all(len(segment(passage.text)) == len(passage.targets) for passage in joined)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(0, 99), st.data())
def test_a_crop_is_a_run_of_sentences_with_all_that_matters(sizes: list[int], seed: int, data: st.DataObject) -> None:
    sentences = [" ".join(f"W{index}x{word}" for word in range(size)) + "." for index, size in enumerate(sizes)]
    text = " ".join(sentences)
    words = segment(text).words()
    wanted = data.draw(st.sets(st.sampled_from(words), max_size=2))
    passage = LabelledText(text, np.array([float(word in wanted and word != ".") for word in words]))
    cut = crop(passage, random.Random(seed), words=20)
    assert cut.text in text
    cut_words = segment(cut.text).words()
    assert len(cut_words) == len(cut.targets)
    left = [word for word, target in zip(cut_words, cut.targets, strict=True) if target]
    assert left == [word for word, target in zip(words, passage.targets, strict=True) if target]


def test_questions_are_asked_in_several_styles() -> None:
    question = "Who was the first man on the Moon?"
    styles = {restyled(question, random.Random(seed)) for seed in range(50)}
    whole = {question, "who was the first man on the moon", "first man Moon"}
    assert whole < styles
    assert all(set(part.split()) < {"first", "man", "Moon"} for part in styles - whole)
    assert restyled("Who?", random.Random(3)) in ("Who?", "who")

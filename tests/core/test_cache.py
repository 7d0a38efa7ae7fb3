from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moos_integrations.core import cache
from moos_integrations.core.cache import CachedScorer, DirectoryStore, MemoryStore, ScoreStore
from moos_integrations.core.text import segment
from moos_integrations.core.types import SegmentedText, WordScores
from moos_integrations.errors import ConfigError

TEXTS = ["The quick brown fox.", "", "Numbers like 42 matter. Ada Lovelace too!", "x" * 50, "naïve \ud800 text"]


class Counting:
    """A scorer that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.asked += [(document.text, query) for document in documents]
        return [scores_of(document, query) for document in documents]


def scores_of(document: SegmentedText, query: str | None = None) -> WordScores:
    rng = np.random.default_rng(len(document.text))
    scores = WordScores.from_preserve(rng.random(len(document)))
    units = len(document.unit_starts)
    if query is None:
        return scores
    vectors = rng.random((units, 3)).astype(np.float32)
    return replace(scores, passage_probability=0.25, unit_similarity=rng.random(units), unit_vectors=vectors)


def assert_equal(left: WordScores, right: WordScores) -> None:
    for field in fields(WordScores):
        one, other = getattr(left, field.name), getattr(right, field.name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
            assert np.asarray(one).dtype == np.asarray(other).dtype
            assert np.shape(one) == np.shape(other)


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ScoreStore:
    return MemoryStore() if request.param == "memory" else DirectoryStore(tmp_path / "cache")


@pytest.mark.parametrize("query", [None, "Who?", ""])
def test_a_text_is_scored_once_and_comes_back_as_it_was(store: ScoreStore, query: str | None) -> None:
    inner = Counting()
    scorer = CachedScorer(inner, "model", store)
    documents = [segment(text) for text in [*TEXTS, TEXTS[0]]]
    expected = [scores_of(document, query) for document in documents]
    for _ in range(3):
        for own, other in zip(scorer.score(documents, query), expected, strict=True):
            assert_equal(own, other)
    assert inner.asked == [(text, query) for text in TEXTS]


def test_text_question_and_fingerprint_are_all_part_of_the_key(store: ScoreStore) -> None:
    inner = Counting()
    for fingerprint, query, text in (
        ("a", None, "b"),
        ("a", "b", ""),
        ("ab", None, ""),
        ("a", None, ""),
        ("a", "", "b"),
    ):
        CachedScorer(inner, fingerprint, store).score([segment(text)], query)
    assert len(inner.asked) == 5


def test_what_the_directory_knows_goes_to_memory(tmp_path: Path) -> None:
    documents = [segment(text) for text in TEXTS]
    CachedScorer(Counting(), "m", DirectoryStore(tmp_path)).score(documents, None)
    inner, memory = Counting(), MemoryStore()
    CachedScorer(inner, "m", memory, DirectoryStore(tmp_path)).score(documents, None)
    assert inner.asked == []
    assert len(memory) == len(TEXTS)


def test_memory_is_bounded_and_the_least_recently_used_goes() -> None:
    def one(size: int) -> WordScores:
        return WordScores.from_preserve(np.zeros(size))

    store = MemoryStore(max_bytes=3 * 3000)
    for name in "abc":
        store.put({name: one(110)})
    assert set(store.get(["a", "b", "c"])) == {"a", "b", "c"}
    store.get(["a"])
    store.put({"d": one(110)})
    assert set(store.get(["a", "b", "c", "d"])) == {"a", "c", "d"}
    store.put({"huge": one(10_000)})  # is not kept, and drives nothing out
    assert set(store.get(["a", "c", "d", "huge"])) == {"a", "c", "d"}
    store.put({"a": one(10)})
    store.put({"a": one(10)})  # again: its size counts once
    assert len(store) == 3


def test_shared_scores_cannot_be_changed() -> None:
    store = MemoryStore()
    scorer = CachedScorer(Counting(), "m", store)
    (scores,) = scorer.score([segment(TEXTS[0])], None)
    with pytest.raises(ValueError, match="read-only"):
        scores.preserve[0] = 7


def test_the_directory_is_bounded(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path, max_bytes=20_000)
    for name in range(40):
        store.put({str(name): WordScores.from_preserve(np.zeros(100))})
    assert 3 <= len(store.get([str(name) for name in range(40)])) <= 10
    assert store.get(["39"])


def test_a_damaged_file_is_passed_over_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "scores.sqlite").write_bytes(b"this is no database, but long enough to be looked at" * 30)
    inner = Counting()
    scorer = CachedScorer(inner, "m", DirectoryStore(tmp_path))
    with pytest.warns(RuntimeWarning, match="cannot be used and is ignored") as caught:
        scorer.score([segment(TEXTS[0])], None)
    scorer.score([segment(TEXTS[0])], None)
    assert len(caught) == 1
    assert len(inner.asked) == 2


def test_damaged_values_are_scored_anew(tmp_path: Path) -> None:
    scorer = CachedScorer(Counting(), "m", DirectoryStore(tmp_path))
    scorer.score([segment(TEXTS[0])], None)
    with sqlite3.connect(tmp_path / "scores.sqlite") as database:
        database.execute("UPDATE scores SET value = ?", (b"\x93NUMPY garbage",))
    inner = Counting()
    with pytest.warns(RuntimeWarning, match="damaged entries"):
        CachedScorer(inner, "m", DirectoryStore(tmp_path)).score([segment(TEXTS[0])], None)
    assert len(inner.asked) == 1


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be used"):
        DirectoryStore(tmp_path / "file" / "cache")


def test_threads_share_a_store(store: ScoreStore) -> None:
    scorer, failures = CachedScorer(Counting(), "m", store), []
    documents = [segment(f"Text number {index} is here.") for index in range(30)]
    expected = [scores_of(document) for document in documents]

    def work(start: int) -> None:
        try:
            for index in range(start, start + 30):
                (own,) = scorer.score([documents[index % 30]], None)
                assert_equal(own, expected[index % 30])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _fill(directory: str, start: int) -> None:
    scorer = CachedScorer(Counting(), "m", DirectoryStore(directory))
    for index in range(start, start + 20):
        scorer.score([segment(f"Text number {index} is here.")], None)


def test_processes_share_a_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(str(tmp_path), start)) for start in (0, 10, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    inner = Counting()
    CachedScorer(inner, "m", DirectoryStore(tmp_path)).score(
        [segment(f"Text number {index} is here.") for index in range(40)], None
    )
    assert inner.asked == []


def test_a_full_directory_forgets_the_least_recently_used_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1.0)
    monkeypatch.setattr(cache, "_TOUCH_SECONDS", 0)
    monkeypatch.setattr(cache, "time", SimpleNamespace(time=lambda: next(clock)))
    scores = WordScores.from_preserve(np.zeros(100))
    DirectoryStore(tmp_path / "one").put({"a": scores})
    with contextlib.closing(sqlite3.connect(tmp_path / "one" / "scores.sqlite")) as database:
        (size,) = database.execute("SELECT LENGTH(value) FROM scores").fetchone()
    store = DirectoryStore(tmp_path / "ten", max_bytes=10 * size)
    for name in "abcdefghij":
        store.put({name: scores})
    assert set(store.get(["a"])) == {"a"}
    store.put({"k": scores})  # an eleventh: down to nine, without the two that were not used for longest
    assert set(store.get(list("abcdefghijk"))) == set("adefghijk")


def test_a_directory_is_asked_for_many_texts_at_once(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    names = [str(number) for number in range(1100)]
    store.put(dict.fromkeys(names, WordScores.from_preserve(np.zeros(1))))
    assert set(store.get(names)) == set(names)


def test_empty_texts_need_memory_too() -> None:
    store = MemoryStore(max_bytes=1000)
    for number in range(50):
        store.put({str(number): WordScores.from_preserve([])})
    assert 1 <= len(store) <= 5


def test_a_store_is_not_asked_for_what_is_known_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = CachedScorer(Counting(), "m", MemoryStore(), DirectoryStore(tmp_path))
    scorer.score([segment("Known.")], None)
    monkeypatch.setattr(DirectoryStore, "_use", lambda *arguments: pytest.fail("opened the file"))
    scorer.score([segment("Known.")], None)

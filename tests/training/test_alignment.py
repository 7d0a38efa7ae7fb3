"""Tracing compressed texts back: hand-labelled cases beside other aligners, the measures by hand, and laws."""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations.core.text import segment
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.training.alignment import Alignment, align, filter_by_percentile, labels_from_pairs

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "cookbook" / "benchmarks"))

import alignment_cases
import run_alignment

# Right only with knowledge of the language or of what LLMs say before an answer.
KNOWN_MISSES = {"irregular inflection", "dotted abbreviation", "preamble", "word replaced"}


def kept(text: str, compressed: str) -> list[str]:
    return [word for word, keep in zip(segment(text).words(), align(text, compressed).preserve, strict=True) if keep]


# --- cases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", alignment_cases.CASES, ids=lambda case: case.name)
def test_case(case: alignment_cases.Case) -> None:
    words = np.array(segment(case.text).words())
    preserve = align(case.text, case.compressed).preserve
    assert (words[preserve].tolist() == words[case.kept].tolist()) is (case.name not in KNOWN_MISSES)
    assert bool((preserve == case.kept).all()) is (case.name not in KNOWN_MISSES)


def test_fewer_errors_than_other_aligners() -> None:
    rates = alignment_cases.error_rates(alignment_cases.CASES)["aligners"]
    ours = rates.pop("ours")
    assert set(rates) == {"llmlingua2_greedy", "difflib", "difflib_gap_fill"}
    for other in rates.values():
        for measure in ("word_error_rate", "without_punctuation", "cases_with_errors"):
            assert ours[measure] <= other[measure]


def test_the_other_aligners_do_what_they_are_said_to() -> None:
    text = "the cat and the dog met, the end"
    assert alignment_cases.greedy(text, "the dog").tolist() == [True, *[False] * 3, True, *[False] * 4]
    assert alignment_cases.longest_blocks(text, "the dog").tolist() == [*[False] * 3, True, True, *[False] * 4]
    assert not alignment_cases.longest_blocks("colour", "color").any()
    assert alignment_cases.longest_blocks_filled("colour", "color").all()
    # Forward the greedy one sees 149 words; prev moves by half of that at most.
    far = " ".join(["start", *["x"] * 148, "near", *["x"] * 100, "far"])
    assert alignment_cases.greedy(far, "start near").sum() == 2
    assert alignment_cases.greedy(far, "start far").sum() == 1
    assert alignment_cases.greedy(far, "start near far").sum() == 2
    for aligner in alignment_cases.ALIGNERS.values():
        assert aligner("", "word").tolist() == []
        assert aligner("word", "").tolist() == [False]


def test_the_benchmark_runs(tmp_path: Path) -> None:
    sentences = [f"The mayor of town{n} opened a school on Monday ." for n in range(run_alignment.SENTENCES)]
    records = [
        {
            "id": str(n),
            "source": sentence,
            "source_text": sentence.replace(" .", "."),
            "compressed_text": f"mayor of town{n} opened school.",
            "keep": "0111101001",
        }
        for n, sentence in enumerate(sentences)
    ]
    with gzip.open(tmp_path / "google_compression_cased.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in [*records, {"source": "no mask"}])
    results = run_alignment.run(tmp_path)
    assert list(results) == ["cases", "pairs", "documents", "edited_documents"]
    assert results["pairs"]["cases"] == len(records)
    assert results["documents"]["cases"] == results["edited_documents"]["cases"] == 1
    assert results["documents"]["aligners"]["ours"]["word_error_rate"] == 0


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_measures_by_hand() -> None:
    alignment = align("red green blue green", "green pink")
    assert alignment.preserve.sum() == 1
    assert (alignment.variation_rate, alignment.matching_rate, alignment.hitting_rate) == (0.5, 0.25, 0.25)
    assert alignment.alignment_gap == 0
    # Both "red" are in the source, but only one can be placed.
    alignment = align("red green", "red red")
    assert (alignment.variation_rate, alignment.matching_rate, alignment.hitting_rate) == (0, 0.5, 1)
    assert alignment.alignment_gap == 0.5


def test_other_forms_count_as_in_the_source_and_other_words_do_not() -> None:
    assert align("They measured 1,000 well-known rivers.", "measure 1000 well known river").variation_rate == 0
    assert align("They measured rivers.", "They gauged rivers.").variation_rate == 0.25


@pytest.mark.parametrize(("text", "compressed"), [("", ""), ("", "word"), ("word", ""), (" \n", "a b")])
def test_empty_texts(text: str, compressed: str) -> None:
    alignment = align(text, compressed)
    assert not alignment.preserve.any()
    assert alignment.variation_rate == float(bool(compressed))
    assert alignment.matching_rate == alignment.hitting_rate == 0


def test_full_stops_stay_in_their_sentences() -> None:
    text = "Rain fell. Dr. Wu slept. The dam broke at noon. Nobody was hurt."
    assert kept(text, "Dam broke.") == ["dam", "broke", "."]
    assert align(text, "Dam broke.").preserve.nonzero()[0].tolist() == [9, 10, 13]
    # Here no deletion explains the answer, and the stops of other sentences are left alone.
    assert align(text, "Dam broke. It crumbled.").preserve.nonzero()[0].tolist() == [9, 10, 13]


def test_invented_function_words_take_no_place_far_away() -> None:
    text = "Officials of the city spoke. Prices rose, and wages fell."
    assert kept(text, "Prices and the wages fell") == ["Prices", "and", "wages", "fell"]


def test_negations_are_no_form_of_other_words() -> None:
    assert kept("She noted that it did not fit.", "not fit") == ["not", "fit"]
    assert kept("She noted that it fits.", "not fit") == ["fits"]


def test_wrong_types_are_refused() -> None:
    with pytest.raises(InputError, match="`compressed` to be a string, got NoneType"):
        align("text", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (["word"] * 2000, [*["word"] * 1900, "x"]),
        ([f"w{n}" for n in range(2000)], [f"w{n}" for n in reversed(range(2000))]),
        ([f"prefix{n}" for n in range(2000)], [f"prefix{n}" for n in range(2000, 4000)]),
    ],
    ids=["one word", "reversed", "similar"],
)
def test_hard_inputs_take_no_seconds(source: list[str], target: list[str]) -> None:
    start = time.process_time()
    align(" ".join(source), " ".join(target))
    assert time.process_time() - start < 2  # a fifth of a second or so; the rest is for slow machines


# --- filter ----------------------------------------------------------------------------------------------------------


def measured(variation: float, gap: float) -> Alignment:
    return Alignment(np.zeros(1, bool), variation, 0.0, gap)


def test_the_worst_are_dropped_by_variation_first() -> None:
    alignments = [measured(0.01 * n, 0.0) for n in range(20)]
    assert filter_by_percentile(alignments).tolist() == [True] * 19 + [False]
    # The record with the highest gap is gone already, so the threshold of the gap comes from the others.
    alignments = [measured(0.0, 0.01 * n) for n in range(19)] + [measured(1.0, 9.0)]
    assert filter_by_percentile(alignments).tolist() == [True] * 17 + [False] * 3


def test_ties_are_kept() -> None:
    assert filter_by_percentile([measured(0.3, 0.2)] * 7).all()
    mixed = [measured(0.0, 0.0)] * 96 + [measured(0.5, 0.0)] * 4
    assert filter_by_percentile(mixed).tolist() == [True] * 96 + [False] * 4
    mixed = [measured(0.0, 0.0)] * 90 + [measured(0.5, 0.0)] * 10  # they hold the 95th percentile themselves
    assert filter_by_percentile(mixed).all()


def test_filter_of_nothing_and_of_everything() -> None:
    assert filter_by_percentile([]).shape == (0,)
    alignments = [measured(0.1 * n, 0.1 * n) for n in range(10)]
    assert filter_by_percentile(alignments, variation=100, gap=100).all()
    assert filter_by_percentile(alignments, variation=0, gap=0).tolist() == [True] + [False] * 9


@pytest.mark.parametrize("wrong", [{"variation": -1}, {"gap": 101}, {"gap": float("nan")}])
def test_percentiles_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"percentile in \[0, 100\]"):
        filter_by_percentile([], **wrong)


def test_labels_from_pairs() -> None:
    good = [(f"The river {n} is long.", f"river {n} long") for n in range(20)]
    labelled = labels_from_pairs([*good, ("The lake is deep.", "A pond lies there")])
    assert [each.text for each in labelled] == [text for text, _ in good]
    assert labelled[0].targets.dtype == np.float64
    assert labelled[0].targets.tolist() == [0, 1, 1, 0, 1, 0]
    assert len(labels_from_pairs([("a b", "c")], variation=100)) == 1
    assert labels_from_pairs(iter([])) == []


# --- laws ------------------------------------------------------------------------------------------------------------

SPOKEN = ["the", "a", "not", "cat", "cats", "dog", "don't", "re-read", "read", "1,000", "zürich", "don", "t"]
WORDS = st.lists(st.sampled_from(SPOKEN), max_size=40)


@st.composite
def deletions(draw: st.DrawFn, words: list[str]) -> tuple[list[str], list[str]]:
    source = draw(st.lists(st.sampled_from(words), max_size=40))
    mask = draw(st.lists(st.booleans(), min_size=len(source), max_size=len(source)))
    return source, [word for word, keep in zip(source, mask, strict=True) if keep]


@given(deletions([*SPOKEN, ".", ",", "!", '"', "—"]))
def test_deletions_are_undone(pair: tuple[list[str], list[str]]) -> None:
    source, remaining = pair
    assert segment(" ".join(source)).words() == source
    assert kept(" ".join(source), " ".join(remaining)) == remaining
    alignment = align(" ".join(source), " ".join(remaining))
    assert alignment.variation_rate == 0
    assert alignment.alignment_gap == pytest.approx(0)


@given(WORDS)
def test_all_and_nothing(source: list[str]) -> None:
    text = " ".join(source)
    assert align(text, text).preserve.all()
    assert not align(text, "").preserve.any()


@given(deletions(SPOKEN), st.sampled_from([str.upper, str.title, str.swapcase]), st.sampled_from(["  ", "\n", "\t "]))
def test_case_and_white_space_do_not_matter(pair, change, space) -> None:
    source, remaining = " ".join(pair[0]), pair[1]
    changed = f"{space}{space.join(change(word) for word in remaining)}{space}"
    assert align(source, changed).preserve.tolist() == align(source, " ".join(remaining)).preserve.tolist()


@given(st.text(), st.text())
def test_any_two_texts(text: str, compressed: str) -> None:
    alignment = align(text, compressed)
    assert len(alignment.preserve) == len(segment(text))
    assert 0 <= alignment.variation_rate <= 1
    assert 0 <= alignment.matching_rate <= 1


@given(WORDS, WORDS)
def test_words_are_used_once(source: list[str], target: list[str]) -> None:
    alignment = align(" ".join(source), " ".join(target))
    # A compressed word can stand for two at most: "don't" for "don" and "t" by their pieces.
    assert alignment.preserve.sum() <= 2 * len(target)

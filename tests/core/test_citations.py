from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations import ContextCompressor, InputError
from moos_integrations.core.citations import places_of
from moos_integrations.core.result import Citation, CompressedDocument, CompressionResult

SOURCE = "The bridge, which is old, was built in 1820 by Ada Byron. It rained. Ada Byron slept."
PARTS = ("The bridge", " was built in 1820", " by Ada Byron.", " Ada Byron slept.")


def pruned() -> CompressedDocument:
    spans = []
    for part in PARTS:
        start = SOURCE.index(part, spans[-1][1] if spans else 0)
        spans.append((start, start + len(part)))
    return CompressedDocument(3, "".join(PARTS), tuple(spans), 20, 15, ())


def result(*documents: CompressedDocument) -> CompressionResult:
    return CompressionResult(documents, "", 0, 0, 0, 0.0)


def test_a_quote_is_found_across_dropped_words() -> None:
    (place,) = result(pruned()).cite("the bridge was built")
    assert place == Citation(3, 0, SOURCE.index("built") + 5, "The bridge was built", 1.0)


def test_every_place_of_a_whole_quote_is_given() -> None:
    places = result(pruned()).cite("Ada  BYRON!")
    assert [SOURCE[place.start : place.end] for place in places] == ["Ada Byron", "Ada Byron"]
    assert [place.start for place in places] == [SOURCE.index("Ada"), SOURCE.rindex("Ada")]


def test_the_longest_run_counts_if_it_covers_enough() -> None:
    (place,) = result(pruned()).cite("It was built in 1820, they say")
    assert (place.text, place.coverage) == ("was built in 1820", 4 / 7)
    assert result(pruned()).cite("It was built in 1820, they say", min_coverage=0.6) == []
    assert result(pruned()).cite("nothing of this") == []
    assert result(pruned()).cite("?!") == []


def test_the_better_document_comes_first() -> None:
    other = CompressedDocument(0, "Ada slept.", ((5, 15),), 3, 3, ())
    places = result(other, pruned()).cite("Ada Byron slept")
    assert [(place.document, place.coverage) for place in places] == [(3, 1.0)]
    places = result(other, pruned()).cite("Ada slept")
    assert [(place.document, place.coverage, place.start) for place in places] == [
        (0, 1.0, 5),
        (3, 0.5, SOURCE.index("Ada")),
    ]


def test_a_quote_that_is_no_string_is_refused() -> None:
    with pytest.raises(InputError, match="must be a string, got int"):
        result(pruned()).cite(7)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), st.lists(st.sampled_from(["a", "b"]), max_size=3))
def test_places_hold_the_quote_and_do_not_overlap(words: list[str], quote: list[str]) -> None:
    text = "; ".join(words)
    places = places_of(" ".join(quote), text, 0.5)
    for start, end, coverage in places:
        run = text[start:end].split("; ")
        assert len(run) == round(coverage * len(quote))
        assert any(quote[i : i + len(run)] == run for i in range(len(quote)))
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(places))
    inside = any(words[i : i + len(quote)] == quote for i in range(len(words) - len(quote) + 1)) and bool(quote)
    assert inside == any(coverage == 1.0 for _, _, coverage in places)


def test_citations_of_a_real_result_stand_in_the_source(compressor: ContextCompressor) -> None:
    texts = ["The quick brown fox jumps over 42 lazy dogs. Ada Lovelace wrote it.", "Nothing of the sort."]
    found = compressor.compress(texts, rate=0.6)
    for document in found.documents:
        for word in document.text.split()[:3]:
            for place in document.cite(word):
                assert texts[place.document][place.start : place.end] == place.text


def test_places_of_a_quote_that_overlaps_itself_do_not_overlap() -> None:
    assert places_of("a b a", "a b a b a; a b a", 1.0) == [(0, 5, 1.0), (11, 16, 1.0)]


def test_a_run_that_holds_just_the_least_share_is_found() -> None:
    assert places_of("one two nine ten", "it was one, two or so", 0.5) == [(7, 15, 0.5)]
    assert places_of("one two nine ten", "it was one, two or so", 0.51) == []


@given(st.lists(st.sampled_from("abc"), max_size=14), st.lists(st.sampled_from("abcd"), min_size=1, max_size=8))
def test_the_longest_run_is_that_of_a_plain_search(words: list[str], quote: list[str]) -> None:
    text = " ".join(words)
    longest = max(
        (
            size
            for size in range(len(quote) + 1)
            for start in range(len(quote) - size + 1)
            if any(words[at : at + size] == quote[start : start + size] for at in range(len(words) - size + 1))
        ),
        default=0,
    )
    places = places_of(" ".join(quote), text, 0.0)
    assert max((round(coverage * len(quote)) for _, _, coverage in places), default=0) == longest
    if longest < len(quote) and places:
        ((start, end, _),) = places
        run = text[start:end].split()
        first = next(at for at in range(len(words)) if words[at : at + longest] == run)
        assert start == 2 * first  # the first of the longest ones


@pytest.mark.parametrize("gap", ["...", " ... ", "…", " [...] ", " (…) ", " . . . "])
def test_a_quote_with_words_left_out_is_found(gap: str) -> None:
    text = "The bridge is old. The bridge was built in 1820 by a young Ada Byron, and it rained. Ada Byron slept."
    (place,) = places_of(f"the bridge was built{gap}Ada Byron", text, 1.0)
    assert text[place[0] : place[1]] == "The bridge was built in 1820 by a young Ada Byron"
    assert places_of(f"Ada Byron slept{gap}the bridge was built", text, 0.9) == []  # not in this order
    (place,) = places_of(f"{gap}it rained{gap}", text, 1.0)
    assert text[place[0] : place[1]] == "it rained"
    assert places_of(gap, text, 0.0) == []


@given(
    st.lists(st.sampled_from("abc"), max_size=12),
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=2), min_size=2, max_size=3),
)
def test_parts_around_gaps_are_found_where_they_end_first(words: list[str], parts: list[list[str]]) -> None:
    def ends(at: int, rest: list[list[str]]) -> list[int]:
        if not rest:
            return [at]
        found = [i for i in range(at, len(words)) if words[i : i + len(rest[0])] == rest[0]]
        return [end for i in found for end in ends(i + len(rest[0]), rest[1:])]

    runs = [(start, end) for start in range(len(words)) if words[start : start + len(parts[0])] == parts[0]
            for end in ends(start + len(parts[0]), parts[1:])]  # fmt: skip
    joined = [word for part in parts for word in part]
    whole = any(words[at : at + len(joined)] == joined for at in range(len(words)))
    places = places_of(" ... ".join(" ".join(part) for part in parts), " ".join(words), 1.0)
    assert bool(places) == bool(runs)
    if runs and not whole:
        ((start, end, coverage),) = places
        assert coverage == 1.0
        earliest = min(last for _, last in runs)
        assert (end + 1) // 2 == earliest
        assert start // 2 == max(first for first, last in runs if last == earliest)


def test_a_quote_over_two_documents_is_found_in_both() -> None:
    first = CompressedDocument(0, "It was cold. The old bridge was built by", ((100, 140),), 9, 9, ())
    second = CompressedDocument(1, "a young engineer from Kent. He slept.", ((140, 177),), 8, 8, ())
    other = CompressedDocument(2, "The old bridge was sold.", ((0, 24),), 5, 5, ())
    quote = "The old bridge was built by a young engineer"
    for documents in itertools.permutations((first, second, other)):
        left, right = sorted(result(*sorted(documents, key=lambda d: d.index)).cite(quote), key=lambda p: p.document)
        assert (left.text, right.text) == ("The old bridge was built by", "a young engineer")
        assert (left.document, left.start, left.end) == (0, 113, 140)
        assert (right.document, right.start, right.end) == (1, 140, 156)
        assert left.coverage + right.coverage == pytest.approx(1.0)
    holed = "The old bridge was built by not a young engineer"
    assert [place.document for place in result(first, second).cite(holed)] == [0]  # "not" is in neither
    lopsided = "It was cold. The old bridge was built by a young"
    assert [place.document for place in result(first, second).cite(lopsided)] == [0]  # two words prove nothing


@pytest.mark.parametrize("words", [["a"], ["a", "b"]])
def test_long_repetitive_quotes_take_linear_time(words: list[str]) -> None:
    start = time.process_time()
    text = " ".join(words * 5_000)
    places_of(" ".join(words * 2_000) + " end", text, 0.0)
    places_of(" ".join([*words * 2_000]), text, 0.0)
    places_of(" ... ".join([*words * 500, "end"]), text, 0.0)
    assert time.process_time() - start < 3

from __future__ import annotations

import itertools

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

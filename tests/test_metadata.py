"""One metadata format in both adapters: compact, flat, chained, and never applied to another text."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_text_splitters import CharacterTextSplitter
from llama_index.core import Document as LlamaDocument
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter, SentenceWindowNodeParser
from llama_index.core.postprocessor import MetadataReplacementPostProcessor
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode
from tiny import UnitScorer

from moos_integrations import ContextCompressor
from moos_integrations import langchain as lc
from moos_integrations import llama_index as li
from moos_integrations.adapter import ADDED_KEYS, entry_of
from moos_integrations.core.provenance import Origin
from moos_integrations.core.tokens import token_counter

SENTENCES = [
    f"Section {n} says that the bridge number {n} was built in {1800 + n} by person {chr(65 + n)}{n} of the town."
    for n in range(20)
]
TEXT = " ".join(SENTENCES)


def with_scorer(component: Any) -> Any:
    component._compressor = ContextCompressor(UnitScorer(), component.config_of_compressor())
    return component


def compressor(**settings: Any) -> lc.MOOSCompressor:
    return with_scorer(lc.MOOSCompressor(**settings))


def postprocessor(**settings: Any) -> li.MOOSNodePostprocessor:
    return with_scorer(li.MOOSNodePostprocessor(**settings))


def check_places(places: list[Any], documents: list[str], nodes: list[str], texts: list[str]) -> None:
    """Each place has, where it says, the words of the quote that it shows."""
    for place in places:
        source = {"document": documents, "node": nodes, "text": texts}[place.within][place.document]
        rest = iter(source[place.start : place.end])
        assert all(character in rest for character in place.text)
        assert source[place.start : place.start + 5] == place.text[:5]
        assert source[place.end - 5 : place.end] == place.text[-5:]


# --- what prompts see -------------------------------------------------------------------------------------------------

METADATA = st.dictionaries(st.text("abc_", min_size=1, max_size=5), st.integers() | st.text(max_size=8), max_size=3)


@given(
    st.lists(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6), min_size=1, max_size=4),
    METADATA,
    st.none() | st.integers(0, 10**6),
    st.floats(0.05, 1.0),
    st.sampled_from(["o200k_base", "cl100k_base"]),
)
def test_a_prompt_that_prints_metadata_never_grows(
    texts: list[list[str]], metadata: dict[str, Any], start: int | None, rate: float, tokenizer: str
) -> None:
    metadata = metadata if start is None else metadata | {"start_index": start}
    documents = [Document(" ".join(text), id=str(index), metadata=metadata) for index, text in enumerate(texts)]
    pruner = compressor(rate=rate, tokenizer=tokenizer)
    count = token_counter(tokenizer).count
    for _ in range(2):
        kept = pruner.invoke({"context": documents, "question": "When?"})
        before = {document.id: printed(document) for document in documents}
        for document in kept:
            assert count(printed(document)) <= count(before[document.id])
        whole = [("\n\n".join(map(printed, group))) for group in (kept, documents)]
        assert count(whole[0]) <= count(whole[1])
        documents = kept


def printed(document: Document) -> str:
    return f"Source: {document.metadata}\nContent: {document.page_content}"


def test_the_string_is_there_where_it_pays() -> None:
    (kept,) = compressor(rate=0.3).transform_documents([Document(TEXT, metadata={"page": 1})])
    assert set(kept.metadata) == {"page", "moos"}
    assert len(kept.metadata["moos"]) < 60
    (same,) = compressor(rate=1.0).transform_documents([Document(TEXT, metadata={"page": 1})])
    assert same.metadata == {"page": 1}
    (kept,) = compressor(rate=0.3, added_metadata="none").transform_documents([Document(TEXT, metadata={"page": 1})])
    assert kept.metadata == {"page": 1}


def test_a_slow_tokenizer_is_not_called_for_metadata() -> None:
    calls: list[str] = []

    def count(text: str) -> int:
        calls.append(text)
        return len(text) // 4

    (kept,) = compressor(rate=0.3, tokenizer=count).transform_documents([Document(TEXT)])
    assert "moos" in kept.metadata
    assert not any("'moos'" in text for text in calls)


def test_all_values_are_flat_in_both_adapters() -> None:
    (document,) = compressor(rate=0.3, added_metadata="all").compress_documents([Document(TEXT)], "When?")
    (item,) = postprocessor(rate=0.3).postprocess_nodes([NodeWithScore(node=TextNode(text=TEXT))], query_str="When?")
    assert document.page_content == item.text
    assert document.metadata == item.node.metadata  # one format
    assert set(document.metadata) == set(ADDED_KEYS) - {"moos_warnings"}
    assert all(isinstance(value, (str, int, float)) for value in document.metadata.values())
    assert json.loads(json.dumps(document.metadata)) == document.metadata


@pytest.mark.parametrize("added", ["spans", "all", "none"])
def test_what_is_added_to_nodes_is_hidden(added: Any) -> None:
    nodes = [NodeWithScore(node=TextNode(text=TEXT, metadata={"page": 1}))]
    (item,) = postprocessor(rate=0.3, added_metadata=added).postprocess_nodes(nodes, query_str="When?")
    names = {"spans": {"moos"}, "all": set(ADDED_KEYS) - {"moos_warnings"}, "none": set()}[added]
    assert set(item.node.metadata) == names | {"page"}
    assert set(item.node.excluded_llm_metadata_keys) == names


def test_relevance_goes_under_a_name_of_choice() -> None:
    texts = [TEXT, "Nothing of the sort was ever said about the river."]
    documents = [Document(text) for text in texts]
    kept = compressor(rate=1.0, score_key="relevance_score").compress_documents(documents, "When?")
    assert [type(document.metadata["relevance_score"]) for document in kept] == [float, float]
    result = compressor().compressor.compress(texts, "When?")
    expected = [document.relevance for document in result.documents]
    assert [document.metadata["relevance_score"] for document in kept] == pytest.approx(expected, abs=1e-4)
    assert all("relevance_score" not in d.metadata for d in compressor(score_key="relevance_score").invoke(documents))
    nodes = [NodeWithScore(node=TextNode(text=TEXT), score=0.5)]
    (item,) = postprocessor(score_key="relevance_score").postprocess_nodes(nodes, query_str="When?")
    assert item.node.metadata["relevance_score"] == item.node.metadata["moos_relevance"]
    assert item.score == 0.5


def test_a_score_key_without_questions_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    li.MOOSNodeTransform(score_key="relevance_score")
    assert "`score_key='relevance_score'` has no effect: at ingestion there is no question" in caplog.text


# --- passes and splitters ---------------------------------------------------------------------------------------------


@given(st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.integers(150, 400), st.booleans(), st.booleans())
def test_citations_lead_through_passes_and_splitters(
    first: float, second: float, size: int, before: bool, after: bool
) -> None:
    splitter = CharacterTextSplitter(separator=" ", chunk_size=size, chunk_overlap=20, add_start_index=True)
    documents = [Document(f"Foreword. {TEXT}", id="d")]
    if before:
        documents = splitter.split_documents(documents)
    documents = compressor(rate=first, added_metadata="all").transform_documents(documents)
    if after:
        documents = splitter.split_documents(documents)
    kept = compressor(rate=second, added_metadata="all").compress_documents(documents, "When?")
    source = f"Foreword. {TEXT}"
    for document in kept:
        origin = lc.origin_of(document)
        if origin.within != "text":
            assert "".join(source[start:end] for start, end in origin.spans) == document.page_content or before
        for place in lc.cite(document.page_content[:40], kept):
            if place.within == "document" or (place.within == "node" and not before):
                rest = iter(source[place.start : place.end])
                assert all(character in rest for character in place.text)
    if not (before and after):  # the first chunk of a chunk is not told from a text that something changed
        assert all(lc.origin_of(document).within != "text" for document in kept)


@pytest.mark.parametrize("rates", [(0.5, 0.6), (1.0, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_nodes_keep_their_places_when_a_compressed_document_is_parsed(rates: tuple[float, float]) -> None:
    source = f"Foreword. {TEXT}"
    transform = with_scorer(li.MOOSNodeTransform(rate=rates[0]))
    nodes = SentenceSplitter(chunk_size=60, chunk_overlap=0).get_nodes_from_documents(
        transform([LlamaDocument(text=source)])
    )
    assert len(nodes) > 2
    kept = postprocessor(rate=rates[1]).postprocess_nodes([NodeWithScore(node=node) for node in nodes])
    for item in [*[NodeWithScore(node=node) for node in nodes], *kept]:
        origin = li.origin_of(item.node)
        assert "".join(source[start:end] for start, end in origin.spans) == item.text


# --- other components that change the text ---------------------------------------------------------------------------


def index_of(nodes: list[Any]) -> VectorStoreIndex:
    return VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))


@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_behind_a_citation_query_engine(rate: float) -> None:
    source = f"Foreword. {TEXT}"
    nodes = SentenceSplitter(chunk_size=120, chunk_overlap=0).get_nodes_from_documents([LlamaDocument(text=source)])
    engine = CitationQueryEngine.from_args(
        index_of(nodes), llm=MockLLM(), similarity_top_k=3, node_postprocessors=[postprocessor(rate=rate)]
    )
    found = engine.query("When?").source_nodes
    assert found
    for item in found:
        assert item.text.startswith("Source ")
        inside = item.text.split("\n", 1)[1].strip()
        (place, *_) = [place for place in li.cite(inside, found) if place.id == item.node_id]
        assert (place.within, place.coverage) == ("document", 1.0)
        rest = iter(source[place.start : place.end])
        assert all(character in rest for character in place.text)
        assert len(place.text) >= len(inside) - 1 >= 20
        (place, *_) = [place for place in li.cite(item.text, found) if place.id == item.node_id]
        assert place.within == "text"  # with "Source 1:", it is in no document
        assert item.text[place.start : place.end] == place.text


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_behind_a_metadata_replacement(rate: float, order: tuple[int, int]) -> None:
    source = f"Foreword. {TEXT}"
    parser = SentenceWindowNodeParser.from_defaults(window_size=2)
    nodes = parser.get_nodes_from_documents([LlamaDocument(text=source)])
    both = [MetadataReplacementPostProcessor(target_metadata_key="window"), postprocessor(rate=rate)]
    engine = index_of(nodes).as_query_engine(
        llm=MockLLM(), similarity_top_k=4, node_postprocessors=[both[index] for index in order]
    )
    found = engine.query("When?").source_nodes
    assert found
    windows = [item.node.metadata["window"] for item in found]
    quote = found[0].text[:60]
    places = li.cite(quote, found)
    assert places
    check_places(places, [source] * len(found), windows, [item.text for item in found])


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-3], lambda text: text[5:], lambda text: text[::-1]])
def test_a_text_that_was_changed_has_places_of_its_own_only(change: Any) -> None:
    (kept,) = compressor(rate=0.5).transform_documents([Document(TEXT, metadata={"start_index": 70})])
    assert lc.origin_of(kept).within == "document"
    kept.page_content = change(kept.page_content)
    (place,) = lc.cite(kept.page_content, [kept])
    assert (place.within, kept.page_content[place.start : place.end]) == ("text", place.text)
    (item,) = postprocessor(rate=0.5).postprocess_nodes([NodeWithScore(node=TextNode(text=TEXT, start_char_idx=70))])
    item.node.set_content(change(item.text))
    assert li.cite(item.text, [item])[0].within == "text"
    (again,) = compressor(rate=1.0, added_metadata="all").transform_documents([kept])
    origin = lc.origin_of(again)  # what was read is the source from here on
    assert origin.within == "node"
    assert "".join(kept.page_content[a:b] for a, b in origin.spans) == again.page_content


def test_offsets_of_another_text_are_not_used() -> None:
    node = TextNode(text=SENTENCES[0], start_char_idx=500, end_char_idx=500 + len(SENTENCES[0]))
    assert li.cite(SENTENCES[0], [node])[0].start == 500
    node.set_content(TEXT)  # a component that gives the node its neighbours too
    assert (li.cite(SENTENCES[1], [node])[0].within, li.origin_of(node).within) == ("text", "text")
    source = Document(TEXT, metadata={"start_index": 9})
    (kept,) = compressor(rate=0.5, added_metadata="none").transform_documents([source])
    assert kept.metadata == {"start_index": -1}
    assert lc.origin_of(kept).within == "text"


def test_marks_between_spans_are_no_part_of_quotes() -> None:
    class Mark(NamedTuple):
        start: int
        end: int

    class Marked(NamedTuple):
        text: str
        spans: tuple[tuple[int, int], ...]
        marks: tuple[Mark, ...]
        original_tokens: int = 9
        kept_tokens: int = 5
        relevance: None = None

    source = "The bridge is old. Nobody knows it. It was built in 1820. So it is."
    mark = "[1 sentence omitted] "
    text = f"The bridge is old. {mark}It was built in 1820. {mark}"
    first, second = 19, source.index("It was")
    marks = (Mark(first, first + len(mark)), Mark(len(text) - len(mark), len(text)))
    marked: Any = Marked(text, ((0, 19), (second, second + 22)), marks)
    origin = Origin.whole("node", len(source))
    kept = Document(text, metadata=entry_of({}, marked, origin, None))
    assert lc.origin_of(kept).spans == marked.spans
    (place,) = lc.cite("bridge is old. It was built", [kept])
    assert (place.within, place.coverage) == ("node", 1.0)
    assert source[place.start : place.end] == "bridge is old. Nobody knows it. It was built"
    (place,) = lc.cite("1820. [1 sentence omitted]", [kept])
    assert place.within == "text"


def test_a_quote_over_two_chunks_is_found() -> None:
    cut = TEXT.index("bridge number 3")
    chunks = [Document(TEXT[:cut], metadata={"start_index": 0}), Document(TEXT[cut:], metadata={"start_index": cut})]
    places = lc.cite(SENTENCES[3], chunks)
    assert {(TEXT[place.start : place.end], place.within) for place in places} == {
        ("Section 3 says that the", "document"),
        (SENTENCES[3][:-1].removeprefix("Section 3 says that the "), "document"),
    }

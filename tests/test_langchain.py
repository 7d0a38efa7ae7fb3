"""The LangChain adapter, against LangChain's own retriever, pipeline and chains."""

from __future__ import annotations

import asyncio
import copy
import doctest
import importlib
import json
import pickle
import re
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor, BaseDocumentTransformer, Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumps, loads
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import CharacterTextSplitter
from pydantic import Field
from tiny import UnitScorer

import moos_integrations.langchain
from moos_integrations import (
    CompressionError,
    ConfigError,
    ContextCompressor,
    InputError,
    MissingExtraError,
    PassthroughWarning,
    WordScores,
)
from moos_integrations.adapter import without_entry
from moos_integrations.core.cache import CachedScorer, MemoryStore
from moos_integrations.core.types import SegmentedText
from moos_integrations.langchain import COMPRESSION_EVENT, METADATA_KEY, MOOSCompressor, cite, origin_of

LOADING = {"allowed_objects": [MOOSCompressor], "valid_namespaces": ["moos_integrations"]}
NOT_BETA = pytest.mark.filterwarnings("ignore:The function `loads` is in beta")


class LongWords:
    """Longer words matter more; keeps the queries it was asked."""

    def __init__(self) -> None:
        self.queries: list[str | None] = []

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.queries.append(query)
        return [WordScores.from_preserve([len(word) / (len(word) + 1) for word in d.words()]) for d in documents]


class Failing:
    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        raise RuntimeError("out of memory")


class Recorder(BaseCallbackHandler):
    """What a tracer sees: the runs by id, and the custom events."""

    def __init__(self) -> None:
        self.runs: dict[Any, dict[str, Any]] = {}
        self.events: list[tuple[str, Any, Any]] = []

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self.runs[run_id] = {"name": kw["name"], "parent": parent_run_id, "inputs": inputs}

    def on_retriever_start(
        self, serialized: Any, query: Any, *, run_id: Any, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self.runs[run_id] = {"name": kw["name"], "parent": parent_run_id, "inputs": query}

    def on_chain_end(self, outputs: Any, *, run_id: Any, **kw: Any) -> None:
        self.runs[run_id]["outputs"] = outputs

    def on_chain_error(self, error: BaseException, *, run_id: Any, **kw: Any) -> None:
        self.runs[run_id]["error"] = error

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **kw: Any) -> None:
        self.events.append((name, data, run_id))

    def named(self, name: str) -> list[Any]:
        return [run_id for run_id, run in self.runs.items() if run["name"] == name]


class Fixed(BaseRetriever):
    """Retrieves what it was given."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return self.documents


class StatefulDocument(Document):
    """Like langchain's own `_DocumentWithState`: a subclass with a field of its own."""

    state: dict[str, Any] = Field(default_factory=dict)


def words(text: str) -> int:
    return len(text.split())


def fake(scorer: Any = None, **fields: Any) -> MOOSCompressor:
    """A compressor without a model."""
    compressor = MOOSCompressor(**{"tokenizer": words, "min_tokens": 0, **fields})
    compressor._compressor = ContextCompressor(scorer or LongWords(), compressor.config_of_compressor())
    return compressor


def some_documents() -> list[Document]:
    return [
        Document(
            "Extraordinary meetings happened. It is on.",
            id="a",
            metadata={"source": {"page": 1}, "tags": ["x"]},
        ),
        Document("A b c.", id="b", metadata={"start_index": 40}),
        Document("Magnificent elephants wandered. It is far.", id="c"),
    ]


def contents(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)


# --- documents -------------------------------------------------------------------------------------------------------


def test_is_compressor_transformer_and_runnable() -> None:
    for kind in (BaseDocumentCompressor, BaseDocumentTransformer, Runnable):
        assert isinstance(MOOSCompressor(), kind)


def test_keeps_ids_metadata_and_order() -> None:
    kept = fake(rate=0.5).compress_documents(some_documents(), "When?")
    assert [document.id for document in kept] == ["a", "c"]
    assert contents(kept) == ["Extraordinary meetings happened.", "Magnificent elephants wandered."]
    assert kept[0].metadata["source"] == {"page": 1}
    assert type(kept) is list


def test_metadata_maps_back_to_the_source_and_is_json() -> None:
    sources = {document.id: document for document in some_documents()}
    for document in fake(rate=0.5, added_metadata="all").compress_documents(some_documents(), "When?"):
        added = json.loads(json.dumps(document.metadata))
        source = sources[document.id].page_content
        spans = origin_of(Document(document.page_content, metadata=added)).spans
        assert "".join(source[start:end] for start, end in spans) == document.page_content
        assert added["moos_original_tokens"] == words(source)
        assert added["moos_kept_tokens"] == words(document.page_content)
        assert without_entry(document.metadata) == sources[document.id].metadata


def test_inputs_are_not_touched_and_nothing_is_shared() -> None:
    documents = some_documents()
    before = copy.deepcopy(documents)
    kept = fake(rate=0.9).compress_documents(documents, "When?")
    kept[0].metadata["source"]["page"] = 99
    kept[0].metadata["tags"].append("y")
    assert documents == before


def test_an_earlier_pass_is_chained() -> None:
    once = fake(rate=0.9, added_metadata="all").compress_documents(some_documents(), "When?")
    twice = fake(rate=0.5, added_metadata="all").compress_documents(once, "When?")
    source = {document.id: document.page_content for document in some_documents()}
    for document in twice:
        spans = origin_of(document).spans
        assert "".join(source[document.id][start:end] for start, end in spans) == document.page_content
        assert document.metadata["moos_original_tokens"] == words(source[document.id])


def test_subclasses_keep_their_type_and_fields() -> None:
    state = {"embedded_doc": [0.1, 0.2]}
    source = StatefulDocument(
        "An extraordinary meeting. It is on at noon today.", id="s", metadata={"k": 1}, state=state
    )
    (kept,) = fake(rate=0.4).compress_documents([source], "q")
    assert type(kept) is StatefulDocument
    assert (kept.id, kept.state, kept.page_content) == ("s", state, "An extraordinary meeting.")
    assert kept.state is not state


def test_keep_empty() -> None:
    kept = fake(rate=0.5, keep_empty=True).compress_documents(some_documents(), "When?")
    assert [document.id for document in kept] == ["a", "b", "c"]
    assert kept[1].page_content == ""
    assert kept[1].metadata == {"start_index": -1}  # where the text began
    kept = fake(rate=0.5, keep_empty=True, added_metadata="all").compress_documents(some_documents(), "When?")
    assert (kept[1].metadata["moos_kept_tokens"], origin_of(kept[1]).spans) == (0, ())


async def test_no_documents_need_no_model() -> None:
    compressor = MOOSCompressor(model="nobody/nothing")
    assert compressor.compress_documents([], "q") == []
    assert compressor.transform_documents(()) == []
    assert compressor.invoke([]) == []
    assert compressor.invoke({"context": [], "question": "q"}) == []
    assert await compressor.ainvoke([]) == []
    assert compressor._compressor is None


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "word", "\u0000\ud800", "你好，世界"])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_odd_documents(text: str, rate: float) -> None:
    kept = fake(rate=rate, tokenizer=len).compress_documents([Document(text, id="x")], "q")
    assert len(kept) <= 1
    assert all(document.id == "x" and is_subsequence(document.page_content, text) for document in kept)


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(["", "  ", "one two three four"]))


@given(texts=TEXTS, budget=st.integers(0, 30))
def test_laws_of_a_budget(texts: list[str], budget: int) -> None:
    compressor = fake(budget_tokens=budget, tokenizer="o200k_base")
    documents = [Document(text, id=str(index)) for index, text in enumerate(texts)]
    kept = compressor.compress_documents(documents, "q")
    assert texts == contents(documents)
    order = [int(document.id or "") for document in kept]
    assert order == sorted(set(order))
    assert all(is_subsequence(document.page_content, texts[int(document.id or "")]) for document in kept)
    counter = ContextCompressor(LongWords()).counter
    assert counter.count("\n\n".join(contents(kept))) <= budget


# --- the budget over documents, quotes, precomputed scores -----------------------------------------------------------

SCENES = [
    "The bridge was built by Ada Byron in 1889. It stands to this day.",
    "The river is long. Nobody swims there in the cold winter, says Ada Byron.",
    "Grain was cheap. The baker slept well all night long.",
]


def scenes() -> list[Document]:
    return [Document(text, id=name) for name, text in zip("abc", SCENES, strict=True)]


def test_documents_come_in_the_order_asked_for() -> None:
    compressor = fake(UnitScorer(), order="relevance", rate=0.9, tokenizer="o200k_base")
    orders = set()
    for query in ("Who?", "When?", "Where?", "Why?"):
        result = compressor.compressor.compress(SCENES, query)
        kept = compressor.compress_documents(scenes(), query)
        assert "\n\n".join(contents(kept)) == result.text
        orders.add("".join(document.id or "" for document in kept))
    assert len(orders) > 1
    best = fake(UnitScorer(), top_n=1, rate=1.0).compress_documents(scenes(), "Who?")
    assert len(best) == 1
    assert best[0].page_content in SCENES


def test_scores_of_a_reranker_are_read_from_the_metadata() -> None:
    compressor = fake(UnitScorer(), top_n=1, rate=1.0, gains={"retriever_weight": 50.0})
    for best in range(3):
        documents = scenes()
        for index, document in enumerate(documents):
            document.metadata["relevance_score"] = float(index == best)
        assert contents(compressor.compress_documents(documents, "Who?")) == [SCENES[best]]
        assert contents(asyncio.run(compressor.acompress_documents(documents, "Who?"))) == [SCENES[best]]
    documents[0].metadata["relevance_score"] = "high"  # not ours to judge: as if there were none
    assert len(compressor.compress_documents(documents, "Who?")) == 1


def test_a_quote_leads_back_to_the_text_that_was_split() -> None:
    whole = "\n\n".join(SCENES * 2)
    splitter = CharacterTextSplitter(separator=" ", chunk_size=90, chunk_overlap=0, add_start_index=True)
    chunks = splitter.create_documents([whole], [{"file": "x"}])
    kept = MOOSCompressor(rate=0.6, added_metadata="all").compress_documents(chunks, "Who built the bridge?")
    assert len(kept) > 0
    for document in kept:
        quote = document.page_content[:40].rsplit(" ", 1)[0]  # as an answer would quote it: words may be missing
        best = cite(quote.upper(), kept)[0]
        assert (best.coverage, best.within) == (1.0, "document")
        assert is_subsequence(best.text, whole[best.start : best.end])
    assert cite("a word that nobody wrote here", kept) == []
    untouched = cite("stands to this day", scenes())
    assert [(place.id, SCENES[0][place.start : place.end]) for place in untouched] == [("a", "stands to this day")]
    with pytest.raises(InputError, match="list of `Document`s"):
        cite("x", "no documents")  # type: ignore[arg-type]


def test_scores_are_precomputed_at_ingestion(tmp_path: Any) -> None:
    scorer = LongWords()
    compressor = fake(CachedScorer(scorer, "f", MemoryStore()), rate=0.5)
    compressor.precompute(some_documents())
    kept = compressor.transform_documents(some_documents())
    assert scorer.queries == [None]
    assert contents(kept) == contents(fake(rate=0.5).transform_documents(some_documents()))
    with pytest.raises(InputError, match="list of `Document`s"):
        compressor.precompute(["text"])  # type: ignore[list-item]


def test_embeddings_of_ones_own_tell_relevance(tmp_path: Any) -> None:
    class Words(DeterministicFakeEmbedding):
        def embed_query(self, text: str) -> list[float]:
            return [float("bridge" in text.lower()), float("river" in text.lower()), 0.1]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [self.embed_query(text) for text in texts]

    compressor = MOOSCompressor(embeddings=Words(size=3), budget_tokens=16, cache_dir=str(tmp_path / "scores"))
    compressor.precompute(scenes())
    for topic, index in (("bridge", 0), ("river", 1)):
        kept = compressor.compress_documents(scenes(), f"Where is the {topic}?")
        assert "abc"[index] in [document.id for document in kept]
        assert topic in " ".join(contents(kept)).lower()
    assert (tmp_path / "scores").is_dir()
    with pytest.raises(ConfigError, match="`embeddings` must be a LangChain `Embeddings`"):
        MOOSCompressor(embeddings="all-MiniLM")


# --- retriever, pipeline, ingestion ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store() -> InMemoryVectorStore:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    store.add_documents(
        [
            Document(
                f"Section {n}. The committee, which had met for a very long time, agreed that item {n} would be "
                f"paid on {n} May and that nobody should call the office about it before noon.",
                id=f"doc-{n}",
                metadata={"n": n},
            )
            for n in range(6)
        ]
    )
    return store


async def test_bundled_model_in_a_real_retriever(store: InMemoryVectorStore) -> None:
    base = store.as_retriever(search_kwargs={"k": 4})
    retriever = ContextualCompressionRetriever(base_compressor=MOOSCompressor(rate=0.5), base_retriever=base)
    question = "When is item 3 paid?"
    sources = {document.id: document for document in base.invoke(question)}
    kept = retriever.invoke(question)
    assert 0 < len(kept) <= len(sources) == 4
    for document in kept:
        source = sources[document.id]
        assert is_subsequence(document.page_content, source.page_content)
        assert document.metadata["n"] == source.metadata["n"]
    counter = retriever.base_compressor.compressor.counter  # type: ignore[attr-defined]
    full = counter.count("\n\n".join(contents(list(sources.values()))))
    assert 0 < counter.count("\n\n".join(contents(kept))) <= 0.5 * full
    assert await retriever.ainvoke(question) == kept


async def test_pipeline_and_transformers() -> None:
    scorer = LongWords()
    pipeline = DocumentCompressorPipeline(transformers=[fake(scorer, rate=0.8), fake(scorer, rate=0.5)])
    kept = pipeline.compress_documents(some_documents(), "When?")
    assert scorer.queries == ["When?", "When?"]
    assert [document.id for document in kept] == ["a", "c"]
    assert await pipeline.acompress_documents(some_documents(), "When?") == kept


async def test_transform_documents_asks_no_query() -> None:
    scorer = LongWords()
    compressor = fake(scorer, rate=0.5)
    kept = compressor.transform_documents(some_documents())
    assert await compressor.atransform_documents(some_documents()) == kept
    assert scorer.queries == [None, None]
    assert contents(compressor.transform_documents(some_documents(), budget_tokens=4)) == [
        "Extraordinary meetings happened."
    ]
    assert contents(await compressor.atransform_documents(some_documents(), budget_tokens=4)) == [
        "Extraordinary meetings happened."
    ]


# --- LCEL ------------------------------------------------------------------------------------------------------------

SHAPES = [
    ({}, lambda documents: documents, None),
    ({}, tuple, None),
    ({}, lambda documents: {"context": documents}, None),
    ({}, lambda documents: {"context": documents, "question": None}, None),
    ({}, lambda documents: {"context": documents, "question": "q", "input": 3}, "q"),
    ({}, lambda documents: {"documents": documents, "query": "q"}, "q"),
    ({}, lambda documents: {"input_documents": documents, "input": "q", "chat_history": []}, "q"),
    ({"documents_key": "found"}, lambda documents: {"found": documents, "context": "x", "query": "q"}, "q"),
    ({"documents_key": "input"}, lambda documents: {"input": documents}, None),
    ({"documents_key": "query"}, lambda documents: {"query": documents, "input": "q"}, "q"),
    ({"query_key": "ask"}, lambda documents: {"context": documents, "ask": "q", "question": 1}, "q"),
    ({"query_key": "context"}, lambda documents: {"context": "q", "documents": documents}, "q"),
]


@pytest.mark.parametrize(("fields", "shape", "query"), SHAPES)
async def test_input_shapes(fields: dict[str, Any], shape: Any, query: str | None) -> None:
    scorer = LongWords()
    compressor = fake(scorer, rate=0.5, **fields)
    kept = compressor.invoke(shape(some_documents()))
    assert [document.id for document in kept] == ["a", "c"]
    assert await compressor.ainvoke(shape(some_documents())) == kept
    assert compressor.compress_documents(some_documents(), "direct") == kept  # whatever the keys are
    assert await compressor.acompress_documents(some_documents(), "direct") == kept
    assert scorer.queries == [query, query, "direct", "direct"]


async def test_chain_with_assign() -> None:
    scorer = LongWords()
    prompt = PromptTemplate.from_template("{context} | {question}")
    join = RunnablePassthrough.assign(context=lambda given: "\n\n".join(contents(given["context"])))
    chain = (
        {"context": Fixed(documents=some_documents()), "question": RunnablePassthrough()}
        | RunnablePassthrough.assign(context=fake(scorer, budget_tokens=6))
        | join
        | prompt
    )
    text = chain.invoke("When?").to_string()
    assert text == "Extraordinary meetings happened.\n\nMagnificent elephants wandered. | When?"
    assert (await chain.ainvoke("When?")).to_string() == text
    assert scorer.queries == ["When?", "When?"]


def test_stream_yields_the_documents_once() -> None:
    (kept,) = fake(rate=0.5).stream(some_documents())
    assert [document.id for document in kept] == ["a", "c"]


async def test_batch_is_single_and_every_item_has_its_own_budget() -> None:
    compressor = fake(budget_tokens=4)
    items = [some_documents(), {"context": some_documents()[:1], "question": "q"}, [], some_documents()[::-1]]
    alone = [compressor.invoke(item) for item in items]
    assert [sum(map(words, contents(kept))) for kept in alone] == [3, 3, 0, 3]
    assert compressor.batch(items) == alone
    assert await compressor.abatch(items) == alone


async def test_batch_returns_exceptions_per_item() -> None:
    items: list[Any] = [some_documents(), "text"]
    for results in (
        fake().batch(items, return_exceptions=True),
        await fake().abatch(items, return_exceptions=True),
    ):
        assert [document.id for document in results[0]] == ["a", "c"]
        assert isinstance(results[1], InputError)


async def test_targets_of_a_call() -> None:
    compressor = fake(rate=1.0)
    assert contents(compressor.invoke(some_documents())) == contents(some_documents())
    bound = compressor.bind(budget_tokens=4)
    assert contents(bound.invoke(some_documents())) == ["Extraordinary meetings happened."]
    assert contents(await bound.ainvoke(some_documents())) == ["Extraordinary meetings happened."]
    assert contents(compressor.invoke(some_documents(), threshold=0.995)) == ["Extraordinary meetings happened."]
    with pytest.raises(
        ConfigError, match=re.escape("Unknown argument 'alpha'; a call takes `rate`, `budget_tokens`, `threshold`,")
    ):
        compressor.invoke(some_documents(), alpha=1)
    with pytest.raises(ConfigError, match="Set exactly one of"):
        await compressor.ainvoke(some_documents(), rate=0.5, budget_tokens=3)


def test_configurable_fields_and_with_config() -> None:
    compressor = MOOSCompressor(tokenizer=words).configurable_fields(rate=ConfigurableField(id="share"))
    texts = [Document("The committee met for a very long time. It agreed to pay on 3 May. Nobody knows why it did.")]
    small = compressor.with_config(configurable={"share": 0.45}).invoke(texts)
    large = compressor.with_config(configurable={"share": 0.9}).invoke(texts)
    assert words(small[0].page_content) <= 9 < words(large[0].page_content) <= 18
    with pytest.raises(ConfigError, match=re.escape("`rate` must be a number in [0, 1], got 7.")):
        compressor.with_config(configurable={"share": 7}).invoke(texts)
    recorder = Recorder()
    fake().with_config(run_name="prune", callbacks=[recorder]).invoke(texts)
    assert len(recorder.named("prune")) == 1


def test_schemas_exist() -> None:
    assert "Document" in json.dumps(MOOSCompressor().get_input_jsonschema())
    assert MOOSCompressor().get_output_jsonschema()["type"] == "array"


# --- async -----------------------------------------------------------------------------------------------------------


async def test_the_event_loop_goes_on_while_the_model_works() -> None:
    going = threading.Event()

    class Waiting(LongWords):
        def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
            assert going.wait(10), "the event loop stood still"
            return super().score(documents, query)

    call = asyncio.create_task(fake(Waiting()).acompress_documents(some_documents(), "q"))
    await asyncio.sleep(0)
    going.set()  # only reached if the call has given the loop back
    assert await call


def test_threads_share_one_compressor(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def slow(*args: Any, config: Any, **kwargs: Any) -> ContextCompressor:
        made.append(config)
        time.sleep(0.02)
        return ContextCompressor(LongWords(), config)

    monkeypatch.setattr(ContextCompressor, "from_pretrained", slow)
    assert len(MOOSCompressor().batch([some_documents()] * 8)) == 8
    assert len(made) == 1


# --- tracing ---------------------------------------------------------------------------------------------------------


def check_trace(recorder: Recorder, kept: list[Document]) -> None:
    (retriever,) = recorder.named("ContextualCompressionRetriever")
    (run,) = recorder.named("MOOSCompressor")
    assert recorder.runs[run]["parent"] == retriever
    assert contents(recorder.runs[run]["inputs"]["context"]) == contents(some_documents())
    assert recorder.runs[run]["inputs"]["question"] == "When?"
    assert recorder.runs[run]["outputs"] == kept
    ((name, data, run_id),) = recorder.events
    assert (name, run_id) == (COMPRESSION_EVENT, run) == ("moos_compression", run)
    assert json.loads(json.dumps(data)) == data
    assert data["documents"] == 3
    assert data["dropped_documents"] == [1]
    assert (data["original_tokens"], data["kept_tokens"]) == (15, 6)
    assert data["warnings"] == []


async def test_a_trace_shows_the_run_under_the_retriever() -> None:
    base = Fixed(documents=some_documents())
    retriever = ContextualCompressionRetriever(base_compressor=fake(budget_tokens=7), base_retriever=base)
    for asynchronous in (False, True):
        recorder = Recorder()
        config: Any = {"callbacks": [recorder]}
        kept = await retriever.ainvoke("When?", config) if asynchronous else retriever.invoke("When?", config)
        check_trace(recorder, kept)


async def test_a_trace_shows_direct_calls_in_a_chain() -> None:
    compressor = fake()
    chain = RunnableLambda(lambda given: compressor.compress_documents(given, "q"))
    recorder = Recorder()
    chain.invoke(some_documents(), {"callbacks": [recorder]})
    (outer,), (inner,) = recorder.named("RunnableLambda"), recorder.named("MOOSCompressor")
    assert recorder.runs[inner]["parent"] == outer


async def test_events_are_streamed() -> None:
    events = [event async for event in fake().astream_events(some_documents(), version="v2")]
    (event,) = [event for event in events if event["event"] == "on_custom_event"]
    assert event["name"] == COMPRESSION_EVENT
    assert event["data"]["documents"] == 3


def test_errors_are_traced() -> None:
    recorder = Recorder()
    with pytest.raises(InputError):
        fake().invoke("text", {"callbacks": [recorder]})
    (run,) = recorder.named("MOOSCompressor")
    assert isinstance(recorder.runs[run]["error"], InputError)


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG_INPUTS = [
    ({}, "text", "Expected the input to be a list of `Document`s, or a dict with such a list, got str. Wrap a text as"),
    ({}, b"text", "Expected the input to be a list of `Document`s, or a dict with such a list, got bytes."),
    ({}, None, "Expected the input to be a list of `Document`s, or a dict with such a list, got NoneType."),
    ({}, Document("one"), "Expected the input to be a list of `Document`s, or a dict with such a list, got Document."),
    ({}, iter([]), "or a dict with such a list, got list_iterator."),
    ({}, ["text"], "Expected the input to be a list of `Document`s; item 0 is a str. Wrap a text as `Document("),
    (
        {},
        {},
        "Expected a dict with the documents under `context`, `documents` or `input_documents`, got one with no keys",
    ),
    ({}, {"docs": [], 1: 2}, "got one with the keys 'docs', 1. Name their key with `documents_key`."),
    ({"documents_key": "docs"}, {"context": []}, "with the documents under `docs`, got one with the keys 'context'."),
    ({}, {"context": "joined text"}, "Expected the documents under 'context' to be a list of `Document`s, or a dict"),
    (
        {},
        {"context": [Document("a"), {}]},
        "Expected the documents under 'context' to be a list of `Document`s; item 1",
    ),
    (
        {},
        {"context": [], "question": ["q"]},
        "Expected the query under 'question' as a string, messages or None, got list. If",
    ),
    (
        {"query_key": "ask"},
        {"context": [], "question": "q"},
        "the query under 'ask' (`query_key`), got one with the keys",
    ),
]


@pytest.mark.parametrize(("fields", "given_input", "message"), WRONG_INPUTS)
async def test_wrong_inputs(fields: dict[str, Any], given_input: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        fake(**fields).invoke(given_input)
    with pytest.raises(InputError, match=re.escape(message)):
        await fake(**fields).ainvoke(given_input)


async def test_wrong_arguments_of_compress_documents() -> None:
    for documents, query in (("text", "q"), ([Document("a")], 3), ([Document("a")], ["q"])):
        with pytest.raises(InputError, match="Expected the"):
            fake().compress_documents(documents, query)
        with pytest.raises(InputError, match="Expected the"):
            await fake().acompress_documents(documents, query)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rat": 0.5}, "Unknown setting 'rat'; did you mean 'rate'? Known are "),
        ({"rate": 2}, "`rate` must be a number in [0, 1], got 2."),
        ({"rate": True}, "`rate` must be a number in [0, 1], got True."),
        ({"rate": 0.5, "budget_tokens": 3}, "Set exactly one of `rate`, `budget_tokens` and `threshold`"),
        ({"documents_key": 3}, "`documents_key` must be a string, got 3"),
        ({"keep_empty": "perhaps"}, "`keep_empty` must be True or False, got 'perhaps'"),
        ({"protect": "numbers"}, "`protect` must be a list of detector names"),
    ],
)
def test_wrong_settings(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        MOOSCompressor(**fields)


def test_wrong_assignments() -> None:
    compressor = MOOSCompressor(rate=0.5)
    for name, value in {"rat": 0.5, "rate": 7, "keep_empty": [], "documents_key": 1}.items():
        with pytest.raises(ConfigError, match=f"[`']{name}[`']"):
            setattr(compressor, name, value)
    assert compressor == MOOSCompressor(rate=0.5)


def test_model_failure_raises() -> None:
    with pytest.raises(CompressionError, match="out of memory"):
        fake(Failing()).compress_documents(some_documents(), "q")


async def test_model_failure_passes_documents_through() -> None:
    documents = [*some_documents(), Document("")]
    compressor = fake(Failing(), on_error="passthrough")
    with pytest.warns(PassthroughWarning, match="out of memory") as caught:
        kept = compressor.compress_documents(documents, "q")
    assert len(caught) == 1
    assert [document.page_content for document in kept] == [document.page_content for document in documents]
    for document, source in zip(kept, documents, strict=True):
        assert document.metadata == source.metadata
    recorder = Recorder()
    with pytest.warns(PassthroughWarning):
        assert await compressor.ainvoke(documents, {"callbacks": [recorder]}) == kept
    assert "out of memory" in recorder.events[0][1]["warnings"][0]


def test_warnings_are_in_the_metadata_by_kind() -> None:
    compressor = fake(budget_tokens=5, protect=["numbers"], added_metadata="all")
    kept = compressor.compress_documents([Document("It rained in 1843. In 1844 and 1845 it rained too.")], "q")
    assert kept[0].metadata["moos_warnings"] == "protected text dropped"
    (kept,) = fake(rate=1.0, added_metadata="all").compress_documents([Document("It rained.")], "q")
    assert "moos_warnings" not in kept.metadata
    assert "moos" in kept.metadata
    failing = fake(Failing(), on_error="passthrough", added_metadata="all")
    with pytest.warns(PassthroughWarning):
        (kept,) = failing.compress_documents([Document("It rained.", metadata={"k": 1})], "q")
    assert kept.metadata == {"k": 1, "moos_warnings": "passed through"}


def test_a_damaged_model_passes_documents_through(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    compressor = MOOSCompressor(model=str(tmp_path), on_error="passthrough", tokenizer=words, min_tokens=0)
    with pytest.warns(PassthroughWarning, match="could not be loaded"):
        kept = compressor.compress_documents(some_documents(), "q")
    assert [document.page_content for document in kept] == [document.page_content for document in some_documents()]


def test_missing_langchain_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    monkeypatch.delitem(sys.modules, "moos_integrations.langchain")
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'moos-integrations[langchain]'")):
        importlib.import_module("moos_integrations.langchain")


# --- copies, storage -------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "budget_tokens": 6,
    "scores": {"alpha": 0.8},
    "gains": {"temperature": 0.5, "redundancy": "greedy"},
    "protect": ("numbers", re.compile("noon", re.IGNORECASE)),
    "separator": "",
    "tokenizer": "cl100k_base",
    "documents_key": "docs",
    "keep_empty": True,
    "name": "prune",
}


@NOT_BETA
@pytest.mark.parametrize("fields", [{}, {"rate": 0.0}, SETTINGS])
def test_dumps_and_loads(fields: dict[str, Any]) -> None:
    stored = dumps(MOOSCompressor(**fields))
    assert set(json.loads(stored)["kwargs"]) == set(fields)
    loaded = loads(stored, **LOADING)
    assert type(loaded) is MOOSCompressor
    assert loaded == MOOSCompressor(**fields)
    assert dumps(loaded) == stored


@NOT_BETA
def test_a_chain_with_it_is_stored_too() -> None:
    chain = RunnablePassthrough() | MOOSCompressor(rate=0.25)
    allowed = {**LOADING, "allowed_objects": [MOOSCompressor, type(chain), RunnablePassthrough]}
    assert loads(dumps(chain), **allowed).last == MOOSCompressor(rate=0.25)


@NOT_BETA
def test_loads_refuses_a_tokenizer_object() -> None:
    with pytest.raises(NotImplementedError, match="words"):
        loads(dumps(MOOSCompressor(tokenizer=words)), **LOADING)


@NOT_BETA
def test_saved_is_reloaded() -> None:
    compressor = MOOSCompressor(**SETTINGS)
    kept = compressor.compress_documents(some_documents(), "q")  # the bundled model
    for other in (
        loads(dumps(compressor), **LOADING),
        pickle.loads(pickle.dumps(compressor)),
        compressor.model_copy(),
        compressor.model_copy(deep=True),
        copy.deepcopy(compressor),
    ):
        assert other.compress_documents(some_documents(), "q") == kept


def test_weights_load_on_first_use_and_are_not_stored() -> None:
    compressor = MOOSCompressor(rate=0.5)
    assert compressor._compressor is None
    assert compressor.compressor._scorer is None
    compressor.compress_documents(some_documents(), "q")
    assert compressor._compressor._scorer is not None
    assert len(pickle.dumps(compressor)) < 10_000
    assert pickle.loads(pickle.dumps(compressor))._compressor is None
    assert compressor.model_copy(deep=True)._compressor is compressor._compressor  # copies share the weights


def test_changed_settings_are_in_force() -> None:
    compressor = fake(rate=1.0)
    changed = compressor.model_copy(update={"rate": None, "budget_tokens": 1})
    assert changed.compressor.config.target(asked=True).budget_tokens == 1
    assert compressor.compressor.config.rate == 1.0
    compressor.rate = 0.25
    assert compressor.compressor.config.rate == 0.25
    with pytest.raises(ConfigError, match="`rate` must be"):
        compressor.model_copy(update={"rate": 7})


# --- the public surface ----------------------------------------------------------------------------------------------


def test_public_names_and_fields() -> None:
    """A failure here asks for a decision on the public interface, not for a quick fix."""
    assert moos_integrations.langchain.__all__ == [
        "COMPRESSION_EVENT",
        "METADATA_KEY",
        "BoundCompressor",
        "MOOSCompressor",
        "cite",
        "origin_of",
    ]
    assert METADATA_KEY == "moos"
    assert MOOSCompressor.lc_id() == ["moos_integrations", "langchain", "MOOSCompressor"]  # stored chains name it
    own = {
        "documents_key": None,
        "query_key": None,
        "keep_empty": False,
        "added_metadata": "spans",
        "score_key": None,
    }
    fields = {name: field.default for name, field in MOOSCompressor.model_fields.items()}
    assert {name: fields[name] for name in own} == own


def test_docstring_example() -> None:
    assert doctest.testmod(moos_integrations.langchain) == doctest.TestResults(failed=0, attempted=9)

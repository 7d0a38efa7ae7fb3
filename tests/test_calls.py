"""Settings of single calls, inside LangChain's own retriever and pipeline, and Runnables around a compressor."""

from __future__ import annotations

import _thread
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tracers.base import BaseTracer

import moos_integrations.langchain as adapter
from moos_integrations import (
    CompressionError,
    CompressionTimeoutError,
    ConfigError,
    ContextCompressor,
    PassthroughWarning,
    WordScores,
)
from moos_integrations.core.types import SegmentedText
from moos_integrations.langchain import BoundCompressor, MOOSCompressor

TEXTS = ["The meeting was long. It ended at noon.", "Lunch was cold. Nobody ate it, not even the cat."]
QUESTION = "When?"


class Scorer:
    def __init__(self, failures: int = 0) -> None:
        self.failures, self.calls = failures, 0

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.calls += 1
        if self.calls <= self.failures:
            raise RuntimeError("out of memory")
        return [WordScores.from_preserve([0.5] * len(document)) for document in documents]


class Fixed(BaseRetriever):
    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document(text, id=str(index)) for index, text in enumerate(TEXTS)]


def words(text: str) -> int:
    return len(text.split())


def compressor(scorer: Any = None, **settings: Any) -> MOOSCompressor:
    made = MOOSCompressor(**{"tokenizer": words, "rate": 1.0, **settings})
    made._compressor = ContextCompressor(scorer or Scorer(), made.config_of_compressor())
    return made


def retriever(base: Any) -> ContextualCompressionRetriever:
    return ContextualCompressionRetriever(base_compressor=base, base_retriever=Fixed())


def size(documents: Sequence[Document]) -> int:
    return sum(words(document.page_content) for document in documents)


WRAPPED: list[Any] = [
    lambda base: base,
    lambda base: DocumentCompressorPipeline(transformers=[base]),
    lambda base: base.with_retry(wait_exponential_jitter=False),
    lambda base: base.with_fallbacks([compressor()]),
    lambda base: base.with_config(run_name="prune"),
    lambda base: base.bind(order="relevance").with_retry(wait_exponential_jitter=False),
]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("chained", [False, True])
async def test_configurable_reaches_the_compressor_in_a_retriever(wrap: Any, chained: bool) -> None:
    found: Any = retriever(wrap(compressor()))
    if chained:
        found = RunnableLambda(str) | found
    config: Any = {"configurable": {"budget_tokens": 9, "something_else": 1}}
    assert size(found.invoke(QUESTION)) == size([Document(text) for text in TEXTS])
    for kept in (found.invoke(QUESTION, config), await found.ainvoke(QUESTION, config)):
        assert 0 < size(kept) <= 9
    for wrong, message in ({"rate": 7}, "`rate` must be"), ({"top_n": 0}, "`top_n` must be"):
        with pytest.raises(ConfigError, match=message):
            found.invoke(QUESTION, {"configurable": wrong})


def test_where_a_retriever_has_no_settings_the_compressor_has_those_it_was_built_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config: Any = {"configurable": {"budget_tokens": 9}}

    class Renamed(BaseRetriever):
        compressor: Any

        def invoke(self, input: str, settings: Any = None, **_: Any) -> list[Document]:  # type: ignore[override]
            config = "another thing"
            return list(self.compressor.compress_documents(Fixed().invoke(input), f"{input} {config}"))

        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            raise NotImplementedError

    for codes in (adapter._RETRIEVING, [Renamed.invoke.__code__], []):
        monkeypatch.setattr(adapter, "_RETRIEVING", codes)
        assert size(Renamed(compressor=compressor()).invoke(QUESTION, config)) == 18

    class Far:
        def compress_documents(self, documents: Any, query: str, depth: int) -> Any:
            return (
                self.compress_documents(documents, query, depth - 1)
                if depth
                else compressor().compress_documents(documents, query)
            )

    def invoke(config: Any, depth: int) -> int:
        return size(Far().compress_documents(Fixed().invoke(QUESTION), QUESTION, depth))

    monkeypatch.setattr(adapter, "_RETRIEVING", [invoke.__code__])
    assert [invoke(config, depth) <= 9 for depth in (0, 14, 15)] == [True, True, False]


def test_a_call_from_no_python_code_has_no_retriever() -> None:
    found: list[int] = []
    base, done = compressor(), threading.Lock()
    documents = Fixed().invoke(QUESTION)
    done.acquire()

    class Handler(BaseCallbackHandler):
        def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
            found.append(data["kept_tokens"])
            done.release()

    _thread.start_new_thread(base.compress_documents, (documents, QUESTION, [Handler()]))
    assert done.acquire(timeout=20)
    assert found == [18]


async def test_every_setting_of_a_call() -> None:
    documents = Fixed().invoke(QUESTION)
    base = compressor()
    for settings in ({"top_n": 1}, {"budget_tokens": 9}, {"threshold": 1.0, "top_n": 1}):
        direct = base.invoke(documents, **settings)
        assert 0 < size(direct) < 18
        assert base.invoke(documents, {"configurable": settings}) == direct
        assert await base.ainvoke(documents, {"configurable": settings}) == direct
        assert base.bind(**settings).invoke(documents) == direct
    assert base.rate == 1.0
    assert size(base.invoke(documents, {"configurable": {"rate": 0.1}}, budget_tokens=9)) > 2  # the call's own counts
    assert size(base.invoke(documents, {"configurable": {"protect": ["numbers"]}})) == 18


def test_the_model_and_its_caches_are_shared_by_calls() -> None:
    scorer = Scorer()
    base = compressor(scorer)
    first, _ = base.compressor_for({"top_n": 1})
    assert first.scorer is base.compressor.scorer is scorer
    assert (first.config.top_n, base.compressor.config.top_n) == (1, None)


async def test_a_call_with_settings_loads_the_model_once_in_its_own_thread_and_time() -> None:
    loads: list[int] = []

    def make() -> Scorer:
        loads.append(threading.get_ident())
        return Scorer()

    base = compressor(make)
    settings: Any = {"configurable": {"top_n": 1}}
    other, _ = base.compressor_for({"timeout": 1e-9})
    with pytest.raises(CompressionTimeoutError):
        other.compress(TEXTS)
    assert not loads  # the time was over before
    for _ in range(2):
        assert size(await base.ainvoke(Fixed().invoke(QUESTION), settings)) == 8
    assert len(loads) == 1
    assert loads != [threading.get_ident()]
    assert other.counter is base.compressor.counter
    assert other.scorer is base.compressor.scorer


def test_small_documents_are_left_alone_without_the_model() -> None:
    def broken() -> Scorer:
        raise AssertionError("loaded")

    state = {"context": Fixed().invoke(QUESTION)}  # without a question, which a model may read
    made = compressor(broken, rate=None, min_tokens=1000)
    assert made.invoke(state) == made.invoke(state, timeout=60) == state["context"]


def test_on_error_of_a_call() -> None:
    documents = Fixed().invoke(QUESTION)
    base = compressor(Scorer(failures=9))
    with pytest.raises(CompressionError):
        base.invoke(documents)
    with pytest.warns(PassthroughWarning):
        assert size(base.invoke(documents, {"configurable": {"on_error": "passthrough"}})) == 18


async def test_retry_and_fallbacks_in_a_retriever() -> None:
    again = compressor(Scorer(failures=1)).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
    assert size(retriever(again).invoke(QUESTION)) == 18
    failing = compressor(Scorer(failures=99)).with_fallbacks([compressor(rate=0.5)])
    assert 0 < size(retriever(failing).invoke(QUESTION)) <= 9
    assert 0 < size(await retriever(failing).ainvoke(QUESTION)) <= 9
    other = compressor(Scorer(failures=99)).with_fallbacks([RunnableLambda(lambda given: given["context"][:1])])
    assert size(retriever(other).invoke(QUESTION)) == 8


def test_what_is_bound_stays_a_compressor() -> None:
    base = compressor()
    for made in (
        base.bind(rate=0.5),
        base.bind(rate=0.5).bind(top_n=1),
        base.with_config(tags=["x"]),
        base.with_retry(),
        base.with_retry().with_fallbacks([base]),
        base.configurable_fields(rate=ConfigurableField(id="share")),
    ):
        assert isinstance(made, BoundCompressor)
        assert size(made.compress_documents(Fixed().invoke(QUESTION), QUESTION)) > 0
        assert size(made.transform_documents(Fixed().invoke(QUESTION))) > 0
        assert size(DocumentCompressorPipeline(transformers=[made]).compress_documents(Fixed().invoke("q"), "q")) > 0
    with pytest.raises(ConfigError, match=re.escape("Unknown argument 'alpha'; a call takes `rate`,")):
        base.bind(alpha=1)
    with pytest.raises(ConfigError, match="`rate` must be"):
        base.bind(rate=7)
    with pytest.raises(ConfigError, match="exactly one of"):
        base.bind(rate=0.5, budget_tokens=3)


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_what_is_bound_is_stored_too() -> None:
    bound = MOOSCompressor(rate=0.5).bind(top_n=2)
    allowed: Any = {
        "allowed_objects": [MOOSCompressor, BoundCompressor],
        "valid_namespaces": ["moos_integrations"],
    }
    assert loads(dumps(bound), **allowed) == bound


class Tracer(BaseTracer):
    """Keeps finished runs, as a tracer that sends them somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.done.append(run)


async def test_the_counts_are_in_the_metadata_of_the_run() -> None:
    for asynchronous in (False, True):
        tracer = Tracer()
        found = retriever(compressor(rate=0.5))
        config: Any = {"callbacks": [tracer]}
        kept = await found.ainvoke(QUESTION, config) if asynchronous else found.invoke(QUESTION, config)
        (run,) = [child for child in tracer.done[0].child_runs if child.name == "MOOSCompressor"]
        counts = run.extra["metadata"]
        assert (counts["moos_original_tokens"], counts["moos_kept_tokens"]) == (18, size(kept))
        assert counts["moos_documents"] == 2

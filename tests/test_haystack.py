"""The Haystack component: texts change, nothing else does; it works in real pipelines, saved ones too."""

from __future__ import annotations

import asyncio
import copy
import warnings

import pytest

from moos_integrations import ConfigError, ContextCompressor, InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    haystack = pytest.importorskip("haystack")
    from haystack import Document, Pipeline
    from haystack.components.builders import PromptBuilder
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

from moos_integrations.haystack import MOOSDocumentCompressor, origin_of

TEXT = "It rained all day, and nobody liked it. The meeting ended at 17:30 on 3 May. Then all went home by bus."
QUESTION = "When did the meeting end?"
TEMPLATE = "{% for document in documents %}{{ document.content }}\n{% endfor %}{{ question }}"


def made(compressor: ContextCompressor, **settings: object) -> MOOSDocumentCompressor:
    """A component that shares the scorer of a compressor."""
    own = MOOSDocumentCompressor(**settings)
    own.compressor = ContextCompressor(lambda: compressor.scorer, own.config)
    return own


def documents() -> list[Document]:
    return [
        Document(id="a", content=TEXT, meta={"page": 7, "split_idx_start": 100}, score=0.9, embedding=[1.0, 2.0]),
        Document(id="image", blob=haystack.dataclasses.ByteStream(b"png"), meta={"kind": "image"}),
        Document(id="b", content="A second text, of the weather. " * 5, score=0.5),
    ]


def test_texts_get_shorter_and_all_else_stays(compressor: ContextCompressor) -> None:
    sources = documents()
    before = copy.deepcopy(sources)
    found = made(compressor, budget_tokens=20).run(sources, QUESTION)["documents"]
    assert sources == before
    assert found[1] is sources[1] or found[0] is sources[1], "what has no text keeps its place"
    text = {document.id: document for document in found}
    assert compressor.counter.count("\n\n".join(own.content for own in found if own.content)) <= 20
    for source in (own for own in sources if own.content and own.id in text):
        result = text[source.id]
        assert (result.score, result.embedding) == (source.score, None)
        assert {key: value for key, value in result.meta.items() if not key.startswith("moos")} == source.meta
        origin, start = origin_of(result), source.meta.get("split_idx_start", 0)
        assert "".join(source.content[a - start : b - start] for a, b in origin.spans) == result.content


async def test_async_and_targets_of_a_call(compressor: ContextCompressor) -> None:
    component = made(compressor, rate=0.9)
    for target in ({}, {"rate": 0.3}, {"budget_tokens": 20}):
        found = await component.run_async(documents(), QUESTION, **target)
        assert found == component.run(documents(), QUESTION, **target)
    kept = made(compressor, keep_empty=True).run(documents(), QUESTION, budget_tokens=0)["documents"]
    assert [document.id for document in kept] == ["a", "image", "b"]
    assert kept[0].content == ""
    assert [own.id for own in component.run(documents(), QUESTION, budget_tokens=0)["documents"]] == ["image"]
    assert component.run([])["documents"] == []


def pipeline(component: MOOSDocumentCompressor) -> Pipeline:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=TEXT), Document(content="The meeting of May was long. " * 9)])
    made = Pipeline()
    made.add_component("retriever", InMemoryBM25Retriever(store))
    made.add_component("compressor", component)
    made.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["documents", "question"]))
    made.connect("retriever.documents", "compressor.documents")
    made.connect("compressor.documents", "prompt.documents")
    return made


INPUTS = {"retriever": {"query": QUESTION}, "compressor": {"query": QUESTION}, "prompt": {"question": QUESTION}}


@pytest.mark.slow
def test_in_pipelines_that_were_saved() -> None:
    built = pipeline(MOOSDocumentCompressor(budget_tokens=30, protect=["numbers"]))
    loaded = Pipeline.loads(built.dumps(), allowed_modules=["moos_integrations.*"])
    component = loaded.get_component("compressor")
    assert component.config == built.get_component("compressor").config
    prompt = built.run(INPUTS)["prompt"]["prompt"]
    assert "17:30" in prompt
    assert "rained" not in prompt


async def test_in_an_asynchronous_pipeline(compressor: ContextCompressor) -> None:
    built = pipeline(made(compressor, budget_tokens=30))
    answers = await asyncio.gather(*(built.run_async(INPUTS) for _ in range(2)))
    assert answers[0] == answers[1]
    assert len(answers[0]["prompt"]["prompt"]) < 200 < len(TEXT) + 9 * 29


def test_it_is_saved_with_its_settings_and_bad_ones_are_refused() -> None:
    component = MOOSDocumentCompressor(rate=0.5, protect=["numbers"], gains={"fill": False}, keep_empty=True)
    again = MOOSDocumentCompressor.from_dict(component.to_dict())
    assert (again.config, again.keep_empty) == (component.config, True)
    assert again.to_dict() == component.to_dict()
    with pytest.raises(ConfigError, match="Unknown setting 'rates'; did you mean 'rate'"):
        MOOSDocumentCompressor(rates=0.5)
    with pytest.raises(ConfigError, match="`keep_empty` must be True or False, got 3"):
        MOOSDocumentCompressor(keep_empty=3)
    with pytest.raises(InputError, match="item 0 is a str"):
        component.run(["a text"])
    with pytest.raises(InputError, match="must be a list of Haystack documents, got str"):
        component.run("a text")

"""The question is found in what chains and graphs pass on, or its absence is said."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel
from typing_extensions import TypedDict

from moos_integrations import ContextCompressor, InputError, WordScores
from moos_integrations.core.types import SegmentedText
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.messages import forget_call_sites

TEXT = "The meeting was long. It ended at noon. Lunch was cold."


class Reader:
    """A query-aware scorer; keeps the queries it was asked."""

    query_aware = True

    def __init__(self) -> None:
        self.queries: list[str | None] = []

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.queries.append(query)
        return [WordScores.from_preserve([0.5] * len(document)) for document in documents]


def compressor(scorer: Any, **settings: Any) -> MOOSCompressor:
    made = MOOSCompressor(**{"min_tokens": 0, **settings})
    made._compressor = ContextCompressor(scorer, made.config_of_compressor())
    return made


BLOCKS: list[Any] = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "When?"}]
TALK = [
    SystemMessage("Be short."),
    HumanMessage("Hello"),
    AIMessage("Hi"),
    HumanMessage("When?"),
    AIMessage("", id="t"),
]
FORMS: list[dict[str, Any]] = [
    {"question": "When?"},
    {"query": "When?"},
    {"input": "When?"},
    {"user_query": "When?"},
    {"user_input": "When?"},
    {"question": None, "query": "When?"},
    {"question": "", "query": " \n", "input": "When?"},
    {"question": "When?", "messages": [HumanMessage("Who?")]},
    {"messages": TALK},
    {"question": None, "messages": TALK},
    {"messages": [HumanMessage(BLOCKS)]},
    {"messages": [HumanMessage(["When?"])]},
    {"messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "Well"}]},
    {"messages": [{"role": "user", "content": BLOCKS}]},
    {"messages": [("system", "Be short."), ("human", "When?")]},
    {"question": TALK},
    {"question": HumanMessage("When?")},
    {"question": BLOCKS},
    {"input": ChatPromptTemplate.from_messages([("human", "When?")]).invoke({})},
]
WITHOUT: list[dict[str, Any]] = [
    {},
    {"question": None},
    {"question": "", "query": "  "},
    {"messages": []},
    {"messages": [AIMessage("Hi")]},
    {"messages": [HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])]},
    {"topic": "When?"},
]


@pytest.mark.parametrize("form", FORMS)
async def test_the_question_is_found(form: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    scorer = Reader()
    pruner = compressor(scorer)
    pruner.invoke({"context": [Document(TEXT)], **form})
    await pruner.ainvoke({"context": [Document(TEXT)], **form})
    assert scorer.queries == ["When?", "When?"]
    assert not caplog.records


@pytest.mark.parametrize("form", WITHOUT)
def test_its_absence_is_said_once(form: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    forget_call_sites()
    scorer = Reader()
    pruner = compressor(scorer, added_metadata="all")
    with caplog.at_level(logging.WARNING, logger="moos_integrations"):
        for _ in range(2):
            (kept,) = pruner.invoke({"context": [Document(TEXT)], **form})
    assert scorer.queries == [None, None]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "The model reads questions, and the input has none" in message
    assert "`question`, `query`" in message
    assert kept.metadata["moos_warnings"] == "no question"


def test_where_no_question_is_expected_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    forget_call_sites()
    documents = [Document(TEXT)]
    for pruner in (compressor(Reader()), compressor(Reader(), query_key="ask")):
        pruner.invoke(documents)
        pruner.transform_documents(documents)
        pruner.compress_documents(documents)
    plain = Reader()
    plain.query_aware = False
    compressor(plain).invoke({"context": documents})
    assert not caplog.records


@pytest.mark.parametrize("value", [3, {"text": "When?"}, ["Who?", "When?"], b"When?", 1.5, object()])
def test_what_cannot_be_a_question_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="Expected the query under 'question' as a string, messages or None, got"):
        compressor(Reader()).invoke({"context": [Document(TEXT)], "question": value})


def test_blank_queries_of_retrievers_are_none() -> None:
    scorer = Reader()
    compressor(scorer).compress_documents([Document(TEXT)], " ")
    assert scorer.queries == [None]


# --- states of graphs -------------------------------------------------------------------------------------------------


class PydanticState(BaseModel):
    context: list[Document]
    messages: list[Any]


@dataclasses.dataclass
class DataclassState:
    context: list[Document]
    messages: list[Any]


class DictState(TypedDict, total=False):
    context: list[Document]
    messages: list[Any]
    answer: str


@pytest.mark.parametrize("kind", [PydanticState, DataclassState, dict])
async def test_a_node_takes_the_state_and_returns_an_update(kind: Any) -> None:
    scorer = Reader()
    node = compressor(scorer, budget_tokens=6).as_node()
    state = kind(context=[Document(TEXT, id="a")], messages=[HumanMessage("When?")])
    for update in (node.invoke(state), await node.ainvoke(state)):
        assert set(update) == {"context"}
        assert [document.id for document in update["context"]] == ["a"]
        assert len(update["context"][0].page_content) < len(TEXT)
    assert scorer.queries == ["When?", "When?"]
    with pytest.raises(InputError, match="Expected a dict with the documents under `context`"):
        node.invoke({"docs": []})


@pytest.mark.parametrize("kind", [DictState, PydanticState])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_in_a_real_graph(kind: Any, asynchronous: bool) -> None:
    graphs = pytest.importorskip("langgraph.graph")
    scorer = Reader()
    graph = graphs.StateGraph(kind)
    graph.add_node("retrieve", lambda state: {"context": [Document(TEXT, id="a"), Document(TEXT.upper(), id="b")]})
    graph.add_node("compress", compressor(scorer, rate=1.0).as_node())
    graph.add_edge(graphs.START, "retrieve")
    graph.add_edge("retrieve", "compress")
    graph.add_edge("compress", graphs.END)
    app = graph.compile()
    state: Any = {"messages": [HumanMessage("When?")], "context": []}
    config: Any = {"configurable": {"budget_tokens": 6}}
    found = await app.ainvoke(state, config) if asynchronous else app.invoke(state, config)
    assert found["messages"] == state["messages"]
    kept = [document.page_content for document in found["context"]]
    assert 0 < ContextCompressor(Reader()).counter.count("\n\n".join(kept)) <= 6
    assert scorer.queries == ["When?"]

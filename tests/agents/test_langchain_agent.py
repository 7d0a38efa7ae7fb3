"""Whole conversations of `create_agent` with a scripted chat model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("langchain.agents")
import itertools

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from moos_integrations import ConfigError, ContextCompressor
from moos_integrations.agents import MOOSToolOutputMiddleware, ToolOutputPruner
from moos_integrations.agents.langchain import OUTPUTS_KEY
from moos_integrations.agents.pruning import output_id

LOG = "\n".join(
    f"2026-05-01 12:{i // 60:02}:{i % 60:02} INFO worker {i} polled the queue and found {i % 3} jobs"
    for i in range(120)
)
LOG += "\n2026-05-01 12:02:00 ERROR worker 77 lost its lease (exit code 4)\n2026-05-01 12:02:01 INFO shutting down"


class Scripted(GenericFakeChatModel):
    """A chat model that says what it was told to say, and remembers what it read."""

    seen: list[list[Any]]

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Scripted:
        return self

    def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> Any:
        self.seen.append(list(messages))
        return super()._generate(messages, *args, **kwargs)


def call(name: str, number: int = 1, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": f"call-{number}"}


@tool
def read_log(path: str) -> str:
    """Read a log."""
    return LOG


@tool
def read_json(path: str) -> str:
    """Read records."""
    return json.dumps([{"id": i, "host": f"db-{i}", "state": "up"} for i in range(80)])


@tool
def fail(path: str) -> str:
    """Fail."""
    raise ValueError("no such path")


@tool(response_format="content_and_artifact")
def with_artifact(path: str) -> tuple[str, Any]:
    """Read a log, with an artifact."""
    return LOG, {"bytes": len(LOG)}


@tool
def blocks(path: str) -> list[dict[str, Any]]:
    """Content blocks."""
    return [{"type": "text", "text": LOG}, {"type": "image", "url": "https://example.com/a.png"}]


@tool
def command(path: str, runtime: Any = None) -> Command[Any]:
    """A command."""
    return Command(update={"messages": [ToolMessage(LOG, tool_call_id="call-1")]})


@tool(return_direct=True)
def direct(path: str) -> str:
    """Answer the user."""
    return LOG


TOOLS = [read_log, read_json, with_artifact, blocks, command, direct]


@pytest.fixture
def make(compressor: ContextCompressor) -> Callable[..., MOOSToolOutputMiddleware]:
    def build(**settings: Any) -> MOOSToolOutputMiddleware:
        own = {name: settings.pop(name) for name in ("min_tokens", "last_lines") if name in settings}
        ours = {"include_tools", "exclude_tools", "tool_budgets", "keep", "read_tokens"} & set(settings)
        pruner = ToolOutputPruner(compressor=compressor, **own, **{n: v for n, v in settings.items() if n not in ours})
        return MOOSToolOutputMiddleware(pruner=pruner, **{name: settings[name] for name in ours})

    return build


def converse(middleware: MOOSToolOutputMiddleware, *turns: AIMessage, **agent: Any) -> dict[str, Any]:
    model = Scripted(messages=iter([*turns, AIMessage("done")]), seen=[])
    built = create_agent(model, TOOLS, middleware=[middleware], **agent)
    result = built.invoke({"messages": [HumanMessage("Why did worker 77 stop?")]}, {"configurable": {"thread_id": "1"}})
    return {**result, "seen": model.seen}


def results(state: dict[str, Any]) -> list[ToolMessage]:
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


def test_a_long_result_is_pruned_before_it_joins_and_can_be_read_again(make: Any) -> None:
    middleware = make(budget_tokens=200)
    reading = call("read_omitted", 2, output_id=output_id(LOG), start_line=5, end_line=6)
    state = converse(
        middleware, AIMessage("", tool_calls=[call("read_log", path="a.log")]), AIMessage("", tool_calls=[reading])
    )
    pruned, read = results(state)
    counter = middleware.pruner._marked.counter
    assert counter.count(pruned.content) <= 200
    lines = pruned.content.split("\n")
    assert LOG.split("\n")[120] in lines  # the error
    assert LOG.split("\n")[-1] in lines  # the last line
    assert all(line in LOG.split("\n") or line.startswith("[") for line in lines)
    assert any("omitted]" in line for line in lines)
    assert output_id(LOG) in lines[-1]
    assert read.content == "\n".join(LOG.split("\n")[4:6])
    assert state["seen"][1][-1].content == pruned.content  # what the model read
    assert state[OUTPUTS_KEY] == {output_id(LOG): LOG}


@pytest.mark.parametrize("keep", ["store", "folder"])
def test_the_full_result_can_be_kept_elsewhere(make: Any, keep: str, tmp_path: Path) -> None:
    middleware = make(budget_tokens=200, keep="store" if keep == "store" else tmp_path / "kept")
    reading = call("read_omitted", 2, output_id=output_id(LOG), query="worker 77 lease")
    turns = (AIMessage("", tool_calls=[call("read_log", path="a")]), AIMessage("", tool_calls=[reading]))
    state = converse(middleware, *turns, store=InMemoryStore())
    assert not state.get(OUTPUTS_KEY)
    assert "ERROR worker 77 lost its lease" in results(state)[1].content


def test_without_a_store_nothing_is_lost(make: Any) -> None:
    state = converse(make(budget_tokens=200, keep="store"), AIMessage("", tool_calls=[call("read_log", path="a")]))
    assert results(state)[0].content == LOG


def test_an_unknown_id_or_a_path_as_id_is_no_error(make: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    middleware = make(keep=tmp_path / "kept")
    turns = [AIMessage("", tool_calls=[call("read_omitted", 2, output_id=name)]) for name in ("zzz", "../secret")]
    for message in results(converse(middleware, *turns)):
        assert message.content.startswith("There is no tool result")


def test_json_stays_json_and_says_how_to_read_the_rest(make: Any) -> None:
    state = converse(make(budget_tokens=150), AIMessage("", tool_calls=[call("read_json", path="a")]))
    kept = json.loads(results(state)[0].content)
    full = json.loads(read_json.invoke({"path": "a"}))
    assert 0 < len(kept) - 1 < len(full)
    assert all(item in full for item in kept[:-1])
    assert "read_omitted" in kept[-1]


def test_what_is_not_plain_text_passes_untouched(make: Any) -> None:
    middleware = make(budget_tokens=100)
    names = ["blocks", "command"]
    turns = [AIMessage("", tool_calls=[call(name, path="a")]) for name in names]
    first, second = results(converse(middleware, *turns))
    assert first.content == blocks.invoke({"path": "a"})
    assert second.content == LOG


def test_what_the_user_gets_passes_untouched(make: Any) -> None:
    state = converse(make(budget_tokens=100), AIMessage("", tool_calls=[call("direct", path="a")]))
    assert results(state)[0].content == LOG


def test_a_call_that_cannot_be_written_as_json_is_pruned_all_the_same(make: Any) -> None:
    cyclic: dict[Any, Any] = {"path": "a"}
    cyclic["self"] = cyclic
    middleware, message = make(budget_tokens=150), ToolMessage(LOG, tool_call_id="call-1")
    for arguments in (cyclic, {("a", "tuple"): 1, "path": "a"}):
        state = {"messages": [HumanMessage("Why?")], "self": cyclic}
        request = ToolCallRequest({"name": "t", "args": arguments, "id": "call-1"}, None, state, None)  # type: ignore[arg-type]
        update = middleware.wrap_tool_call(request, lambda _: message).update
        assert update["messages"][0].content != LOG
        assert update[OUTPUTS_KEY] == {output_id(LOG): LOG}


class Files:
    """A backend of deepagents, as far as it is used."""

    def __init__(self, error: str | None = None) -> None:
        self.files, self.error = dict[str, bytes](), error

    def write(self, file_path: str, content: str) -> Any:
        if self.error is None:
            self.files[file_path] = content.encode()
        return SimpleNamespace(error=self.error)

    def download_files(self, paths: list[str]) -> list[Any]:
        return [SimpleNamespace(content=self.files.get(path)) for path in paths]


def test_a_backend_of_deepagents_keeps_full_results_as_files(make: Any) -> None:
    backend, name = Files(), output_id(LOG)
    turns = [
        AIMessage("", tool_calls=[call("read_log", path="a")]),
        AIMessage("", tool_calls=[call("read_omitted", 2, output_id=name, start_line=3, end_line=3)]),
        AIMessage("", tool_calls=[call("read_omitted", 3, output_id="../secret")]),
    ]
    pruned, read, unknown = results(converse(make(budget_tokens=200, keep=backend), *turns))
    assert backend.files == {f"/large_tool_results/{name}": LOG.encode()}
    assert f"all of it: /large_tool_results/{name}]" in pruned.content
    assert read.content == LOG.split("\n")[2]
    assert unknown.content.startswith("There is no tool result")


def test_a_backend_that_cannot_write_leaves_the_result_whole(make: Any) -> None:
    middleware = make(budget_tokens=200, keep=Files(error="read only"))
    state = converse(middleware, AIMessage("", tool_calls=[call("read_log", path="a")]))
    assert results(state)[0].content == LOG


def test_artifacts_ids_and_names_stay(make: Any) -> None:
    state = converse(make(budget_tokens=100), AIMessage("", tool_calls=[call("with_artifact", path="a")]))
    (message,) = results(state)
    assert (message.artifact, message.tool_call_id, message.name) == ({"bytes": len(LOG)}, "call-1", "with_artifact")
    assert message.content != LOG


@pytest.mark.parametrize(
    "settings", [{"exclude_tools": ["read_log"]}, {"include_tools": ["other"]}, {"min_tokens": 100_000}]
)
def test_tools_that_are_left_out_and_small_results_are_untouched(make: Any, settings: dict[str, Any]) -> None:
    state = converse(make(budget_tokens=100, **settings), AIMessage("", tool_calls=[call("read_log", path="a")]))
    assert results(state)[0].content == LOG


def test_a_tool_may_have_a_budget_of_its_own(make: Any) -> None:
    middleware = make(budget_tokens=2000, tool_budgets={"read_log": 120})
    state = converse(middleware, AIMessage("", tool_calls=[call("read_log", path="a")]))
    assert middleware.pruner._marked.counter.count(results(state)[0].content) <= 120


def test_parallel_calls_keep_all_their_results(make: Any) -> None:
    calls = [call("read_log", 1, path="a"), call("read_json", 2, path="b"), call("with_artifact", 3, path="c")]
    state = converse(make(budget_tokens=150), AIMessage("", tool_calls=calls))
    assert [message.tool_call_id for message in results(state)] == ["call-1", "call-2", "call-3"]
    assert set(state[OUTPUTS_KEY].values()) == {LOG, read_json.invoke({"path": "b"})}


def test_the_same_call_gives_the_same_bytes(make: Any) -> None:
    turn = AIMessage("", tool_calls=[call("read_log", path="a")])
    first, second = (results(converse(make(budget_tokens=150), turn))[0].content for _ in range(2))
    assert first == second


def test_earlier_messages_are_never_changed(make: Any) -> None:
    turns = [AIMessage("", tool_calls=[call("read_log", number, path="a")]) for number in (1, 2, 3)]
    seen = converse(make(budget_tokens=150), *turns)["seen"]
    for before, after in itertools.pairwise(seen):
        assert [message.content for message in after[: len(before)]] == [message.content for message in before]


def test_a_checkpoint_has_the_full_result(make: Any) -> None:
    model = Scripted(
        messages=iter([AIMessage("", tool_calls=[call("read_log", path="a")]), AIMessage("done")]), seen=[]
    )
    agent = create_agent(model, TOOLS, middleware=[make(budget_tokens=150)], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage("Why?")]}, config)
    assert agent.get_state(config).values[OUTPUTS_KEY] == {output_id(LOG): LOG}


async def test_async_and_streaming_give_what_sync_gives(make: Any) -> None:
    turn = AIMessage("", tool_calls=[call("read_log", path="a")])
    expected = results(converse(make(budget_tokens=150), turn))[0].content

    def agent() -> Any:
        model = Scripted(messages=iter([turn, AIMessage("done")]), seen=[])
        return create_agent(model, TOOLS, middleware=[make(budget_tokens=150)])

    question = {"messages": [HumanMessage("Why did worker 77 stop?")]}
    assert results(await agent().ainvoke(question))[0].content == expected
    streamed = [part async for part in agent().astream(question, stream_mode="updates")]
    messages = [message for part in streamed for update in part.values() for message in update.get("messages", ())]
    assert [m.content for m in messages if isinstance(m, ToolMessage)] == [expected]


def test_a_failing_model_passes_the_result_on(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    middleware = make(budget_tokens=100)
    monkeypatch.setattr(middleware.pruner, "prune", lambda *_, **__: 1 / 0)
    state = converse(middleware, AIMessage("", tool_calls=[call("read_log", path="a")]))
    assert results(state)[0].content == LOG


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"include_tools": "grep"}, "include_tools"),
        ({"tool_budgets": {"grep": 63}}, "grep"),
        ({"budget_tokens": 63}, "budget_tokens"),
        ({"read_tokens": 0}, "read_tokens"),
        ({"keep": 3}, "keep"),
        ({"pruner": ToolOutputPruner(), "rate": 0.5}, "pruner"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"budget": 3}, "budget"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MOOSToolOutputMiddleware(**settings)

"""Whole conversations of LlamaIndex agents with a scripted LLM."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.workflow import Context

from moos_integrations import ConfigError, ContextCompressor
from moos_integrations.agents import ToolOutputPruner, compress_tool, compress_tools, read_omitted_tool
from moos_integrations.agents.keeping import OUTPUTS_KEY
from moos_integrations.agents.pruning import output_id

# LlamaIndex's agents use what pydantic deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]

LOG = "\n".join(
    f"2026-05-01 12:{i // 60:02}:{i % 60:02} INFO worker {i} polled the queue and found {i % 3} jobs"
    for i in range(120)
)
LOG += "\n2026-05-01 12:02:00 ERROR worker 77 lost its lease (exit code 4)\n2026-05-01 12:02:01 INFO shutting down"
QUESTION = "Why did worker 77 stop?"


def read_log(path: str) -> str:
    """Read a log."""
    return LOG


def read_json(path: str) -> str:
    """Read records."""
    return json.dumps([{"id": i, "host": f"db-{i}", "state": "up"} for i in range(80)])


def fail(path: str) -> str:
    """Fail."""
    raise ValueError(LOG)


def picture(path: str) -> list[Any]:
    """A text and an image."""
    return [TextBlock(text=LOG), ImageBlock(url="https://example.com/a.png")]


async def with_context(ctx: Context, path: str) -> str:
    """Read a log, and note that in the state."""
    await ctx.store.set("seen", path)
    return LOG


with_context.__annotations__["ctx"] = Context


class OldTool(BaseTool):
    """A tool without async methods."""

    @property
    def metadata(self) -> ToolMetadata:
        return ToolMetadata(name="old", description="Old.")

    def __call__(self, input: Any) -> ToolOutput:
        return ToolOutput(content=LOG, tool_name="old", raw_input={"input": input}, raw_output=LOG)


class Script:
    """Says what it was told to say, and remembers what it read."""

    def __init__(self, *turns: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.turns, self.seen = list(turns), list[list[ChatMessage]]()

    def __call__(self, messages: Sequence[ChatMessage], **_: Any) -> ChatMessage:
        self.seen.append(list(messages))
        number = len(self.seen)
        calls = self.turns.pop(0) if self.turns else []
        blocks: list[Any] = [
            ToolCallBlock(tool_call_id=f"{number}-{place}", tool_name=name, tool_kwargs=arguments)
            for place, (name, arguments) in enumerate(calls)
        ]
        return ChatMessage(role="assistant", blocks=blocks or [TextBlock(text="done")])


@pytest.fixture
def pruner(compressor: ContextCompressor) -> Callable[..., ToolOutputPruner]:
    return lambda **settings: ToolOutputPruner(compressor=compressor, **{"budget_tokens": 200, **settings})


def agent(tools: Sequence[Any], script: Script, **own: Any) -> FunctionAgent:
    return FunctionAgent(tools=list(tools), llm=MockFunctionCallingLLM(response_generator=script), **own)


async def converse(tools: Sequence[Any], *turns: Any, **own: Any) -> tuple[list[str], Context, Script]:
    """What the tools' messages say, the context, and the script."""
    script = Script(*turns)
    made = agent(tools, script, **own)
    context = Context(made)
    handler = made.run(QUESTION, ctx=context)
    results = [event.tool_output.content async for event in handler.stream_events() if type(event) is ToolCallResult]
    await handler
    return results, context, script


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_long_result_is_pruned_before_it_joins_and_can_be_read_again(pruner: Any, streaming: bool) -> None:
    tools = compress_tools([read_log], pruner=pruner())
    reading = {"output_id": output_id(LOG), "start_line": 5, "end_line": 6}
    turns = [("read_log", {"path": "a"})], [("read_omitted", reading)]
    (pruned, read), context, script = await converse(tools, *turns, streaming=streaming)
    lines = pruned.split("\n")
    assert pruner()._marked.counter.count(pruned) <= 200
    assert LOG.split("\n")[120] in lines
    assert LOG.split("\n")[-1] in lines
    assert all(line in LOG.split("\n") or line.startswith("[") for line in lines)
    assert output_id(LOG) in lines[-1]
    assert read == "\n".join(LOG.split("\n")[4:6])
    assert script.seen[1][-1].content == pruned  # what the model read
    assert (await context.store.get(OUTPUTS_KEY)) == {output_id(LOG): LOG}
    saved = Context.from_dict(agent(tools, Script()), context.to_dict())
    assert (await saved.store.get(OUTPUTS_KEY)) == {output_id(LOG): LOG}


async def test_the_users_message_is_a_part_of_the_goal(pruner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, goals = pruner(), []
    prune = made.prune
    monkeypatch.setattr(made, "prune", lambda text, goal, **own: goals.append(goal) or prune(text, goal, **own))
    await converse(compress_tools([read_log], pruner=made), [("read_log", {"path": "a.log"})])
    assert goals == [f'{QUESTION}\nread log\n{{"path": "a.log"}}']


async def test_parallel_calls_and_later_turns_never_change_earlier_messages(pruner: Any) -> None:
    tools = compress_tools([read_log, read_json, with_context, OldTool()], pruner=pruner())
    turns = (
        [("read_log", {"path": "a"}), ("read_json", {"path": "b"}), ("with_context", {"path": "c"})],
        [("old", {"input": "d"}), ("read_log", {"path": "a"})],
    )
    results, context, script = await converse(tools, *turns)
    assert len(results) == 5
    assert all("read_omitted" in result for result in results)
    assert await context.store.get("seen") == "c"
    assert set(await context.store.get(OUTPUTS_KEY)) == {output_id(LOG), output_id(read_json("b"))}
    for before, after in zip(script.seen, script.seen[1:], strict=False):
        assert [message.content for message in after[: len(before)]] == [message.content for message in before]
    (kept,) = [json.loads(result) for result in results if result.startswith("[{")]
    assert all(item in json.loads(read_json("b")) for item in kept[:-1])


async def test_the_same_call_gives_the_same_bytes(pruner: Any) -> None:
    tools = compress_tools([read_log], pruner=pruner())
    texts = {(await converse(tools, [("read_log", {"path": "a"})]))[0][0] for _ in range(2)}
    assert len(texts) == 1


async def test_agents_of_a_workflow_share_what_is_kept(pruner: Any) -> None:
    tools = compress_tools([read_log], pruner=pruner())
    script = Script([("read_log", {"path": "a"})], [("read_omitted", {"output_id": output_id(LOG), "query": "lease"})])
    flow = AgentWorkflow(agents=[agent(tools, script, name="a", description="a")], root_agent="a")
    handler = flow.run(user_msg=QUESTION)
    results = [event.tool_output.content async for event in handler.stream_events() if type(event) is ToolCallResult]
    assert "lost its lease" in results[1]
    assert str(await handler) == "done"


async def test_errors_blocks_and_answers_for_the_user_pass_untouched(pruner: Any) -> None:
    direct = FunctionTool.from_defaults(read_log, name="direct", return_direct=True)
    tools = compress_tools([fail, picture, direct], pruner=pruner())
    turns = [("fail", {"path": "a"})], [("picture", {"path": "a"})], [("direct", {"path": "a"})]
    results, context, script = await converse(tools, *turns)
    assert results == [LOG, LOG, LOG]
    assert [type(block) for block in script.seen[2][-1].blocks] == [TextBlock, ImageBlock]
    assert await context.store.get(OUTPUTS_KEY, default=None) is None


async def test_a_folder_keeps_full_results_and_needs_no_agent(pruner: Any, tmp_path: Path) -> None:
    tool = compress_tool(read_log, pruner=pruner(), keep=tmp_path)
    for output in (tool.call(path="a"), await tool.acall(path="a")):
        assert output_id(LOG) in output.content
        assert output.raw_output == LOG
    reader = read_omitted_tool(keep=tmp_path, pruner=pruner())
    reading = {"output_id": output_id(LOG), "start_line": 2, "end_line": 2}
    (read, unknown), _, _ = await converse(
        [tool, reader], [("read_omitted", reading)], [("read_omitted", {"output_id": "../secret"})]
    )
    assert read == LOG.split("\n")[1]
    assert unknown.startswith("There is no tool result")


async def test_without_a_context_or_a_working_folder_nothing_is_lost(
    pruner: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tool = compress_tool(read_log, pruner=pruner())
    assert tool.call(path="a").content == (await tool.acall(path="a")).content == LOG
    (tmp_path / "file").write_text("")
    blocked = compress_tool(read_log, pruner=pruner(), keep=tmp_path / "file" / "kept")
    assert blocked.call(path="a").content == LOG
    assert (await blocked.acall(path="a")).content == LOG
    assert "passed on whole" in caplog.text


async def test_a_failing_model_passes_the_result_on(pruner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pruner()
    monkeypatch.setattr(made, "prune", lambda *_, **__: 1 / 0)
    results, _, _ = await converse(compress_tools([read_log], pruner=made), [("read_log", {"path": "a"})])
    assert results == [LOG]


async def test_names_and_budgets_choose_tools(pruner: Any) -> None:
    chosen = compress_tools([read_log, read_json], pruner=pruner(), include_tools=["read_json"])
    results, _, _ = await converse(chosen, [("read_log", {"path": "a"})])
    assert results == [LOG]
    excluded = compress_tools([read_log], pruner=pruner(), exclude_tools=["read_log"])
    assert not isinstance(excluded[0], type(compress_tool(read_log, pruner=pruner())))
    small = compress_tools([read_log], pruner=pruner(), tool_budgets={"read_log": 100})
    results, _, _ = await converse(small, [("read_log", {"path": "a"})])
    assert pruner()._marked.counter.count(results[0]) <= 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compress_tools([read_log], include_tools="read_log"), "include_tools"),
        (lambda: compress_tools([3]), "a tool of LlamaIndex"),  # type: ignore[list-item]
        (lambda: compress_tools([read_log], keep=3), "keep"),  # type: ignore[arg-type]
        (lambda: compress_tools([read_log], tool_budgets={"read_log": 3}), "budget_tokens"),
        (lambda: compress_tools([read_log], pruner=ToolOutputPruner(), rate=0.5), "pruner"),
        (lambda: compress_tool(read_log, budget=3), "budget"),
        (lambda: read_omitted_tool(read_tokens=0), "read_tokens"),
    ],
)
def test_unusable_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()

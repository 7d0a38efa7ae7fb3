"""In a real agent of deepagents: lines that matter, before the preview of the first and last lines."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("deepagents")
pytest.importorskip("langchain.agents")
from agents.test_langchain_agent import LOG, Scripted, call, read_log, results
from deepagents import create_deep_agent
from deepagents.backends import StateBackend
from langchain_core.messages import AIMessage, HumanMessage

from moos_integrations import ContextCompressor
from moos_integrations.agents import MOOSToolOutputMiddleware, ToolOutputPruner
from moos_integrations.agents.pruning import output_id


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_model_sees_the_lines_that_matter_and_reads_the_file(
    compressor: ContextCompressor, is_async: bool
) -> None:
    backend, name = StateBackend(), output_id(LOG)
    middleware = MOOSToolOutputMiddleware(
        keep=backend, pruner=ToolOutputPruner(compressor=compressor, budget_tokens=300)
    )
    path = f"/large_tool_results/{name}"
    turns = [
        AIMessage("", tool_calls=[call("read_log", path="a")]),
        AIMessage("", tool_calls=[call("read_file", 2, file_path=path, offset=2, limit=1)]),
        AIMessage("", tool_calls=[call("read_omitted", 3, output_id=name, start_line=3, end_line=3)]),
        AIMessage("done"),
    ]
    agent = create_deep_agent(
        Scripted(messages=iter(turns), seen=[]), [read_log], middleware=[middleware], backend=backend
    )
    question: Any = {"messages": [HumanMessage("Why did worker 77 stop?")]}
    state = await agent.ainvoke(question) if is_async else agent.invoke(question)
    pruned, from_file, read = results(state)
    assert "ERROR worker 77 lost its lease" in pruned.content
    assert path in pruned.content
    assert LOG.split("\n")[2] in from_file.content
    assert read.content == LOG.split("\n")[2]

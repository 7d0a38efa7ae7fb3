"""The tools of `moos mcp`, used through the protocol's own client."""

from __future__ import annotations

import json
import re
import sys

import pytest

from moos_integrations import ContextCompressor

mcp = pytest.importorskip("mcp")

from moos_integrations.serving import create_mcp  # noqa: E402

LOG = "\n".join(f"12:00:{i:02} INFO worker {i} is idle" for i in range(60)) + "\nERROR worker 7 lost its lease"


async def test_compress_explain_and_read_again(compressor: ContextCompressor) -> None:
    async with mcp.Client(create_mcp(compressor)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == ["compress", "explain", "read_omitted"]
        assert all(tool.description and tool.annotations.read_only_hint for tool in tools.values())
        call = {"documents": [LOG, "It rained."], "query": "What did worker 7 lose?", "budget_tokens": 100}
        answer = await client.call_tool("compress", call)
        values = answer.structured_content
        assert values["kept_tokens"] == compressor.counter.count(values["text"]) <= 100
        assert re.search(r"\[\.\.\. lines \d+-\d+ omitted\]", values["text"])
        (long, short) = values["documents"]
        assert answer.content[0].text.startswith(values["text"])
        assert f'read_omitted(output_id="{long["output_id"]}")' in answer.content[0].text
        assert short["output_id"] is None or short["text"] != "It rained."
        read = await client.call_tool("read_omitted", {"output_id": long["output_id"], "start_line": 3, "end_line": 4})
        assert read.content[0].text == "\n".join(LOG.splitlines()[2:4])
        found = await client.call_tool("read_omitted", {"output_id": long["output_id"], "query": "worker 7"})
        assert found.content[0].text
        told = await client.call_tool("explain", call)
        assert len(told.structured_content["sentences"]) == 62
        assert "+ [0]" in told.content[0].text
        assert "- [0]" in told.content[0].text


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("compress", {"documents": ["a"], "rate": 3}, "`rate` must be a number in [0, 1], got 3"),
        ("compress", {"documents": ["a"], "rate": 0.5, "budget_tokens": 3}, "Set exactly one"),
        ("compress", {"documents": "a"}, "documents"),
        ("read_omitted", {"output_id": "abc"}, "got 'abc', which is unknown or too old. Compress the text again."),
        ("explain", {}, "documents"),
    ],
)
async def test_errors_reach_the_model(
    compressor: ContextCompressor, tool: str, arguments: dict[str, object], message: str
) -> None:
    async with mcp.Client(create_mcp(compressor)) as client:
        answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    assert message in answer.content[0].text


@pytest.mark.slow
async def test_over_standard_input_and_output() -> None:
    server = mcp.StdioServerParameters(command=sys.executable, args=["-m", "moos_integrations.cli", "mcp"])
    async with mcp.Client(server) as client:
        call = {"documents": [LOG], "query": "What did worker 7 lose?", "budget_tokens": 100}
        answer = await client.call_tool("compress", call)
    assert "ERROR worker 7 lost its lease" in answer.content[0].text
    assert json.dumps(answer.structured_content)

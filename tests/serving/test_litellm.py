"""The guardrail of LiteLLM, as it is released, against a served application."""

from __future__ import annotations

import re
import warnings
from collections.abc import AsyncIterator

import pytest

from moos_integrations import ContextCompressor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    guardrails = pytest.importorskip("litellm.proxy.guardrails.guardrail_hooks.headroom.headroom")

from moos_integrations.serving import Limits, create_app

LOG = "\n".join(f"12:00:{i:02} INFO worker {i} is idle" for i in range(60))


@pytest.fixture
async def guardrail(compressor: ContextCompressor) -> AsyncIterator[object]:
    app = create_app(compressor, Limits(api_key="secret"))
    made = guardrails.HeadroomGuardrail(api_base="http://moos", api_key="secret", guardrail_name="moos")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as made.async_handler,
    ):
        yield made


async def test_it_gets_its_messages_and_reads_the_full_text(guardrail: object) -> None:
    messages = [
        {"role": "user", "content": "Who is idle?"},
        {"role": "tool", "tool_call_id": "1", "content": "\n".join([LOG] * 3)},
    ]
    found = await guardrail.apply_guardrail({"structured_messages": messages}, {"model": "gpt-4o"}, "request")
    question, result = found["structured_messages"]
    assert question == messages[0]
    assert len(result["content"]) < len(messages[1]["content"])
    assert [tool["function"]["name"] for tool in found["tools"]] == ["headroom_retrieve"]
    (name,) = re.findall("hash=([a-f0-9]{24})", result["content"])
    assert await guardrail._call_retrieve(name, None) == messages[1]["content"]
    assert "is idle" in await guardrail._call_retrieve(name, None, "worker 7")
    assert "not found" in await guardrail._call_retrieve("0" * 24, None)

"""The server: right answers, errors that say what to do, and nothing lost when there is too much to do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
from tiny import HashScorer

from moos_integrations import CompressorConfig, ConfigError, ContextCompressor, SegmentedText, WordScores
from moos_integrations.core.threads import check_stop

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")

from moos_integrations.serving import Limits, create_app  # noqa: E402

TEXT = "The meeting on 3 May, which was long, ended at 17:30. Nobody knows why it was so long. It rained."
LOG = "\n".join(f"12:00:{i:02} INFO worker {i} is idle" for i in range(60))


class GatedScorer(HashScorer):
    """Scores once it may; a text with "poison" in it fails."""

    def __init__(self) -> None:
        self.open, self.entered, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self.open.set()

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.entered.set()
        try:
            while not self.open.wait(0.002):
                check_stop()
        except BaseException:
            self.stopped.set()
            raise
        if any("poison" in document.text for document in documents):
            raise RuntimeError("poison")
        return super().score(documents, query)


@pytest.fixture
def scorer() -> GatedScorer:
    return GatedScorer()


@asynccontextmanager
async def client(scorer: HashScorer, limits: Limits | None = None, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application in this process."""
    app = create_app(ContextCompressor(scorer, CompressorConfig.from_settings(settings)), limits)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://moos") as found,
    ):
        yield found


@asynccontextmanager
async def served(scorer: HashScorer, limits: Limits | None = None) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server on the loopback, and its port."""
    app = create_app(ContextCompressor(scorer), limits)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
    listening = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield server, listening.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        listening.close()


def expected(scorer: HashScorer, documents: list[str], query: str | None, **target: Any) -> str:
    return ContextCompressor(scorer).compress(documents, query, **target).text


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_documents_come_back_as_the_compressor_returns_them(scorer: GatedScorer) -> None:
    documents = [{"text": TEXT, "id": "a", "score": 0.5}, {"text": "It ended. " * 9, "id": "b", "score": 0.1}]
    request = {"documents": documents, "query": "When did it end?", "budget_tokens": 20, "explain": True}
    async with client(scorer) as http:
        answer = (await http.post("/v1/compress", json=request)).json()
    result = ContextCompressor(scorer).compress(
        [document["text"] for document in documents], request["query"], document_scores=[0.5, 0.1], budget_tokens=20
    )
    assert answer["text"] == result.text
    assert answer["kept_tokens"] == result.kept_tokens <= 20
    assert [document["id"] for document in answer["documents"]] == ["a", "b"]
    assert [tuple(map(tuple, document["spans"])) for document in answer["documents"]] == [
        document.spans for document in result.documents
    ]
    for document, kept in zip(documents, result.documents, strict=True):
        parts = [part for own in answer["sentences"] if documents[own["document"]] is document for part in own["parts"]]
        assert "".join(text for text, _ in parts).split() == document["text"].split()
        assert "".join(text for text, is_kept in parts if is_kept).split() == kept.text.split()
    assert all(sentence["reason"] for sentence in answer["sentences"])


async def test_a_chat_has_the_contract_of_the_gateways(scorer: GatedScorer) -> None:
    messages = [{"role": "user", "content": "Who is idle?"}, {"role": "tool", "tool_call_id": "1", "content": LOG}]
    async with client(scorer) as http:
        request = {"messages": messages, "model": "gpt", "budget_tokens": 100, "session": "of a gateway"}
        answer = (await http.post("/v1/compress", json=request)).json()
        assert answer["messages"][0] == messages[0]
        assert answer["compression_ratio"] == answer["tokens_after"] / answer["tokens_before"] < 0.3
        (name,) = answer["ccr_hashes"]
        assert (await http.get(f"/v1/retrieve/{name}")).json()["original_content"] == LOG
        part = (await http.get(f"/v1/retrieve/{name}", params={"query": "worker 7"})).json()["original_content"]
        assert 0 < len(part) <= len(LOG)
        assert (await http.get(f"/v1/retrieve/{name[:12]}")).status_code == 404
        assert (await http.get("/v1/nothing")).json()["error"]["type"] == "http_error"
        assert (await http.get("/v1/compress")).status_code == 405


async def test_health_metrics_and_description(scorer: GatedScorer) -> None:
    async with client(scorer) as http:
        assert (await http.get("/health")).json()["status"] == "ok"
        await http.post("/v1/compress", json={"documents": [TEXT], "rate": 0.5})
        await http.post("/v1/compress", json={})
        metrics = (await http.get("/metrics")).text
        assert 'moos_requests_total{status="200"} 1.0' in metrics
        assert 'moos_requests_total{status="422"} 1.0' in metrics
        assert "moos_batch_requests_count 1.0" in metrics
        assert "moos_inside 0.0" in metrics
        description = (await http.get("/openapi.json")).json()
        body = description["paths"]["/v1/compress"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert [sorted(form["properties"])[0] for form in body["oneOf"]] == ["budget_tokens", "budget_tokens"]
        assert (await http.get("/docs")).status_code == 200


BAD: list[tuple[bytes, int, str]] = [
    (b"{", 400, "must be a JSON object in UTF-8"),
    (b"\xff", 400, "must be a JSON object in UTF-8"),
    (b"[" * 100_000, 400, "must be a JSON object"),
    (b"[]", 422, "either `documents`"),
    (b'{"documents": [], "messages": []}', 422, "got the keys documents, messages"),
    (b'{"documents": "a"}', 422, "`documents` must be a list"),
    (b'{"documents": ["a", {"txt": "a"}]}', 422, "Document 1: "),
    (b'{"documents": ["a"], "query": 3}', 422, "`query` must be a string, got 3"),
    (b'{"documents": ["a"], "rate": 2}', 422, "`rate` must be a number in [0, 1], got 2"),
    (b'{"documents": ["a"], "rate": 0.5, "budget_tokens": 3}', 422, "Set exactly one"),
    (b'{"documents": ["a"], "budget": 3}', 422, "Unknown setting 'budget'; did you mean 'budget_tokens'?"),
    (b'{"documents": ["a"], "rate": NaN}', 422, "`rate` must be"),
    (b'{"messages": [3]}', 422, "`messages` must be a list of message objects, got 3"),
    (b'{"documents": ["a", "a", "a", "a"]}', 413, "may have 3 documents (`max_documents`), got 4"),
    (b'{"documents": ["' + b"word " * 120 + b'"]}', 413, "may have 100 tokens (`max_tokens`), got 12"),
    (b'{"documents": ["' + b"x" * 2_000 + b'"]}', 413, "may have 1500 bytes (`max_body_bytes`), got 20"),
]


@pytest.mark.parametrize(("body", "status", "message"), BAD)
async def test_errors_say_what_was_expected_what_came_and_what_to_do(
    scorer: GatedScorer, body: bytes, status: int, message: str
) -> None:
    limits = Limits(max_documents=3, max_tokens=100, max_body_bytes=150_000 if b"[[" in body else 1_500)
    async with client(scorer, limits) as http:
        answer = await http.post("/v1/compress", content=body)
        assert (await http.get("/health")).json()["inside"] == 0
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("levels", [100, 400, 900, 3_000])
async def test_deep_json_is_served_or_refused(scorer: GatedScorer, levels: int) -> None:
    content = "[" * levels + json.dumps(LOG) + "]" * levels
    async with client(scorer) as http:
        answer = await http.post("/v1/compress", content=f'{{"messages": [{{"role": "tool", "content": {content}}}]}}')
        assert answer.status_code in (200, 400, 422)
        assert (await http.post("/v1/compress", json={"documents": [TEXT]})).status_code == 200


async def test_images_are_no_tokens(scorer: GatedScorer) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 5_000}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    async with client(scorer, Limits(max_tokens=100)) as http:
        answer = await http.post("/v1/compress", json={"messages": messages})
        assert answer.json()["messages"] == messages
        messages[0]["content"][0]["text"] *= 100
        assert (await http.post("/v1/compress", json={"messages": messages})).status_code == 413


async def test_odd_texts_are_served(scorer: GatedScorer) -> None:
    texts = ["", "\x00", "\ud800 half", "😀" * 50, "<script>alert(1)</script> " * 20]
    async with client(scorer) as http:
        for text in texts:
            answer = await http.post("/v1/compress", content=json.dumps({"documents": [text], "rate": 0.5}))
            assert answer.status_code == 200
            assert json.loads(answer.content)["text"] == expected(scorer, [text], None, rate=0.5)


async def test_the_key_is_needed_where_there_is_one(scorer: GatedScorer) -> None:
    async with client(scorer, Limits(api_key="secret")) as http:
        request = {"documents": [TEXT], "rate": 0.5}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "secre"}, {"authorization": "secret"}):
            refused = await http.post("/v1/compress", json=request, headers=headers)
            assert refused.status_code == 401
            assert "must have the server's key" in refused.json()["error"]["message"]
            assert (await http.get("/metrics", headers=headers)).status_code == 401
        for headers in ({"authorization": "bearer secret"}, {"x-api-key": "secret"}):
            assert (await http.post("/v1/compress", json=request, headers=headers)).status_code == 200
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/")).status_code == 200


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_a_request_that_fails_does_not_fail_those_beside_it(scorer: GatedScorer) -> None:
    texts = [TEXT, "poison " * 30, TEXT.upper()]
    async with client(scorer) as http:
        scorer.open.clear()
        first = asyncio.create_task(http.post("/v1/compress", json={"documents": ["It ran. " * 9], "rate": 0.5}))
        await until(scorer.entered)
        tasks = [
            asyncio.create_task(http.post("/v1/compress", json={"documents": [text], "rate": 0.5})) for text in texts
        ]
        while (await http.get("/health")).json()["waiting"] < 3:
            await asyncio.sleep(0)
        scorer.open.set()
        answers = await asyncio.gather(*tasks)
        await first
        assert "moos_batch_requests_count 2.0" in (await http.get("/metrics")).text, "the three ran together"
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert "Traceback" not in answers[1].text
    assert answers[0].json()["text"] == expected(scorer, [TEXT], None, rate=0.5)


async def test_passthrough_is_the_compressors(scorer: GatedScorer) -> None:
    async with client(scorer, on_error="passthrough") as http:
        with pytest.warns(UserWarning, match="returned unchanged"):
            answer = (await http.post("/v1/compress", json={"documents": ["poison " * 90], "explain": True})).json()
        assert answer["passed_through"]
        assert answer["text"] == "poison " * 90
        assert answer["warnings"][0]["kind"] == "passed through"
        with pytest.warns(UserWarning, match="returned unchanged"):
            small = (await http.post("/v1/compress", json={"documents": ["poison " * 9], "explain": True})).json()
        assert (small["left_alone"], "sentences" in small) == (True, False)
        assert small["warnings"][0]["kind"] == "no explanation"


async def test_time_that_is_over_is_an_error(scorer: GatedScorer) -> None:
    scorer.open.clear()
    async with client(scorer, Limits(request_timeout=0.05)) as http:
        answer = await http.post("/v1/compress", json={"documents": [TEXT], "rate": 0.5})
        assert (await http.get("/health")).json()["inside"] == 0
        scorer.open.set()
    assert answer.status_code == 504
    assert "did not end within 0.05 seconds" in answer.json()["error"]["message"]


def test_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match="`queue_size` must be a whole number from 1 on, got 0"):
        Limits(queue_size=0)
    assert "secret" not in repr(Limits(api_key="secret"))
    with pytest.raises(ConfigError, match="`api_key` must have at least one character"):
        Limits(api_key="")


# --- overload, on the loopback ----------------------------------------------------------------------------------------


@pytest.mark.enable_socket
async def test_at_overload_each_request_gets_its_answer_or_is_refused(scorer: GatedScorer) -> None:
    random, limits = Random(3), Limits(queue_size=8, max_batch=4)
    words = ["meeting", "rain", "worker", "idle", "error", "lease", "room", "paint", "year", "long"]
    texts = [" ".join(random.choices(words, k=40)) + f". Number {number} is last." for number in range(30)]
    statuses: list[int] = []

    async def one(http: httpx.AsyncClient, text: str) -> str:
        while True:
            answer = await http.post("/v1/compress", json={"documents": [text], "rate": 0.4, "query": text[:9]})
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                return answer.json()["text"]
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            await until(scorer.open)
            await asyncio.sleep(0.005)

    scorer.open.clear()
    async with (
        served(scorer, limits) as (_, port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        tasks = [asyncio.create_task(one(http, text)) for text in texts]
        while statuses.count(429) < 30 - 8:
            await asyncio.sleep(0.001)
        assert (await http.get("/health")).json()["inside"] == 8, "the server answers while it has too much to do"
        scorer.open.set()
        answers = await asyncio.gather(*tasks)
    assert answers == [expected(scorer, [text], text[:9], rate=0.4) for text in texts]
    assert statuses.count(200) == 30


@pytest.mark.enable_socket
async def test_work_ends_when_the_client_hangs_up(scorer: GatedScorer) -> None:
    scorer.open.clear()
    body = json.dumps({"documents": [TEXT], "rate": 0.5}).encode()
    head = f"POST /v1/compress HTTP/1.1\r\nhost: moos\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with served(scorer) as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        for sent in (head + body, head + body[:20]):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            await writer.drain()
            while not (await http.get("/health")).json()["inside"]:
                await asyncio.sleep(0.001)
            if sent.endswith(body):
                await until(scorer.entered)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            while (await http.get("/health")).json()["inside"]:
                await asyncio.sleep(0.001)
        await until(scorer.stopped)
        assert 'moos_requests_total{status="499"} 1.0' in (await http.get("/metrics")).text


@pytest.mark.enable_socket
async def test_a_server_that_is_stopped_finishes_what_it_has_taken(scorer: GatedScorer) -> None:
    scorer.open.clear()
    async with (
        served(scorer) as (server, port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        tasks = [
            asyncio.create_task(http.post("/v1/compress", json={"documents": [f"{number} {TEXT}"], "rate": 0.5}))
            for number in range(3)
        ]
        while (await http.get("/health")).json()["inside"] < 3:
            await asyncio.sleep(0.001)
        server.should_exit = True
        while server.servers and server.servers[0].is_serving():
            await asyncio.sleep(0.001)
        scorer.open.set()
        answers = await asyncio.gather(*tasks)
    assert [answer.status_code for answer in answers] == [200] * 3


@pytest.mark.enable_socket
async def test_a_body_that_is_refused_or_slow_gets_its_answer(scorer: GatedScorer) -> None:
    async def pieces() -> AsyncIterator[bytes]:  # without a length
        for _ in range(8):
            yield b"x" * 500

    small = Limits(max_body_bytes=1_000)
    async with (
        served(scorer, small) as (_, port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        assert (await http.post("/v1/compress", content=pieces())).status_code == 413
        assert (await http.post("/v1/compress", content=b"x" * 3_000)).status_code == 413
    async with served(scorer, Limits(body_timeout=0.05)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/compress HTTP/1.1\r\nhost: moos\r\ncontent-length: 9\r\n\r\n{")
        assert b"408" in await asyncio.wait_for(reader.readline(), 30)
        writer.close()


@pytest.mark.enable_socket
def test_the_load_of_the_benchmark_is_answered_and_counted(scorer: GatedScorer) -> None:
    import run_serve

    requests = run_serve.requests_of([TEXT, "It rained on 4 May."], 6)

    async def found() -> dict[str, Any]:
        async with served(scorer) as (_, port):
            return await run_serve.load(f"http://127.0.0.1:{port}", requests, 3)

    load = asyncio.run(found())
    assert (load["statuses"], load["requests"], load["clients"]) == ({200: 6}, 6, 3)
    wanted = [expected(scorer, own["documents"], own["query"], budget_tokens=run_serve.BUDGET) for own in requests]
    assert load["answers"] == wanted
    assert load["p50_milliseconds"] <= load["p99_milliseconds"]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.enable_socket
def test_the_command_serves_and_finishes_when_it_is_stopped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moos_integrations.cli", "serve", "--port", str(port), "--budget-tokens", "30"]
    with subprocess.Popen(command, env={**os.environ, "MOOS_API_KEY": "secret"}, stderr=subprocess.PIPE) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
                for _ in range(600):
                    with suppress(httpx.TransportError):
                        http.get("/health").raise_for_status()
                        break
                    assert process.poll() is None
                    time.sleep(0.1)
                request = {"documents": [f"{TEXT} {'All were glad. ' * 50}"], "query": "When did the meeting end?"}
                assert http.post("/v1/compress", json=request).status_code == 401
                with ThreadPoolExecutor(1) as pool:
                    headers = {"x-api-key": "secret"}
                    sent = pool.submit(http.post, "/v1/compress", json=request, headers=headers)
                    while not sent.done() and not httpx.get(f"{http.base_url}/health").json()["inside"]:
                        time.sleep(0.001)
                    process.terminate()
                    answer = sent.result()
            assert "17:30" in answer.json()["text"]
            assert answer.json()["kept_tokens"] <= 30
            assert process.wait(30) in (0, -signal.SIGTERM)
        finally:
            process.kill()

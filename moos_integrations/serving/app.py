"""The server's application: `/v1/compress`, `/v1/retrieve`, `/health`, `/metrics`, `/docs`, and a page at `/`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from moos_integrations import __version__
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.errors import CompressionTimeoutError, ConfigError, InputError, MissingExtraError, MoosError
from moos_integrations.messages import logger
from moos_integrations.serving.batching import Batcher, ServerStoppingError
from moos_integrations.serving.guard import Guard, error_json
from moos_integrations.serving.limits import Limits
from moos_integrations.serving.metrics import Metrics
from moos_integrations.serving.originals import HASH_LENGTH
from moos_integrations.serving.schemas import (
    DocumentsRequest,
    MessagesRequest,
    RequestError,
    Task,
    parsed,
    request_schema,
)
from moos_integrations.serving.service import Service

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, Response
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="serve") from error

_CLIENT_GONE = 499  # nobody reads it; for the metrics
_READ_TOKENS = 2_000
_DESCRIPTION = (
    "Send documents and a question, and get back what an LLM needs of them, within a budget of tokens. Or send chat "
    "messages, and get them back with the results of tools pruned."
)


class _ClientGoneError(Exception):
    """The client hung up."""


def create_app(compressor: ContextCompressor, limits: Limits | None = None) -> FastAPI:
    """The ASGI application that `moos serve` runs.

    Args:
        compressor: Its settings hold for requests that bring no target.
        limits: What the server takes; the defaults if None.
    """
    server = _Server(compressor, limits or Limits())
    app = FastAPI(title="moos", version=__version__, description=_DESCRIPTION, lifespan=server.lifespan, redoc_url=None)
    app.add_middleware(Guard, limits=server.limits, batcher=server.batcher, refused=server.refused)
    app.add_exception_handler(HTTPException, _http_error)
    body = {"requestBody": request_schema()}
    app.post("/v1/compress", openapi_extra=body, summary="Compress documents, or prune a chat")(server.compress)
    app.get("/v1/retrieve/{name}", summary="The full text of a hash")(server.retrieve)
    app.get("/health", summary="Whether the server can take requests")(server.health)
    app.get("/metrics", summary="Metrics for Prometheus")(server.show_metrics)
    app.get("/", include_in_schema=False)(playground)
    return app


def serve(compressor: ContextCompressor, limits: Limits | None = None, *, host: str, port: int) -> None:
    """Run the application until it is stopped with SIGINT or SIGTERM; what was taken is finished.

    Args:
        compressor: As in `create_app`.
        limits: As in `create_app`.
        host: Address to listen at.
        port: Port to listen at; 0 for any free one.
    """
    limits = limits or Limits()
    uvicorn.run(
        create_app(compressor, limits),
        host=host,
        port=port,
        timeout_graceful_shutdown=limits.stop_timeout,
        access_log=False,
        server_header=False,
        log_level="info",
    )


class _Server:
    """The endpoints, and what they share."""

    def __init__(self, compressor: ContextCompressor, limits: Limits) -> None:
        self.limits, self.service = limits, Service(compressor, limits.keep_bytes)
        self.metrics = Metrics()
        self.batcher = Batcher(self._run, limits, self.metrics.batch)
        self.metrics.watch(lambda: self.batcher.waiting, lambda: self.batcher.inside)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Load the model before the first request, and finish the last one before the end."""
        await asyncio.to_thread(self.service.compressor.load)
        self.batcher.start()
        yield
        await self.batcher.stop()

    def refused(self, status: int) -> None:
        """Count a request that was not let in."""
        self.metrics.request(status, 0.0)

    # --- endpoints ---------------------------------------------------------------------------------------------------

    async def compress(self, request: Request) -> Response:
        """Compress documents together under one target, or prune what tools returned in chat messages.

        Set at most one of `rate`, `budget_tokens` and `threshold`; without one the server's target holds.
        """
        return await self._answered(request, self._compressed(await request.body()))

    async def retrieve(self, request: Request, name: str, query: str | None = None) -> Response:
        """The full text of a hash in a pruned text; with `query`, the lines of it that matter."""
        return await self._answered(request, self._retrieved(name, query))

    async def health(self) -> dict[str, Any]:
        """Status, version, model, and how much the server has to do."""
        return {
            "status": "ok",
            "version": __version__,
            "model": self.service.compressor.config.model,
            "tokenizer": str(self.service.compressor.counter.name),
            "waiting": self.batcher.waiting,
            "inside": self.batcher.inside,
        }

    async def show_metrics(self) -> Response:
        """Metrics in the format of Prometheus."""
        return Response(self.metrics.text(), media_type=self.metrics.content_type)

    # --- work --------------------------------------------------------------------------------------------------------

    async def _compressed(self, body: bytes) -> dict[str, Any]:
        request = await asyncio.to_thread(parsed, body, self.limits)
        tokens = await self._checked_size(request, len(body))
        answer: dict[str, Any] = await self.batcher.submit(
            Task(request, request.target).key, request, tokens=tokens, timeout=self.limits.request_timeout
        )
        before = answer["tokens_before"] if "tokens_before" in answer else answer["original_tokens"]
        self.metrics.tokens(before, answer["tokens_after"] if "tokens_after" in answer else answer["kept_tokens"])
        return answer

    async def _checked_size(self, request: DocumentsRequest | MessagesRequest, size: int) -> int:
        """About how many tokens a request has; they are counted only where its bytes could be too many.

        Raises:
            RequestError: If there are too many.
        """
        if size <= self.limits.max_tokens:  # a token has at least one byte
            return size // 4
        tokens = await asyncio.to_thread(lambda: sum(map(self.service.count, request.texts)))
        if tokens > self.limits.max_tokens:
            raise RequestError(
                413,
                "too_many_tokens",
                f"A request may have {self.limits.max_tokens} tokens (`max_tokens`), got {tokens}. Send less at once.",
            )
        return tokens

    async def _retrieved(self, name: str, query: str | None) -> dict[str, Any]:
        text = self.service.originals.get(name) if len(name) >= HASH_LENGTH else None
        if text is None:
            raise RequestError(
                404,
                "unknown_hash",
                f"The hash must be one of {HASH_LENGTH} digits that this server has put into a text, and whose text it "
                f"still has; got {name[:64]!r}. Compress the text again.",
            )
        if not query:
            return {"hash": name, "original_content": text}
        part = await self.batcher.submit(
            ("part",), (text, query), tokens=len(text) // 4, timeout=self.limits.request_timeout
        )
        return {"hash": name, "original_content": part, "query": query}

    def _run(self, key: tuple[Any, ...], requests: Any) -> list[Any]:
        if key == ("part",):
            return [self.service.part(text, query, _READ_TOKENS) for text, query in requests]
        return self.service.run(key[0], key[1], requests)

    async def _answered(self, request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
        """The result of the work as an answer, and errors too; the work ends if the client hangs up."""
        start = time.perf_counter()
        status, kind, message = 200, "", ""
        try:
            answer = await _while_connected(request, work)
            body = await asyncio.to_thread(_json, answer)
        except _ClientGoneError:
            status = _CLIENT_GONE
        except RequestError as error:
            status, kind, message = error.status, error.kind, str(error)
        except RecursionError:
            status, kind = 422, "invalid_request"
            message = "The JSON of a request may have a few hundred levels, got more. Nest less."
        except (ConfigError, InputError) as error:
            status, kind, message = 422, "invalid_request", str(error)
        except CompressionTimeoutError as error:
            status, kind, message = 504, "timeout", str(error)
        except ServerStoppingError as error:
            status, kind, message = 503, "stopping", str(error)
        except Exception as error:  # what a client sees of it has no traceback
            logger.exception("A request failed.")
            known = isinstance(error, MoosError)
            status, kind = 500, "failed"
            message = (
                f"Compression failed: {error if known else type(error).__name__}. The server's log has the details."
            )
        self.metrics.request(status, time.perf_counter() - start)
        if status != 200:
            body = error_json(kind, message)
        return Response(body, status, media_type="application/json")


def _json(answer: dict[str, Any]) -> bytes:
    # Halves of surrogate pairs, which JSON may have, are not UTF-8: the escapes of ASCII have a form for them.
    try:
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(answer, separators=(",", ":")).encode()


async def _while_connected(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of the work, which is cancelled if the client hangs up."""
    await request.body()
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _ClientGoneError
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _http_error(_: Request, error: Exception) -> Response:
    """Wrong paths and methods, in the form of all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = f"{getattr(error, 'detail', error)}. `/docs` lists the paths and methods of this server."
    return Response(error_json("http_error", message), status, media_type="application/json")


# --- the page at / ----------------------------------------------------------------------------------------------------


def playground() -> Response:
    """The page to try it; it loads nothing from anywhere else."""
    return HTMLResponse(_page(), headers={"content-security-policy": _policy(_page()), "cache-control": "no-cache"})


def _page() -> str:
    return resources.files("moos_integrations.serving").joinpath("static", "playground.html").read_text("utf-8")


def _policy(page: str) -> str:
    """Only the script and style of the page run, whatever a text contains."""
    hashes = {
        tag: " ".join(f"'sha256-{_digest(block)}'" for block in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(block: str) -> str:
    return base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()

"""Before a request is read: its key, a place in the server, and the size of its body."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any, TypeAlias

from moos_integrations.serving.batching import Batcher, QueueFullError
from moos_integrations.serving.limits import Limits
from moos_integrations.serving.schemas import RequestError

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_DRAINED = 4  # times the largest body: what is read of a refused one, so that its sender gets the answer


class Guard:
    """ASGI middleware: requests that the server does not take are answered here, before they use memory."""

    def __init__(
        self, app: _App, *, limits: Limits, batcher: Batcher, refused: Callable[[int], None] = lambda status: None
    ) -> None:
        """Guard an application.

        Args:
            app: Gets the requests that pass; their bodies are read.
            limits: `api_key`, `max_body_bytes` and `body_timeout` are used.
            batcher: Has the places for requests.
            refused: Called with the status of each request that does not pass.
        """
        self._app, self._limits, self._batcher, self._refused = app, limits, batcher, refused

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Pass a request on, or answer it."""
        path = scope.get("path", "")
        works = path.startswith("/v1/")
        if scope["type"] != "http" or not (works or path == "/metrics"):
            return await self._app(scope, receive, send)
        try:
            self._check_key(scope)
            with self._batcher.place() if works else nullcontext():
                body = await self._body(scope, receive)
                if body is not None:  # else the client has gone
                    await self._app(scope, _Replay(body, receive), send)
                return None
        except QueueFullError as error:
            refusal, headers = RequestError(429, "queue_full", str(error)), {"retry-after": str(error.retry_after)}
        except RequestError as error:
            refusal, headers = error, {}
        self._refused(refusal.status)
        await self._drain(receive)
        return await _answer(send, refusal, headers)

    def _check_key(self, scope: _Scope) -> None:
        if self._limits.api_key is None:
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
        sent = sent.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        if not hmac.compare_digest(sent, self._limits.api_key.encode()):
            raise RequestError(
                401,
                "unauthorized",
                "The header `Authorization: Bearer KEY` (or `x-api-key: KEY`) must have the server's key, got "
                f"{'another one' if sent else 'none'}. Send the key that the server was started with.",
            )

    async def _body(self, scope: _Scope, receive: _Receive) -> bytes | None:
        """The body; None if the client hung up.

        Raises:
            RequestError: If it is too large, or does not arrive in time.
        """
        headers = {name.lower(): value for name, value in scope["headers"]}
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.max_body_bytes:
            raise self._too_large(f"{int(length)}")
        try:
            return await asyncio.wait_for(self._read(receive), self._limits.body_timeout)
        except asyncio.TimeoutError:
            raise RequestError(
                408,
                "body_timeout",
                f"The body must arrive within {self._limits.body_timeout:g} seconds (`body_timeout`), and did not. "
                "Send it faster, or send less.",
            ) from None

    async def _read(self, receive: _Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._limits.max_body_bytes:
                raise self._too_large(f"{len(body)} or more")
            if not message.get("more_body"):
                return bytes(body)

    def _too_large(self, got: str) -> RequestError:
        return RequestError(
            413,
            "body_too_large",
            f"The body may have {self._limits.max_body_bytes} bytes (`max_body_bytes`), got {got}. Send fewer or "
            "shorter texts at once.",
        )

    async def _drain(self, receive: _Receive) -> None:
        """Read what a refused client is still sending: it reads the answer only then."""

        async def read() -> None:
            left = _DRAINED * self._limits.max_body_bytes
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                left -= len(message.get("body", b""))

        try:
            await asyncio.wait_for(read(), min(self._limits.body_timeout, 5.0))
        except asyncio.TimeoutError:
            return


class _Replay:
    """`receive` of a request whose body was read: the body, and then whatever comes."""

    def __init__(self, body: bytes, receive: _Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def error_json(kind: str, message: str) -> bytes:
    """The body of an answer that is an error."""
    return json.dumps({"error": {"type": kind, "message": message}}, ensure_ascii=False).encode("utf-8", "replace")


async def _answer(send: _Send, error: RequestError, headers: dict[str, str]) -> None:
    body = error_json(error.kind, str(error))
    found = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    pairs = [(name.encode(), value.encode()) for name, value in found.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})

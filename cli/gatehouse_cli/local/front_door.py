"""The front door: one loopback URL that maps the contract's paths onto the stack's API.

On AWS a distribution does this. HTTP goes to the REST stage, and WebSockets to the other API
(`sockets`).
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import httpx

from gatehouse_cli.local import sockets

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# API Gateway's own bound on a request body.
MAX_BODY = 10 * 1024 * 1024
# Longer than API Gateway lets an integration run, so that its refusal is the one seen.
TIMEOUT = httpx.Timeout(60, connect=5, pool=None)

# Each call in progress holds a process for each function on its way, unpacked afresh: a burst
# would otherwise start hundreds. Those beyond wait; Lambda would queue nothing, and need not.
IN_PROGRESS = 8

# Of one connection only (RFC 9110, 7.6.1), or written anew by whoever sends.
_PER_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# The engine believes X-Forwarded-For, and a caller's headers never set the source address.
# Its Host chooses among its own services, so a caller's must not reach it. What the caller
# expected before sending a body has been answered by the time the body is here.
_REPLACED = frozenset((b"host", b"content-length", b"expect", b"x-forwarded-for"))


@dataclass(frozen=True)
class Target:
    """Where the stack answers: the engine and its two APIs' paths there, without a slash."""

    endpoint: str
    rest_path: str
    socket_path: str


class FrontDoor:
    """An ASGI application. `target` is None until a stack is deployed: 503 until then."""

    def __init__(self, target: Target | None = None) -> None:
        self.target = target
        self._turn = asyncio.Semaphore(IN_PROGRESS)
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await sockets.serve(self, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._client.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        if len(body) > MAX_BODY:
            await _refuse(send, 413, "Payload Too Large")
            return
        target = self.target
        if target is None:
            await _refuse(send, 503, "Service Unavailable")
            return
        try:
            async with self._turn:
                response, content = await self._ask(_request(target, scope, body))
        except httpx.TransportError:
            await _refuse(send, 503, "Service Unavailable")
            return
        await _answer(send, response.status_code, _without(response.headers.raw, _PER_HOP), content)

    async def plain_status(self, scope: Scope) -> int:
        """Ask for a path as plain HTTP does, and tell the status; 503 where nobody answers."""
        target = self.target
        if target is None:
            return 503
        request = _request(target, {**scope, "method": "GET", "query_string": b""}, b"")
        try:
            response, _ = await self._ask(request)
        except httpx.TransportError:
            return 503
        return response.status_code

    async def _ask(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        """Return the stage's answer, its body raw: encoded, it passes as it is."""
        response = await self._client.send(request, stream=True)
        try:
            return response, b"".join([chunk async for chunk in response.aiter_raw()])
        finally:
            await response.aclose()


def _request(target: Target, scope: Scope, body: bytes) -> httpx.Request:
    """Build the engine's request; the path's bytes stay as they came, escapes included."""
    path = target.rest_path.encode() + scope["raw_path"]
    if scope["query_string"]:
        path += b"?" + scope["query_string"]
    headers = _without(scope["headers"], _PER_HOP | _REPLACED)
    client = scope.get("client")
    if client:
        headers.append((b"x-forwarded-for", client[0].encode()))
    return httpx.Request(
        scope["method"],
        target.endpoint,
        headers=headers,
        content=body,
        extensions={"target": path, "timeout": TIMEOUT.as_dict()},
    )


def _without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    """Return the headers in their order, repeated ones kept, without the named ones."""
    return [(name, value) for name, value in headers if name.lower() not in names]


async def _read(receive: Receive) -> bytes | None:
    """Return the request's body, cut off soon after the bound; None if the caller has left."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        if size <= MAX_BODY:
            parts.append(part)
            size += len(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(send: Send, status: int, error: str) -> None:
    """Refuse in the words in which API Gateway would."""
    request_id = str(uuid.uuid4())
    body = json.dumps({"error": error, "status": status, "request_id": request_id}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    if status == 503:  # noqa: PLR2004  # The one refusal that passes by itself.
        headers.append((b"retry-after", b"1"))
    await _answer(send, status, headers, body)


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

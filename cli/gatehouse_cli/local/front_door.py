"""The front door: one loopback URL in front of the stack's REST API and WebSocket API.

On AWS a CloudFront distribution does this. HTTP requests go to the REST stage, WebSockets to the
other API (`sockets`).
"""

import asyncio
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from gatehouse_cli.local import callers, sockets
from gatehouse_cli.local.asgi import Headers, Receive, Scope, Send
from gatehouse_cli.local.engine_access import DOOR_HEADER, EngineAccess

# API Gateway's limit for a request body.
MAX_BODY = 10 * 1024 * 1024
# Longer than API Gateway's integration timeout, so that the caller sees API Gateway's error.
TIMEOUT = httpx.Timeout(60, connect=5, pool=None)

# Each request in progress occupies one process for each function that it reaches, so a burst would
# start hundreds of processes. Further requests wait here; Lambda would start more environments.
IN_PROGRESS = 8

# Headers of one connection only (RFC 9110, 7.6.1); each sender writes its own.
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
# The engine takes the source address from X-Forwarded-For and its service from Host, so neither may
# come from the caller. `Expect` is already answered when the body has arrived.
# The engine believes DOOR_HEADER.
_REPLACED = frozenset(
    (b"host", b"content-length", b"expect", b"x-forwarded-for", DOOR_HEADER.encode())
)


# The codes of what the front door refuses itself, and what they mean, as docs/errors.md has them.
_REFUSED_CALLER = (
    "REQUEST_BLOCKED",
    "The local front door answers its own hosts and pages only; docs/local.md says why.",
)
_MEANINGS = {
    400: ("VALIDATION_INVALID_VALUE", "The request is not valid."),
    403: _REFUSED_CALLER,
    413: ("PAYLOAD_TOO_LARGE", "The body is too large."),
    421: _REFUSED_CALLER,
    503: ("SERVICE_UNAVAILABLE", "The local stack is not deployed, or did not answer; try again."),
}


@dataclass(frozen=True)
class Target:
    """The engine, and the paths of the stack's two APIs there, without a slash at the end."""

    engine: EngineAccess
    rest_path: str
    socket_path: str

    @property
    def socket_url(self) -> str:
        """The URL of the WebSocket API."""
        return self.engine.endpoint.replace("http://", "ws://", 1) + self.socket_path


class FrontDoor:
    """An ASGI application. While no stack is deployed, `target` is None and it answers 503.

    `names` are the values of `Host` that it answers; see `callers`.
    """

    def __init__(self, names: tuple[str, ...], target: Target | None = None) -> None:
        self.names = names
        self.target = target
        self._slots = asyncio.Semaphore(IN_PROGRESS)
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        refusal = callers.find_refusal(scope, self.names)
        scope = callers.in_origin_form(scope)
        if scope["type"] == "http":
            if refusal:
                await _refuse(send, refusal.status, refusal.reason)
            else:
                await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            if refusal:
                await receive()
                await sockets.refuse(
                    send, refusal.status, _error(refusal.status, refusal.reason)[0]
                )
                return
            door = self.target.engine.door_headers if self.target else []
            url = self.target.socket_url if self.target else None
            await sockets.serve(
                url, scope, receive, send, door=door, plain_status=self._plain_status
            )

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
            async with self._slots:
                response, content = await self._send(_request(target, scope, body))
        except httpx.TransportError:
            await _refuse(send, 503, "Service Unavailable")
            return
        await _answer(send, response.status_code, _without(response.headers.raw, _PER_HOP), content)

    async def _plain_status(self, scope: Scope) -> int:
        """Send a plain GET of the path; return its status, or 503 if the stack does not respond."""
        target = self.target
        if target is None:
            return 503
        request = _request(target, {**scope, "method": "GET", "query_string": b""}, b"")
        try:
            response, _ = await self._send(request)
        except httpx.TransportError:
            return 503
        return response.status_code

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        """Return the stage's response and its body, still encoded."""
        response = await self._client.send(request, stream=True)
        try:
            return response, b"".join([chunk async for chunk in response.aiter_raw()])
        finally:
            await response.aclose()


def _request(target: Target, scope: Scope, body: bytes) -> httpx.Request:
    """Build the request to the engine; the path's bytes stay unchanged, escapes included."""
    path = target.rest_path.encode() + scope["raw_path"]
    if scope["query_string"]:
        path += b"?" + scope["query_string"]
    headers = _without(scope["headers"], _PER_HOP | _REPLACED) + target.engine.door_headers
    client = scope.get("client")
    if client:
        headers.append((b"x-forwarded-for", client[0].encode()))
    return httpx.Request(
        scope["method"],
        target.engine.endpoint,
        headers=headers,
        content=body,
        extensions={"target": path, "timeout": TIMEOUT.as_dict()},
    )


def _without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    """Return the headers except the named ones, in the same order, duplicates included."""
    return [(name, value) for name, value in headers if name.lower() not in names]


async def _read(receive: Receive) -> bytes | None:
    """Return the body, cut off soon after the limit; None when the caller has disconnected."""
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
    body, request_id = _error(status, error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    if status == 503:  # noqa: PLR2004  # A retry can succeed.
        headers.append((b"retry-after", b"1"))
    await _answer(send, status, headers, body)


def _error(status: int, error: str) -> tuple[bytes, str]:
    """Return the body of an error as API Gateway words it, and its request id."""
    request_id = str(uuid.uuid4())
    code, detail = _MEANINGS[status]
    body = {
        "error": error,
        "status": status,
        "request_id": request_id,
        "code": code,
        "message": error,
        "detail": detail,
    }
    return json.dumps(body).encode(), request_id


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""The front door's WebSockets: the path of live logs, connected to the stack's WebSocket API."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode

from gatehouse_cli.local.asgi import Headers, Receive, Scope, Send

_LOGS = re.compile(rb"/api/services/([^/]+)/logs")
# Longer than API Gateway's integration timeout.
_OPEN_WITHIN = 35.0
_CREDENTIALS = (b"authorization", b"x-hammurabi-api-key", b"x-api-key")
_QUERY_CREDENTIALS = ("token", "access_token", "api_key")
_UPGRADE_REQUIRED = 426
# Shorter than the front door's own shutdown.
_CLOSE_WITHIN = 2.0

PlainStatus = Callable[[Scope], Awaitable[int]]


async def serve(
    url: str | None,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    door: Headers,
    plain_status: PlainStatus,
) -> None:
    """Serve one WebSocket, or refuse it as API Gateway would.

    `url` is the WebSocket API's, None while no stack is deployed. `door` are the headers that the
    engine requires. `plain_status` returns the status of a plain GET of a path.
    """
    await receive()  # websocket.connect
    path = _LOGS.fullmatch(scope["raw_path"])
    if path is None:
        await refuse(send, HTTPStatus.NOT_FOUND)
        return
    if url is None:
        await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
        return
    connection = asyncio.create_task(_connect(url, scope, path[1], door=door))
    disconnect = asyncio.ensure_future(receive())  # the only message before the upgrade
    await asyncio.wait({connection, disconnect}, return_when=asyncio.FIRST_COMPLETED)
    disconnect.cancel()
    if not connection.done():
        connection.cancel()
        return
    try:
        inner = await connection
    except InvalidStatus as refused:
        body = bytes(refused.response.body or b"")
        status = refused.response.status_code
        if status == HTTPStatus.FORBIDDEN and not body:
            # The engine hides the status with which $connect refused; API Gateway passes it on.
            status = await _refused_status(scope, plain_status)
        await refuse(send, status, body)
    except (InvalidHandshake, OSError, TimeoutError):
        await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
    else:
        try:
            await send({"type": "websocket.accept"})
            await _forward(inner, receive, send)
        finally:
            # The viewer may have disconnected just when the socket opened.
            await inner.close()


async def _connect(url: str, scope: Scope, service: bytes, *, door: Headers) -> ClientConnection:
    """Open the stack's socket. `service` comes from the path, never from the caller's query."""
    values = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    others = [(key, value) for key, value in values if key != "service"]
    query = urlencode([*others, ("service", unquote(service.decode("latin-1")))])
    sent = [pair for pair in scope["headers"] if pair[0].lower() in _CREDENTIALS]
    headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in (*sent, *door)]
    return await connect(
        f"{url}?{query}",
        additional_headers=headers,
        compression=None,
        open_timeout=_OPEN_WITHIN,
        close_timeout=_CLOSE_WITHIN,
        ping_interval=None,
        max_size=None,
        proxy=None,
    )


async def _refused_status(scope: Scope, plain_status: PlainStatus) -> int:
    """Return the status of a refused socket, derived from a plain GET of its path."""
    headers = list(scope["headers"])
    if not any(key.lower() in _CREDENTIALS for key, _ in headers):
        values = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        token = next((values[name] for name in _QUERY_CREDENTIALS if name in values), "")
        headers.append((b"authorization", f"Bearer {token}".encode("latin-1")))
    status = await plain_status({**scope, "headers": headers})
    return HTTPStatus.BAD_REQUEST if status == _UPGRADE_REQUIRED else status


async def _forward(inner: ClientConnection, receive: Receive, send: Send) -> None:
    """Forward frames in both directions until one side closes."""
    down = asyncio.create_task(_forward_down(inner, send))
    up = asyncio.create_task(_forward_up(inner, receive))
    _, rest = await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    if up in rest:
        await send({"type": "websocket.close", "code": _close_code(inner.close_code)})


def _close_code(code: int | None) -> int:
    """Return a close code that may be sent for the one with which the stack's socket closed."""
    if code == CloseCode.NO_STATUS_RCVD:
        return CloseCode.NORMAL_CLOSURE
    return CloseCode.GOING_AWAY if code in {None, CloseCode.ABNORMAL_CLOSURE} else code


async def _forward_down(inner: ClientConnection, send: Send) -> None:
    # The other task notices when the viewer disconnects.
    with suppress(ConnectionClosed, OSError):
        async for message in inner:
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})


async def _forward_up(inner: ClientConnection, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        try:
            await inner.send(text if text is not None else message["bytes"])
        except ConnectionClosed:
            return


async def refuse(send: Send, status: int, body: bytes = b"") -> None:
    """Refuse a WebSocket before its upgrade."""
    headers = [(b"content-length", str(len(body)).encode())]
    if body:
        headers.append((b"content-type", b"application/json"))
    await send({"type": "websocket.http.response.start", "status": int(status), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})

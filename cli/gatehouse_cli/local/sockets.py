"""The front door's WebSockets: the one path that has them, joined to the engine's other API."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode

if TYPE_CHECKING:
    from gatehouse_cli.local.front_door import FrontDoor, Receive, Scope, Send, Target

_LOGS = re.compile(rb"/api/services/([^/]+)/logs")
# Longer than API Gateway waits for a function.
_OPEN_WITHIN = 35.0
_CREDENTIALS = (b"authorization", b"x-hammurabi-api-key", b"x-api-key")
_IN_ADDRESS = ("token", "access_token", "api_key")
_UPGRADE_REQUIRED = 426
# Less than the front door takes to end.
_CLOSE_WITHIN = 2.0


async def serve(door: FrontDoor, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket, or refuse it as API Gateway would."""
    await receive()  # websocket.connect
    found = _LOGS.fullmatch(scope["raw_path"])
    target = door.target
    if found is None:
        await _refuse(send, HTTPStatus.NOT_FOUND)
        return
    if target is None:
        await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
        return
    opening = asyncio.create_task(_connected(target, scope, found[1]))
    leaving = asyncio.ensure_future(receive())  # nothing else can come before the upgrade
    await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not opening.done():
        opening.cancel()
        return
    try:
        inner = await opening
    except InvalidStatus as refused:
        body = bytes(refused.response.body or b"")
        status = refused.response.status_code
        if status == HTTPStatus.FORBIDDEN and not body:
            # The engine does not say with what $connect refused. API Gateway does.
            status = await _why(door, scope)
        await _refuse(send, status, body)
    except (InvalidHandshake, OSError, TimeoutError):
        await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
    else:
        try:
            await send({"type": "websocket.accept"})
            await _join(inner, receive, send)
        finally:
            # The viewer may have left just when the socket opened.
            await inner.close()


async def _connected(target: Target, scope: Scope, name: bytes) -> ClientConnection:
    """Open the engine's socket. The caller's own `service` never counts."""
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [(key, value) for key, value in asked if key != "service"]
    query = urlencode([*given, ("service", unquote(name.decode("latin-1")))])
    headers = [
        (key.decode("latin-1"), value.decode("latin-1"))
        for key, value in scope["headers"]
        if key.lower() in _CREDENTIALS
    ]
    endpoint = target.endpoint.replace("http://", "ws://", 1)
    return await connect(
        f"{endpoint}{target.socket_path}?{query}",
        additional_headers=headers,
        compression=None,
        open_timeout=_OPEN_WITHIN,
        close_timeout=_CLOSE_WITHIN,
        ping_interval=None,
        max_size=None,
        proxy=None,
    )


async def _why(door: FrontDoor, scope: Scope) -> int:
    """Find out why a socket was refused, from what a plain request of its path is answered."""
    headers = list(scope["headers"])
    if not any(key.lower() in _CREDENTIALS for key, _ in headers):
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        token = next((asked[name] for name in _IN_ADDRESS if name in asked), "")
        headers.append((b"authorization", f"Bearer {token}".encode("latin-1")))
    status = await door.plain_status({**scope, "headers": headers})
    return HTTPStatus.BAD_REQUEST if status == _UPGRADE_REQUIRED else status


async def _join(inner: ClientConnection, receive: Receive, send: Send) -> None:
    """Carry frames both ways until one side ends."""
    down = asyncio.create_task(_down(inner, send))
    up = asyncio.create_task(_up(inner, receive))
    _, rest = await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    if up in rest:
        await send({"type": "websocket.close", "code": _told(inner.close_code)})


def _told(code: int | None) -> int:
    """Put the end of the engine's socket into a code that may be sent."""
    if code == CloseCode.NO_STATUS_RCVD:
        return CloseCode.NORMAL_CLOSURE
    return CloseCode.GOING_AWAY if code in {None, CloseCode.ABNORMAL_CLOSURE} else code


async def _down(inner: ClientConnection, send: Send) -> None:
    # A viewer who has left is noticed by the other task.
    with suppress(ConnectionClosed, OSError):
        async for message in inner:
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})


async def _up(inner: ClientConnection, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        try:
            await inner.send(text if text is not None else message["bytes"])
        except ConnectionClosed:
            return


async def _refuse(send: Send, status: int, body: bytes = b"") -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    if body:
        headers.append((b"content-type", b"application/json"))
    await send({"type": "websocket.http.response.start", "status": int(status), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})

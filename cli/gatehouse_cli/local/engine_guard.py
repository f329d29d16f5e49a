"""Refuses requests that the engine would accept from everybody. Runs in the engine's process.

The engine takes a request without a signature, or with a key that everybody knows, for its root
account's. It resets itself for anybody, and answers the preflight of every page. Here a request
needs a signature with the stack's own secret or a function's, or the front door's secret.
"""

import hmac
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from ministack.core import sigv4

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

READY = "/_ministack/ready"
STAGES = "/_aws/execute-api/"
# The engine's own administration: it resets, reconfigures, and shows messages and code.
ADMINISTRATION = ("/_ministack/", "/_localstack/")
_SIGNED = "AWS4-HMAC-SHA256 "
_MESSAGE = (
    "This is the local engine of a Gatehouse stack, which accepts signed requests only. Sign with"
    " GATEHOUSE_ENGINE_ID and GATEHOUSE_ENGINE_SECRET of local.env. The API is at GATEHOUSE_URL."
)


class EngineGuard:
    """An ASGI application in front of the engine's.

    `door` are the header and the value with which the front door calls a stage. `find_secret`
    returns the secret with which a key id must sign, None when there is none.
    """

    def __init__(
        self,
        engine: Application,
        *,
        door: tuple[str, str],
        find_secret: Callable[[str], str | None],
    ) -> None:
        self._engine = engine
        self._door = (door[0].encode(), door[1].encode())
        self._find_secret = find_secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on to the engine, or refuse it with 403."""
        if scope["type"] == "lifespan":
            await self._engine(scope, receive, send)
        elif self._is_from_the_door(scope):
            headers = [pair for pair in scope["headers"] if pair[0] != self._door[0]]
            await self._engine({**scope, "headers": headers}, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await _refuse(send, "websocket.http.response")
        else:
            await self._signed(scope, receive, send)

    async def _signed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when its header `Authorization` signs it with the right secret."""
        headers = _headers(scope)
        secret = self._secret(headers)
        if secret is None or scope["path"].startswith(ADMINISTRATION):
            await _refuse(send, "http.response")
            return
        body = await _read(receive)
        failure = sigv4.header_signature_failure(
            sigv4.parse_header_signature(headers),
            secret,
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers,
            body,
        )
        if failure is None:
            await self._engine(scope, _replay(body, receive), send)
        else:
            await _refuse(send, "http.response")

    def _secret(self, headers: dict[str, str]) -> str | None:
        """Return the secret with which a request must be signed, None when it has no signature."""
        if not headers.get("authorization", "").startswith(_SIGNED):
            return None
        signature = sigv4.parse_header_signature(headers)
        # Else it is the error in the header, a tuple.
        return self._find_secret(getattr(signature, "access_key_id", ""))

    def _is_from_the_door(self, scope: Scope) -> bool:
        path = scope["path"]
        sent = [value for name, value in scope["headers"] if name == self._door[0]]
        return (
            (path == READY or path.startswith(STAGES))
            and len(sent) == 1
            and hmac.compare_digest(sent[0], self._door[1])
        )


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by name; repeated ones are joined as a signature joins them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), sigv4.decode_header_value(raw_value)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def find_secret(key_id: str) -> str | None:
    """Return the secret of a function's session, else the root account's.

    Without IAM, functions sign with the root account's secret under the account's number. None
    when `key_id` is empty.
    """
    if not key_id:
        return None
    from ministack.services import sts  # noqa: PLC0415  # The engine loads services when used.

    session = sts._sessions.get(key_id)  # noqa: SLF001  # The engine has no other way to it.
    secret = session.get("SecretAccessKey") if session else os.environ["AWS_SECRET_ACCESS_KEY"]
    return str(secret) if secret else None


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body that was read, and then what follows it."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> MutableMapping[str, Any]:
        return unread.pop() if unread else await receive()

    return replayed


async def _refuse(send: Send, kind: str) -> None:
    body = json.dumps({"__type": "AccessDeniedException", "message": _MESSAGE}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": f"{kind}.start", "status": 403, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})

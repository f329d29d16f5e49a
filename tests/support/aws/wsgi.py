"""The API of `Front` as a WSGI application, for a client that needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from support.aws.api_gateway import Front

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
# An answer that breaks the contract, which `Front` checks. No document describes this status.
BROKEN = 599


def application(front: Front) -> Application:
    """Return an application that sends each request through API Gateway's way in.

    Any thread may call it, but only one at a time.
    """
    front.function("public")
    # A handler runs in its thread's event loop, and only this thread has one, which Mangum made.
    loop = asyncio.get_event_loop()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asyncio.set_event_loop(loop)
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            answered = front(
                environ["REQUEST_METHOD"],
                "/" + path.lstrip("./"),
                body=body or None,
                headers=_headers(environ),
                query=parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True) or None,
            )
        except AssertionError as broken:
            start(f"{BROKEN} Broken", [("Content-Type", "text/plain")])
            return [str(broken).encode()]
        headers = [(name.title(), value) for name, value in answered.headers.items()]
        start(f"{answered.status} Answered", headers)
        return [answered.text.encode()]

    return answer


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").title(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    return headers

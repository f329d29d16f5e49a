"""The page: public files that `make page` built, without anything that they show.

Nothing but the standard library, so that the first answer is quick. Files are read at import.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gatehouse.core import settings

FILES = Path(__file__).parent / "files"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DOCUMENT = "index.html"
SOCKETS = settings.SOCKET_URL.text()
IS_ON = settings.PAGE.text() == "on"

SECURITY = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'" + (f" {SOCKETS}" if SOCKETS else ""),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}

Answer = dict[str, Any]


def _read() -> dict[str, str]:
    if not FILES.is_dir():
        return {}
    return {path.name: path.read_text() for path in FILES.iterdir() if path.suffix in TYPES}


CONTENT = _read()


def handler(event: dict[str, Any], context: Any) -> Answer:
    """Answer GET and HEAD of `/`, `/ui` and the files below it."""
    del context
    request_id = event["requestContext"]["requestId"]
    if not IS_ON or DOCUMENT not in CONTENT:
        why = "not built: run `make page` and deploy again" if IS_ON else "switched off"
        answer = _text(404, f"The page is {why}.\n")
    elif event["resource"] == "/":
        answer = {**_text(302, ""), "headers": {"Location": _way_to_the_page(event)}}
    elif event["resource"] == "/ui":
        answer = _document(event)
    else:
        # Addresses in the document are relative to `/ui`. A browser that shows `/ui/` asks for
        # /ui/ui/<file>.
        answer = _file(str((event.get("pathParameters") or {}).get("file")).rpartition("/")[2])
    answer["headers"] = {**SECURITY, **answer["headers"], "X-Request-Id": request_id}
    return answer  # For HEAD too: API Gateway leaves the body out and sends its length.


def _way_to_the_page(event: dict[str, Any]) -> str:
    """Return the page's address relative to `/`, with or without a stage in the path."""
    path = str(event["requestContext"].get("path") or "/")
    return "ui" if path.endswith("/") else f"{path.rpartition('/')[2]}/ui"


def _document(event: dict[str, Any]) -> Answer:
    text = CONTENT[DOCUMENT].replace("SOCKETS", SOCKETS)
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"Content-Type": TYPES[".html"], "Cache-Control": "no-cache", "ETag": etag}
    asked = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    if etag in (asked.get("if-none-match") or ""):
        return {"statusCode": 304, "headers": headers, "body": ""}
    return {"statusCode": 200, "headers": headers, "body": text}


def _file(name: str) -> Answer:
    if name == DOCUMENT or name not in CONTENT:
        return _text(404, "Not Found\n")
    headers = {
        "Content-Type": TYPES[Path(name).suffix],
        "Cache-Control": "public, max-age=31536000, immutable",  # The name has the content's hash.
    }
    return {"statusCode": 200, "headers": headers, "body": CONTENT[name]}


def _text(status: int, text: str) -> Answer:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return {"statusCode": status, "headers": headers, "body": text}

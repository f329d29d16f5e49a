"""The response formats of the three surfaces.

| surface | success | error |
| --- | --- | --- |
| services | the bare value | `{"error": "<text>", "status": <int>}` |
| account | `{"data": ...}` | `{"error": "<text>"}` |
| admin | `{"data": ..., "meta": {"request_id": ...}}` | `{"error": {code, message, ...}}` |

Beside these, every error body has `code`, `message` and `detail`, so that clients of other APIs
read it, and `needed` if the key lacks a scope.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatehouse.core.errors import CODES, GatehouseError

# Behind the base URL. Each code is an anchor of the reference page.
DOCS = "/docs"


@dataclass(frozen=True, slots=True)
class Surface:
    """One format. `error_body` takes the error, the request's id and the API's base URL.

    `error_schema` is the OpenAPI schema of what it returns.
    """

    name: str
    error_body: Callable[[GatehouseError, str, str], dict[str, Any]]
    error_schema: dict[str, Any]


def _services_error(error: GatehouseError, request_id: str, base_url: str) -> dict[str, Any]:
    del request_id, base_url  # the id is in the header
    return {"error": error.message, "status": error.status, **_common(error)}


def _account_error(error: GatehouseError, request_id: str, base_url: str) -> dict[str, Any]:
    del request_id, base_url
    # This surface has one text for everything that is not found.
    text = "Not Found" if error.status == 404 else error.message  # noqa: PLR2004
    return {"error": text, **_common(error)}


def _admin_error(error: GatehouseError, request_id: str, base_url: str) -> dict[str, Any]:
    shown = {
        "code": error.code,
        "message": error.message,
        "request_id": request_id,
        "details": error.details,
        "docs_url": f"{base_url}{DOCS}#{error.code}",
    }
    return {"error": shown, **_common(error)}


def _common(error: GatehouseError) -> dict[str, Any]:
    shown = {"code": error.code, "message": error.message, "detail": CODES[error.code]}
    return shown if error.needed is None else {**shown, "needed": error.needed}


_TEXT = {"type": "string"}
_COMMON_NAMES = ["code", "message", "detail"]
_COMMON = {
    "code": {"type": "string", "enum": [*CODES]},
    "message": _TEXT,
    "detail": {**_TEXT, "description": "What the code means."},
    "needed": {**_TEXT, "description": "The scope that the key lacks."},
}

SERVICES = Surface(
    "services",
    _services_error,
    {
        "type": "object",
        "required": ["error", "status", *_COMMON_NAMES],
        "properties": {"error": _TEXT, "status": {"type": "integer"}, **_COMMON},
    },
)
ACCOUNT = Surface(
    "account",
    _account_error,
    {
        "type": "object",
        "required": ["error", *_COMMON_NAMES],
        "properties": {"error": _TEXT, **_COMMON},
    },
)
ADMIN = Surface(
    "admin",
    _admin_error,
    {
        "type": "object",
        "required": ["error", *_COMMON_NAMES],
        "properties": {
            **_COMMON,
            "error": {
                "type": "object",
                "required": ["code", "message", "request_id", "details", "docs_url"],
                "properties": {
                    "code": _TEXT,
                    "message": _TEXT,
                    "request_id": _TEXT,
                    "details": {"type": "object"},
                    "docs_url": _TEXT,
                },
            },
        },
    },
)

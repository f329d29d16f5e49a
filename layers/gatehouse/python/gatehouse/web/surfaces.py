"""The response formats of the three surfaces.

| surface | success | error |
| --- | --- | --- |
| services | the bare value | `{"error": "<text>", "status": <int>}` |
| account | `{"data": ...}` | `{"error": "<text>"}` |
| admin | `{"data": ..., "meta": {"request_id": ...}}` | `{"error": {code, message, ...}}` |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatehouse.core.errors import GatehouseError

# Below the base URL. Each code is an anchor of the reference page.
DOCS = "/docs"


@dataclass(frozen=True, slots=True)
class Surface:
    """One format. `error_schema` is the OpenAPI schema of what `error_body` returns.

    `error_body` takes the error, the request's id and the API's base URL.
    """

    name: str
    error_body: Callable[[GatehouseError, str, str], dict[str, Any]]
    error_schema: dict[str, Any]


def _services_error(error: GatehouseError, request_id: str, base_url: str) -> dict[str, Any]:
    del request_id, base_url  # the id is in the header
    return {"error": error.message, "status": error.status}


def _account_error(error: GatehouseError, request_id: str, base_url: str) -> dict[str, Any]:
    del request_id, base_url
    # This surface has one text for everything that is not found.
    return {"error": "Not Found" if error.status == 404 else error.message}  # noqa: PLR2004


def _admin_error(error: GatehouseError, request_id: str, base_url: str) -> dict[str, Any]:
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "request_id": request_id,
            "details": error.details,
            "docs_url": f"{base_url}{DOCS}#{error.code}",
        }
    }


_TEXT = {"type": "string"}

SERVICES = Surface(
    "services",
    _services_error,
    {
        "type": "object",
        "required": ["error", "status"],
        "properties": {"error": _TEXT, "status": {"type": "integer"}},
    },
)
ACCOUNT = Surface(
    "account",
    _account_error,
    {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
)
ADMIN = Surface(
    "admin",
    _admin_error,
    {
        "type": "object",
        "required": ["error"],
        "properties": {
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
            }
        },
    },
)

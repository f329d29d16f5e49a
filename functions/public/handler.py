"""What needs no credential: health, readiness, the API's reference."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from gatehouse.core import clock, uptime
from gatehouse.dynamo import connection
from gatehouse.web import reference
from gatehouse.web.door import Door, public
from gatehouse.web.surfaces import SERVICES

TABLES = connection.tables()
MODULES = [
    "accounts",
    "audit",
    "federation",
    "identities",
    "invites",
    "keys",
    "policy",
    "wallet",
]

door = Door(SERVICES, title="Public")
handler = door.handler


class Health(BaseModel):
    """It answers."""

    status: str


class ServiceHealth(Health):
    """It answers, and what it is. `uptime` is seconds since this version was deployed."""

    modules: list[str]
    uptime: int
    version: str


@door.route("GET", "/health", needs=public)
async def health() -> Health:
    """Tell that the API answers."""
    return Health(status="ok")


@door.route("GET", "/healthz", needs=public)
async def healthz() -> Health:
    """Tell that the API answers."""
    return Health(status="ok")


@door.route("GET", "/readyz", needs=public)
async def readyz() -> Health:
    """Tell that the tables can be used; 503 when they cannot."""
    TABLES.keys.check_readable(key=("pk",))
    TABLES.main.check_readable(key=("pk", "sk"))
    return Health(status="ok")


@door.route("GET", "/api/health", needs=public)
async def service_health() -> ServiceHealth:
    """Tell that the API answers, and what it is."""
    seconds = uptime.seconds(clock.now())
    return ServiceHealth(status="ok", modules=MODULES, uptime=seconds, version=reference.VERSION)


@door.route("GET", "/openapi.json", needs=public)
async def openapi() -> Response:
    """Give the API's description, OpenAPI 3.1."""
    return Response(reference.document(), media_type="application/json")


@door.route("GET", "/docs", needs=public, response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """Show the reference as one page that needs nothing from elsewhere."""
    return HTMLResponse(
        reference.page(),
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        },
    )

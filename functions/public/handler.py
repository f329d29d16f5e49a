"""Routes without a credential: health, readiness, the API reference."""

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
# The rooms of the package; a test compares.
MODULES = [
    *("accounts", "audit", "bootstrap", "credentials", "deliveries", "federation"),
    *("health_metrics", "identities", "invites", "keys", "logs", "memberships", "policy"),
    *(
        "providers",
        "revocation",
        "secrets",
        "services",
        "sessions",
        "signals",
        "verification",
        "wallets",
    ),
    "webhooks",
]

door = Door(SERVICES, title="Public")
handler = door.handler


class Health(BaseModel):
    """The state of the API: always `ok`."""

    status: str


class ServiceHealth(Health):
    """The API's state, modules and version. `uptime`: seconds since this version was deployed."""

    modules: list[str]
    uptime: int
    version: str


@door.route("GET", "/health", needs=public)
async def health() -> Health:
    """Return ok if the API answers."""
    return Health(status="ok")


@door.route("GET", "/healthz", needs=public)
async def healthz() -> Health:
    """Return ok if the API answers."""
    return Health(status="ok")


@door.route("GET", "/readyz", needs=public)
async def readyz() -> Health:
    """Return ok if both tables answer, otherwise 503."""
    TABLES.keys.check_readable(key=("pk",))
    TABLES.main.check_readable(key=("pk", "sk"))
    return Health(status="ok")


@door.route("GET", "/api/health", needs=public)
async def service_health() -> ServiceHealth:
    """Return the API's state, modules, uptime and version."""
    seconds = uptime.seconds(clock.now())
    return ServiceHealth(status="ok", modules=MODULES, uptime=seconds, version=reference.VERSION)


@door.route("GET", "/openapi.json", needs=public)
async def openapi() -> Response:
    """Return the API's OpenAPI 3.1 document."""
    return Response(reference.document(), media_type="application/json")


@door.route("GET", "/docs", needs=public, response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """Return the reference as one HTML page that loads nothing else; its one script searches it."""
    return HTMLResponse(
        reference.page(),
        headers={
            "Content-Security-Policy": reference.content_security_policy(),
            "X-Content-Type-Options": "nosniff",
        },
    )

"""Provider keys: written on the services surface, read only by IAM callers."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from gatehouse.audit.model import Origin
from gatehouse.core import clock
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput, GatehouseError
from gatehouse.core.observe import logger
from gatehouse.dynamo import connection
from gatehouse.policy.actions import managing
from gatehouse.providers import actions as providers
from gatehouse.providers.model import LONGEST_KEY, parse_place, provider_place, transcription_place
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Body
from gatehouse.web.fields import PLAIN_NOT_BLANK
from gatehouse.web.surfaces import SERVICES

TABLES = connection.tables()

door = Door(SERVICES, title="Secrets")
read, write = managing("services:read"), managing("services:write")


ProviderName = Annotated[str, Path(json_schema_extra={"pattern": "^[a-z0-9-]{1,64}$"})]


class ProviderKey(Body):
    """A provider's key to store."""

    apiKey: Annotated[str, Field(max_length=LONGEST_KEY, json_schema_extra=PLAIN_NOT_BLANK)] = (
        Field(description="1 to 4,096 characters; never shown again.")
    )


class KeyStatus(BaseModel):
    """Whether a key is stored, and since when; null where there is none."""

    configured: bool
    updatedAt: str | None


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer API Gateway, or an IAM caller that invokes this function.

    An IAM caller sends `{"do": "get", "account", "secret"}`, with the secret as
    `provider/<name>` or `transcription/openai`, and gets `{"value"}`. The read is written to the
    account's audit trail first. An error returns `{"error": {code, message}}`. Events from API
    Gateway always have `requestContext`, which HTTP callers cannot remove, so HTTP callers cannot
    reach this branch.
    """
    if "requestContext" in event:
        return door.handler(event, context)
    origin = Origin(actor="system:iam", request_id=str(context.aws_request_id))
    try:
        if event.get("do") != "get":
            raise BadInput('do must be "get"')
        place = parse_place(str(event.get("account")), str(event.get("secret")))
        value = providers.reveal(TABLES.main, _vault(), place, origin=origin, now=clock.now())
    except GatehouseError as error:
        logger.warning("secret refused", code=error.code)
        return {"error": {"code": error.code, "message": error.message}}
    logger.info("secret read", account_id=place.account_id, request_id=origin.request_id)
    return {"value": value}


@door.route("GET", "/api/auth/transcription/openai", needs=read)
async def transcription(call: Caller) -> KeyStatus:
    """Show whether a key for transcription is stored."""
    return _status(transcription_place(call.caller.account_id))


@door.route("PUT", "/api/auth/transcription/openai", needs=write, status=204)
async def put_transcription(call: Caller, body: ProviderKey) -> None:
    """Store a key for transcription, encrypted. No route returns it."""
    _put(call, transcription_place(call.caller.account_id), body)


@door.route("DELETE", "/api/auth/transcription/openai", needs=write, status=204)
async def remove_transcription(call: Caller) -> None:
    """Delete the key for transcription, if there is one."""
    providers.remove(TABLES.main, call, transcription_place(call.caller.account_id))


@door.route("GET", "/api/auth/providers/{name}", needs=read)
async def provider(call: Caller, name: ProviderName) -> KeyStatus:
    """Show whether a key of a provider is stored."""
    return _status(provider_place(call.caller.account_id, name))


@door.route("PUT", "/api/auth/providers/{name}", needs=write, status=204)
async def put_provider(call: Caller, name: ProviderName, body: ProviderKey) -> None:
    """Store a provider's key, encrypted. No route returns it."""
    _put(call, provider_place(call.caller.account_id, name), body)


@door.route("DELETE", "/api/auth/providers/{name}", needs=write, status=204)
async def remove_provider(call: Caller, name: ProviderName) -> None:
    """Delete a provider's key, if there is one."""
    providers.remove(TABLES.main, call, provider_place(call.caller.account_id, name))


@cache
def _vault() -> Vault:
    return vaults.vault(TABLES.main)


def _status(place: Place) -> KeyStatus:
    found = providers.find(TABLES.main, place)
    return KeyStatus(
        configured=found is not None,
        updatedAt=None if found is None else rfc3339(found.updated_at),
    )


def _put(call: Caller, place: Place, body: ProviderKey) -> None:
    providers.put(TABLES.main, call, _vault(), place=place, text=body.apiKey, field="apiKey")

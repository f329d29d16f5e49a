"""Webhooks: who wants to know of signals, on the admin surface."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field

from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.deliveries import actions as deliveries
from gatehouse.deliveries import messages
from gatehouse.dynamo import connection
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Answer, Body, answer
from gatehouse.web.surfaces import ADMIN
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import update as updates
from gatehouse.webhooks.model import Webhook

TABLES = connection.tables()

door = Door(ADMIN, title="Webhooks")
handler = door.handler
manage = policy.require(MANAGE)


class SignalFilters(Body):
    """Which signals a webhook wants: all of what is said must hold, an empty list means all."""

    rings: list[str] = Field(default_factory=list, description="Matches to_ring only.")
    types: list[str] = Field(default_factory=list)
    min_urgency: float = Field(0, description="0 to 1, inclusive.")


class NewWebhook(Body):
    """A URL that wants signals."""

    url: str = Field(examples=["https://receiver.example/in"])
    filters: SignalFilters | None = None
    description: str | None = None
    retry_schedule: list[int] | None = Field(
        None, description="Seconds before each retry, up to 20 steps. Default: 5, 30, 300."
    )
    headers: dict[str, str] | None = Field(None, description="At most 20, sent and never shown.")
    active: bool = True


class WebhookPatch(NewWebhook):
    """What to change; fields that are not there stay as they are, null is the default again."""

    url: str = ""


class WebhookView(BaseModel):
    """A webhook. `failure_count` counts failed attempts since the last success.

    `disabled_reason` is null unless the receiver's answer made it inactive.
    """

    id: str
    url: str
    filters: SignalFilters
    active: bool
    failing: bool
    failure_count: int
    last_success_at: str | None
    last_failure_at: str | None
    disabled_reason: str | None
    description: str
    retry_schedule: list[int]
    header_names: list[str]
    created_at: str


class CreatedWebhook(WebhookView):
    """The webhook and its secret, shown here and never again."""

    secret: str


class Rotation(Body):
    """How long the old secret signs beside the new one."""

    grace_seconds: int | None = Field(None, description="0 to 604800. Default: 86400.")


class RotatedSecret(BaseModel):
    """The new secret, shown here and never again, and when the old one ends."""

    id: str
    secret: str
    old_secret_ends_at: str


class DeletedWebhook(BaseModel):
    """A webhook that is no more."""

    id: str
    deleted: bool


@door.route("POST", "/admin/webhooks", needs=manage, status=201, response_model_exclude_unset=True)
async def create(call: Caller, request: Request, body: NewWebhook) -> Answer[CreatedWebhook]:
    """Make a webhook. `secret` is shown here and never again."""
    made = webhooks.create(TABLES.main, call, _vault(), fields=_fields(body), own=_own(request))
    shown = _view(made.webhook).model_dump()
    return answer(call, CreatedWebhook(**shown, secret=made.secret))


@door.route("GET", "/admin/webhooks", needs=manage, response_model_exclude_unset=True)
async def listing(call: Caller) -> Answer[list[WebhookView]]:
    """List the webhooks, oldest first; never a secret, never a header's value."""
    found = webhooks.all_of(TABLES.main, call.caller.account_id)
    return answer(call, [_view(webhook) for webhook in found])


@door.route("GET", "/admin/webhooks/{id}", needs=manage, response_model_exclude_unset=True)
async def read(call: Caller, id: str) -> Answer[WebhookView]:
    """Show one webhook."""
    return answer(call, _view(updates.get(TABLES.main, call.caller.account_id, _id(id))))


@door.route("PATCH", "/admin/webhooks/{id}", needs=manage, response_model_exclude_unset=True)
async def update(
    call: Caller, request: Request, id: str, body: WebhookPatch
) -> Answer[WebhookView]:
    """Change a webhook. `filters` and `headers` are replaced as a whole.

    With `active` true, the deliveries that waited for it go out.
    """
    fields, webhook_id = _fields(body), _id(id)
    wakes = fields.get("active") is True
    changed = webhooks.update(
        TABLES.main,
        call,
        _vault(),
        webhook_id,
        fields=fields,
        own=_own(request),
        also=deliveries.waking(TABLES.main, call, webhook_id) if wakes else webhooks.NOTHING,
    )
    if wakes:
        deliveries.send_wake(messages.queue(), call, webhook_id)
    return answer(call, _view(changed))


@door.route("DELETE", "/admin/webhooks/{id}", needs=manage, response_model_exclude_unset=True)
async def remove(call: Caller, id: str) -> Answer[DeletedWebhook]:
    """Delete a webhook and its secret. Its open deliveries end as dead letters."""
    webhook_id = _id(id)
    removed = webhooks.remove(
        TABLES.main, call, webhook_id, also=deliveries.waking(TABLES.main, call, webhook_id)
    )
    deliveries.send_wake(messages.queue(), call, webhook_id)
    return answer(call, DeletedWebhook(id=f"webhook:{removed.id}", deleted=True))


@door.route(
    "POST", "/admin/webhooks/{id}/rotate-secret", needs=manage, response_model_exclude_unset=True
)
async def rotate_secret(call: Caller, id: str, body: Rotation) -> Answer[RotatedSecret]:
    """Make a new secret. During the grace, deliveries are signed with both."""
    made = webhooks.rotate_secret(
        TABLES.main, call, _vault(), _id(id), grace_seconds=body.grace_seconds
    )
    shown = RotatedSecret(
        id=f"webhook:{made.webhook.id}",
        secret=made.secret,
        old_secret_ends_at=rfc3339(made.old_ends_at),
    )
    return answer(call, shown)


@cache
def _vault() -> Vault:
    return vaults.vault(TABLES.main)


def _id(text: str) -> str:
    webhook_id = ids.read(text, kind="webhook")
    if webhook_id is None:
        raise BadInput("Invalid webhook id", code="VALIDATION_INVALID_ID", details={"field": "id"})
    return webhook_id


def _fields(body: NewWebhook) -> dict[str, Any]:
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    if body.filters is not None:
        fields["filters"] = webhooks.filters_of(**body.filters.model_dump())
    return fields


def _own(request: Request) -> tuple[str, ...]:
    """Name the host that the request came to: a webhook must not lead back here."""
    host = request.scope["aws.event"]["requestContext"].get("domainName")
    return (host,) if host else ()


def _moment(moment: Micros | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _view(webhook: Webhook) -> WebhookView:
    wanted = webhook.filters
    return WebhookView(
        id=f"webhook:{webhook.id}",
        url=webhook.url,
        filters=SignalFilters(
            rings=[*wanted.rings], types=[*wanted.types], min_urgency=float(wanted.min_urgency)
        ),
        active=webhook.active,
        failing=webhook.failing,
        failure_count=webhook.failure_count,
        last_success_at=_moment(webhook.last_success_at),
        last_failure_at=_moment(webhook.last_failure_at),
        disabled_reason=webhook.disabled_reason,
        description=webhook.description,
        retry_schedule=list(webhook.schedule),
        header_names=list(webhook.header_names),
        created_at=rfc3339(webhook.created_at),
    )

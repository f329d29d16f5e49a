"""Webhooks on the admin surface: creates, lists, shows, changes, rotates and deletes them."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, Field

from gatehouse.core.clock import rfc3339
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.deliveries import actions as deliveries
from gatehouse.deliveries import messages
from gatehouse.dynamo import connection
from gatehouse.outbound.headers import (
    MAX_CUSTOM,
    MAX_CUSTOM_NAME,
    MAX_CUSTOM_VALUE,
    NAME_PATTERN,
    VALUE_PATTERN,
)
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Answer, Body, Patch, answer
from gatehouse.web.fields import (
    PLAIN,
    AtMost,
    Between,
    Fraction,
    Label,
    Url,
    documented,
    id_in_path,
    one_of,
    read_id,
)
from gatehouse.web.surfaces import ADMIN
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import model, rotation
from gatehouse.webhooks.model import Webhook, WebhookFields

TABLES = connection.tables()

door = Door(ADMIN, title="Webhooks")
handler = door.handler
manage = policy.require(MANAGE)


Schedule = Annotated[
    list[Annotated[int, Between(1, model.LONGEST_SCHEDULE_DAYS * 86_400)]],
    AtMost(model.MOST_STEPS),
    documented(minItems=1),
]
Headers = Annotated[
    dict[
        Annotated[str, Field(max_length=MAX_CUSTOM_NAME)],
        Annotated[
            str,
            Field(max_length=MAX_CUSTOM_VALUE, json_schema_extra={"pattern": VALUE_PATTERN}),
        ],
    ],
    AtMost(MAX_CUSTOM),
    documented(propertyNames={"pattern": NAME_PATTERN, "maxLength": MAX_CUSTOM_NAME}),
]


class SignalFilters(Body):
    """Which signals a webhook receives: all filters must match, an empty list matches all."""

    rings: Annotated[list[Label], AtMost(model.MOST_FILTERED)] = Field(
        default_factory=list, description="Matches to_ring only."
    )
    types: Annotated[list[Annotated[str, one_of(SIGNAL_TYPES)]], AtMost(model.MOST_FILTERED)] = (
        Field(default_factory=list)
    )
    min_urgency: Annotated[Fraction, Between(model.LOWEST_URGENCY, model.HIGHEST_URGENCY)] = Field(
        model.LOWEST_URGENCY, description="Inclusive."
    )


class NewWebhook(Body):
    """A webhook to create."""

    url: Url = Field(examples=["https://receiver.example/in"])
    filters: SignalFilters | None = None
    description: (
        Annotated[str, Field(max_length=model.LONGEST_DESCRIPTION, json_schema_extra=PLAIN)] | None
    ) = None
    retry_schedule: Schedule | None = Field(
        None,
        description=f"Seconds before each retry, up to {model.MOST_STEPS} steps."
        f" Default: {', '.join(map(str, model.DEFAULT_SCHEDULE))}.",
    )
    headers: Headers | None = Field(
        None, description=f"At most {MAX_CUSTOM}, sent and never shown."
    )
    active: bool = True


class WebhookPatch(Patch, NewWebhook):
    """The fields to change; absent ones stay as they are, null sets the default."""

    url: Url = ""


class WebhookView(BaseModel):
    """A webhook. `failure_count` counts failed attempts since the last success.

    `disabled_reason` is null unless something else than a request made it inactive: `gone`, the
    receiver answered 410; `creator_suspended`, `creator_removed`, `creator_demoted`, its creator is
    not an active admin; `creator_narrowed`, their ceiling allows less than it receives;
    `creator_key_revoked`, the key that made it was revoked with what it made.
    `created_by` is who answers for it.
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
    created_by: str
    created_by_key: str | None
    created_at: str


class ChangedWebhook(WebhookView):
    """The webhook after a change.

    `dropped_headers` is present if the URL got another scheme, host or port and the request had no
    `headers`: their values may be sent to the former only, so they were removed.
    """

    dropped_headers: list[str] = []


class CreatedWebhook(WebhookView):
    """The webhook and its secret, shown here and never again."""

    secret: str


class Rotation(Body):
    """How long the old secret stays live."""

    grace_seconds: Annotated[int, Between(0, model.LONGEST_GRACE_SECONDS)] | None = Field(
        None,
        description=f"0 to {model.LONGEST_GRACE_SECONDS}. Default: {model.DEFAULT_GRACE_SECONDS}.",
    )


class RotatedSecret(BaseModel):
    """The new secret, shown here and never again, and when the old one expires."""

    id: str
    secret: str
    old_secret_ends_at: str


class DeletedWebhook(BaseModel):
    """A deleted webhook."""

    id: str
    deleted: bool


@door.route("POST", "/admin/webhooks", needs=manage, status=201, response_model_exclude_unset=True)
async def create(call: Caller, request: Request, body: NewWebhook) -> Answer[CreatedWebhook]:
    """Create a webhook. `secret` is shown here and never again."""
    created = webhooks.create(TABLES.main, call, _vault(), fields=_fields(body), own=_own(request))
    shown = _view(created.webhook).model_dump()
    return answer(call, CreatedWebhook(**shown, secret=created.secret))


@door.route("GET", "/admin/webhooks", needs=manage, response_model_exclude_unset=True)
async def listing(call: Caller) -> Answer[list[WebhookView]]:
    """List the webhooks, oldest first; never a secret, never a header's value."""
    listed = webhooks.list_all(TABLES.main, call.caller.account_id)
    return answer(call, [_view(webhook) for webhook in listed])


@door.route("GET", "/admin/webhooks/{id}", needs=manage, response_model_exclude_unset=True)
async def read(call: Caller, id: Annotated[str, id_in_path("webhook")]) -> Answer[WebhookView]:
    """Show one webhook."""
    return answer(
        call, _view(webhooks.get(TABLES.main, call.caller.account_id, read_id(id, "webhook")))
    )


@door.route("PATCH", "/admin/webhooks/{id}", needs=manage, response_model_exclude_unset=True)
async def update(
    call: Caller, request: Request, id: Annotated[str, id_in_path("webhook")], body: WebhookPatch
) -> Answer[ChangedWebhook]:
    """Change a webhook. `filters` and `headers` are replaced as a whole.

    Another scheme, host or port in `url` removes the headers, unless the request has `headers`.
    With `active` true, its parked deliveries are sent.
    """
    fields, webhook_id = _fields(body), read_id(id, "webhook")
    activates = fields.active is True
    changed = webhooks.update(
        TABLES.main,
        call,
        _vault(),
        webhook_id,
        fields=fields,
        own=_own(request),
        also=deliveries.unpark_marker(TABLES.main, call, webhook_id)
        if activates
        else webhooks.NO_WRITES,
    )
    if activates:
        deliveries.send_unpark(messages.queues(), call, webhook_id)
    shown = ChangedWebhook(**_view(changed.webhook).model_dump())
    if changed.dropped_headers:
        shown.dropped_headers = list(changed.dropped_headers)
    return answer(call, shown)


@door.route("DELETE", "/admin/webhooks/{id}", needs=manage, response_model_exclude_unset=True)
async def remove(call: Caller, id: Annotated[str, id_in_path("webhook")]) -> Answer[DeletedWebhook]:
    """Delete a webhook and its secret. Its open deliveries become dead letters."""
    webhook_id = read_id(id, "webhook")
    marker = deliveries.unpark_marker(TABLES.main, call, webhook_id)
    removed = webhooks.remove(TABLES.main, call, webhook_id, also=marker)
    deliveries.send_unpark(messages.queues(), call, webhook_id)
    return answer(call, DeletedWebhook(id=f"webhook:{removed.id}", deleted=True))


@door.route(
    "POST", "/admin/webhooks/{id}/rotate-secret", needs=manage, response_model_exclude_unset=True
)
async def rotate_secret(
    call: Caller, id: Annotated[str, id_in_path("webhook")], body: Rotation
) -> Answer[RotatedSecret]:
    """Create a new secret. During the grace, deliveries are signed with both."""
    rotated = rotation.rotate_secret(
        TABLES.main, call, _vault(), read_id(id, "webhook"), grace_seconds=body.grace_seconds
    )
    shown = RotatedSecret(
        id=f"webhook:{rotated.webhook.id}",
        secret=rotated.secret,
        old_secret_ends_at=rfc3339(rotated.old_ends_at),
    )
    return answer(call, shown)


@cache
def _vault() -> Vault:
    return vaults.vault(TABLES.main)


def _fields(body: NewWebhook) -> WebhookFields:
    """Return the fields that the request contains; the others stay UNSET."""
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    if body.filters is not None:
        fields["filters"] = model.NewFilters(**body.filters.model_dump())
    return WebhookFields(**fields)


def _own(request: Request) -> tuple[str, ...]:
    """Return the host that the request was sent to: a webhook must not lead back here."""
    host = request.scope["aws.event"]["requestContext"].get("domainName")
    return (host,) if host else ()


def _view(webhook: Webhook) -> WebhookView:
    filters = webhook.filters
    return WebhookView(
        id=f"webhook:{webhook.id}",
        url=webhook.url,
        filters=SignalFilters(
            rings=[*filters.rings], types=[*filters.types], min_urgency=float(filters.min_urgency)
        ),
        active=webhook.active,
        failing=webhook.failing,
        failure_count=webhook.failure_count,
        last_success_at=rfc3339(webhook.last_success_at),
        last_failure_at=rfc3339(webhook.last_failure_at),
        disabled_reason=webhook.disabled_reason,
        description=webhook.description,
        retry_schedule=list(webhook.schedule),
        header_names=list(webhook.header_names),
        created_by=webhook.maker.created_by,
        created_by_key=webhook.maker.created_by_key,
        created_at=rfc3339(webhook.created_at),
    )

"""Deliveries on the admin surface: lists and shows them, replays, recovers, tests webhooks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, Field

from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.request import Answered
from gatehouse.deliveries import actions as deliveries
from gatehouse.deliveries import messages
from gatehouse.deliveries.model import Attempt, Delivery, DeliveryStatus
from gatehouse.dynamo import connection
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from gatehouse.web import bodies
from gatehouse.web.door import Caller, Door, next_cursor, position
from gatehouse.web.envelopes import Answer, Body, answer, written
from gatehouse.web.fields import After, Limit, Moment, id_in_path, id_of, one_of
from gatehouse.web.strict_route import send
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()
LISTING = "admin:deliveries"
LONGEST_EVENT = 100  # characters

door = Door(ADMIN, title="Deliveries")
handler = door.handler
manage = policy.require(MANAGE)


class DeliveryView(BaseModel):
    """A delivery. `reason` says why it was given up or, while it is pending, why it is parked."""

    id: str
    webhook_id: str
    signal_id: str
    event: str
    status: str
    reason: str | None
    attempt_count: int
    last_status_code: int | None
    next_retry_at: str | None
    created_at: str
    delivered_at: str | None
    replay_of: str | None


class AttemptView(BaseModel):
    """One POST. `error` is the error's class: address, unresolvable, refused, timeout, tls, ...

    A header is null where its value is not kept: it is sealed, or sets a cookie.
    """

    number: int
    started_at: str
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None
    url: str | None
    request_headers: dict[str, str | None]
    response_headers: dict[str, str | None]


class DeliveryDetail(DeliveryView):
    """A delivery with its last hundred attempts."""

    attempts: list[AttemptView]


class Ping(BaseModel):
    """The delivery of a ping."""

    delivery_id: str


class Replayed(BaseModel):
    """A delivery that will be sent again."""

    id: str
    status: str


class Recovery(Body):
    """Which dead letters to replay, and whether to count them only."""

    since: Moment
    dry_run: bool = False


class Recovered(BaseModel):
    """How many dead letters will be replayed."""

    count: int


@door.route(
    "POST", "/admin/webhooks/{id}/test", needs=manage, status=202, response_model=Answer[Ping]
)
async def test(call: Caller, id: Annotated[str, id_in_path("webhook")]) -> Response:
    """Send a `ping` to the webhook, the same way as every delivery."""

    def answered(delivery: Delivery) -> Answered:
        return written(answer(call, Ping(delivery_id=f"delivery:{delivery.id}")), status=202)

    return send(
        deliveries.ping(
            TABLES.main,
            call,
            messages.queues(),
            webhook_id=_id(id, "webhook"),
            answered=answered,
        )
    )


@door.route(
    "GET", "/admin/webhooks/{id}/deliveries", needs=manage, response_model_exclude_unset=True
)
async def listing(
    call: Caller,
    response: Response,
    id: Annotated[str, id_in_path("webhook")],
    status: Annotated[str, one_of(DeliveryStatus)] | None = None,
    limit: Limit = 50,
    after: After = None,
) -> Answer[list[DeliveryView]]:
    """List a webhook's deliveries, newest first, of one status or of all.

    A page may be short, even empty, and still have a cursor.
    """
    webhook_id = _id(id, "webhook")
    listed = f"{LISTING}:{webhook_id}"
    page, following = deliveries.page(
        TABLES.main,
        call,
        webhook_id,
        status=_status(status),
        limit=limit,
        after=position(call, listed, after),
    )
    cursor = next_cursor(response, call, listed, following=following)
    return answer(call, [DeliveryView(**_view(one)) for one in page], cursor)


@door.route("GET", "/admin/webhooks/deliveries", needs=manage, response_model_exclude_unset=True)
async def listing_of_all(
    call: Caller,
    response: Response,
    status: Annotated[str, one_of(DeliveryStatus)] | None = None,
    webhook: Annotated[str, id_of("webhook")] | None = None,
    event: Annotated[str, Field(max_length=LONGEST_EVENT)] | None = None,
    since: Moment | None = None,
    limit: Limit = 50,
    after: After = None,
) -> Answer[list[DeliveryView]]:
    """List the deliveries of all webhooks, newest first.

    `since`: only those of signals emitted from then on. A page may be short, even empty, and still
    have a cursor.
    """
    page, following = deliveries.page_of_all(
        TABLES.main,
        call,
        webhook_id=None if webhook is None else _id(webhook, "webhook", field="webhook"),
        status=_status(status),
        event=event,
        since=0 if since is None else bodies.moment(since, field="since"),
        limit=limit,
        after=position(call, LISTING, after),
    )
    cursor = next_cursor(response, call, LISTING, following=following)
    return answer(call, [DeliveryView(**_view(one)) for one in page], cursor)


@door.route(
    "GET", "/admin/webhooks/deliveries/{id}", needs=manage, response_model_exclude_unset=True
)
async def read(call: Caller, id: Annotated[str, id_in_path("delivery")]) -> Answer[DeliveryDetail]:
    """Show one delivery with its attempts, oldest first."""
    delivery, attempts = deliveries.get(TABLES.main, call, _id(id, "delivery"))
    shown = [_attempt(one) for one in attempts]
    return answer(call, DeliveryDetail(**_view(delivery), attempts=shown))


@door.route(
    "POST",
    "/admin/webhooks/deliveries/{id}/replay",
    needs=manage,
    status=202,
    response_model=Answer[Replayed],
)
async def replay(call: Caller, id: Annotated[str, id_in_path("delivery")]) -> Response:
    """Send a dead letter again. A delivered one is sent as a new delivery, with `replay_of`."""

    def answered(delivery: Delivery) -> Answered:
        shown = Replayed(id=f"delivery:{delivery.id}", status=delivery.status)
        return written(answer(call, shown), status=202)

    return send(
        deliveries.replay(
            TABLES.main,
            call,
            messages.queues(),
            delivery_id=_id(id, "delivery"),
            answered=answered,
        )
    )


@door.route(
    "POST",
    "/admin/webhooks/{id}/recover",
    needs=manage,
    status=202,
    response_model=Answer[Recovered],
)
async def recover(
    call: Caller, id: Annotated[str, id_in_path("webhook")], body: Recovery
) -> Response:
    """Replay all dead letters of signals emitted since a time; `dry_run` only counts them."""
    since = bodies.moment(body.since, field="since")
    webhook_id = _id(id, "webhook")

    def answered(count: int) -> Answered:
        return written(answer(call, Recovered(count=count)), status=202)

    if body.dry_run:
        return send(
            answered(deliveries.count_dead_letters(TABLES.main, call, webhook_id, since=since))
        )
    return send(
        deliveries.recover(
            TABLES.main,
            call,
            messages.queues(),
            webhook_id=webhook_id,
            since=since,
            answered=answered,
        )
    )


def _id(text: str, kind: str, *, field: str = "id") -> str:
    bare = ids.read(text, kind=kind)
    if bare is None:
        raise BadInput(f"Invalid {kind} id", code="VALIDATION_INVALID_ID", details={"field": field})
    return bare


def _status(text: str | None) -> DeliveryStatus | None:
    if text is None:
        return None
    if text not in [*DeliveryStatus]:
        statuses = ", ".join(DeliveryStatus)
        raise BadInput(f"status must be one of {statuses}", details={"field": "status"})
    return DeliveryStatus(text)


def _moment(moment: Micros | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _view(delivery: Delivery) -> dict[str, object]:
    return {
        "id": f"delivery:{delivery.id}",
        "webhook_id": f"webhook:{delivery.webhook_id}",
        "signal_id": f"signal:{delivery.signal_id}",
        "event": delivery.event,
        "status": delivery.status.value,
        "reason": delivery.reason or delivery.parked,
        "attempt_count": delivery.attempt_count,
        "last_status_code": delivery.last_status_code,
        "next_retry_at": _moment(delivery.next_retry_at),
        "created_at": rfc3339(delivery.created_at),
        "delivered_at": _moment(delivery.delivered_at),
        "replay_of": f"delivery:{delivery.replay_of}" if delivery.replay_of else None,
    }


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        started_at=rfc3339(attempt.started_at),
        duration_ms=attempt.duration_ms,
        status_code=attempt.status_code,
        error=attempt.error,
        response=attempt.response,
        url=attempt.url,
        request_headers=dict(attempt.sent),
        response_headers=dict(attempt.received),
    )

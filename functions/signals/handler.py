"""Signals on the admin surface: emits, lists, shows, claims and acknowledges them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from gatehouse.core import ids
from gatehouse.core.errors import BadInput, Conflict
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.core.text import LONGEST_LABEL
from gatehouse.dynamo import connection
from gatehouse.policy import actions as policy
from gatehouse.signals import actions as signals
from gatehouse.signals import model
from gatehouse.web.door import Caller, Door, next_cursor, position
from gatehouse.web.envelopes import Answer, Body, answer, written
from gatehouse.web.exact import ExactObject
from gatehouse.web.fields import (
    MESSAGE,
    After,
    AtMost,
    Between,
    Fraction,
    Label,
    Limit,
    documented,
    free_form,
    id_in_path,
    id_of,
    one_of,
    read_id,
)
from gatehouse.web.strict_route import send
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()
LISTING = "admin:signals"

door = Door(ADMIN, title="Signals")
handler = door.handler


class NewSignal(Body):
    """A signal to emit."""

    signal_type: Annotated[str, one_of(SIGNAL_TYPES)] = Field(
        description=f"{', '.join(SIGNAL_TYPES[:-1])} or {SIGNAL_TYPES[-1]}"
    )
    content: Annotated[str, Field(max_length=model.LONGEST_CONTENT, json_schema_extra=MESSAGE)]
    from_role: Label | None = None
    to_role: Label | None = None
    to_ring: Label | None = Field(None, description="A key with ring_scopes must name one of them.")
    to_identity: Annotated[str, id_of("identity")] | None = Field(
        None, examples=["identity:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"]
    )
    urgency: Annotated[float, Between(0, 1)] = model.DEFAULT_URGENCY
    tags: Annotated[list[Label], AtMost(model.MOST_TAGS)] = Field(default_factory=list)
    payload: Annotated[dict[str, Any], free_form(model.LARGEST_PAYLOAD)] = Field(
        default_factory=dict, description=f"At most {model.LARGEST_PAYLOAD // 1_024} KiB."
    )
    metadata: Annotated[dict[str, Any], free_form(model.LARGEST_METADATA)] = Field(
        default_factory=dict,
        description=f"At most {model.LARGEST_METADATA // 1_024} KiB."
        " `task_type` names the kind of a task.",
    )
    parent_id: Annotated[str, id_of("signal")] | None = Field(
        None, description="A signal's id; that signal may have expired."
    )


class SignalName(Body):
    """A signal's id."""

    signal_id: Annotated[str, id_of("signal")] = Field(
        examples=["signal:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"]
    )


class SignalView(BaseModel):
    """A signal. `origin_peer` is present if a peer sent it."""

    id: str
    signal_type: str
    content: str
    from_identity: str
    from_role: str | None
    to_role: str | None
    to_ring: str | None
    to_identity: str | None
    urgency: Fraction
    tags: list[str]
    payload: ExactObject
    metadata: ExactObject
    parent_id: str | None
    task_status: str | None = Field(description="open, claimed or acked")
    claimed_by: str | None
    claim_expires_at: str | None
    delivery_state: str = Field(description="pending, dispatched or acked")
    created_at: str
    origin_peer: str | None = None


@door.route(
    "POST",
    "/emit",
    needs=policy.require(signals.EMIT),
    status=201,
    response_model=Answer[SignalView],
)
async def emit(call: Caller, request: Request, body: NewSignal) -> Response:
    """Emit a signal. A repeat under the same Idempotency-Key returns the first response."""
    if "x-chorus-delivery" in request.headers:
        raise Conflict(
            "Requests that carry X-Chorus-Delivery cannot emit signals (loop protection)",
            code="SIGNAL_LOOP",
        )

    return send(
        signals.emit(
            TABLES.main,
            call,
            model.NewSignal(**body.model_dump()),
            answered=lambda signal: written(answer(call, _view(signal, call.now)), status=201),
        )
    )


@door.route(
    "POST", "/claim", needs=policy.require(signals.CLAIM), response_model_exclude_unset=True
)
async def claim(call: Caller, body: SignalName) -> Answer[SignalView]:
    """Claim a signal for 15 minutes, or renew the claim. Of concurrent callers, one succeeds."""
    signal = signals.claim(TABLES.main, call, _signal_id(body.signal_id))
    return answer(call, _view(signal, call.now))


@door.route("POST", "/ack", needs=policy.require(signals.ACK), response_model_exclude_unset=True)
async def ack(call: Caller, body: SignalName) -> Answer[SignalView]:
    """Acknowledge a signal that the caller has claimed. A repeat changes nothing."""
    signal = signals.ack(TABLES.main, call, _signal_id(body.signal_id))
    return answer(call, _view(signal, call.now))


@door.route(
    "GET", "/signals/list", needs=policy.require(signals.INSPECT), response_model_exclude_unset=True
)
async def listing(
    call: Caller,
    response: Response,
    type: Annotated[str, one_of(model.STORED_TYPES)] | None = None,
    ring: Annotated[str, documented(maxLength=LONGEST_LABEL)] | None = None,
    limit: Limit = 50,
    after: After = None,
) -> Answer[list[SignalView]]:
    """List signals, newest first. A page may be short, even empty, and still have a cursor."""
    page, following = signals.page(
        TABLES.main,
        call,
        type=type,
        ring=ring,
        limit=limit,
        before=position(call, LISTING, after),
    )
    cursor = next_cursor(response, call, LISTING, following=following)
    return answer(call, [_view(signal, call.now) for signal in page], cursor)


@door.route(
    "GET", "/signals/{id}", needs=policy.require(signals.INSPECT), response_model_exclude_unset=True
)
async def show(call: Caller, id: Annotated[str, id_in_path("signal")]) -> Answer[SignalView]:
    """Show one signal."""
    signal_id = read_id(id, "signal")
    return answer(call, _view(signals.get(TABLES.main, call, signal_id), call.now))


def _signal_id(text: str) -> str:
    signal_id = ids.read(text, kind="signal")
    if signal_id is None:
        raise BadInput("signal_id must be a signal id", details={"field": "signal_id"})
    return signal_id


def _view(signal: model.Signal, now: int) -> SignalView:
    return SignalView(**signals.view(signal, now))

"""Whatever a caller can leave behind could itself do nothing that the caller could not.

Callers and things are random. What a thing can do is asked of the code that decides on its
requests and deliveries, not of the code that describes its reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.errors import Conflict, GrantsExceeded
from gatehouse.core.grants import ATOMS, Grants, Permissions
from gatehouse.dynamo.table import Tables
from gatehouse.federation import rules as peer_rules
from gatehouse.identities import actions as identities
from gatehouse.invites import actions as invites
from gatehouse.invites.model import InviteRequest
from gatehouse.keys import actions as keys
from gatehouse.keys.model import KeyPatch
from gatehouse.policy import actions as policy
from gatehouse.policy.model import Resource, Subject
from gatehouse.secrets.actions import Vault
from gatehouse.signals import rules as signal_rules
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Filters, NewFilters, Webhook, WebhookFields
from support.actors.members import change, key_of, member, new_vault, trusted
from support.actors.visitor import Visitor, key_request, visitor

TYPES, RINGS, TASKS = ("pulse", "task"), ("red", "blue"), ("build", "test")
LATER = 10**15
URL = "http://127.0.0.1:9000/in"


def _some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


scopes = _some(("*", "agents:*", "agents:read", "agents:write", "*:read", "admin:manage"))
lists = st.builds(Permissions, _some(TYPES), _some(TASKS), _some(RINGS), _some(("list", "store")))
grants = st.builds(Grants, scopes, lists)
ends = st.sampled_from((None, None, LATER, 2 * LATER))
limits = st.sampled_from((None, 5, 6_000))
callers = st.builds(
    lambda held, expires_at, rate_limit: {
        "grants": replace(held, scopes=("admin:manage", *held.scopes)),
        "expires_at": expires_at,
        "rate_limit": rate_limit,
    },
    grants,
    ends,
    limits,
)
filters = st.builds(NewFilters, _some(RINGS), _some(TYPES), st.sampled_from((0, 0.5)))

SIGNALS = tuple(
    Signal(
        *("s", "a", kind, "x", "identity:i", 1, 2),
        to_ring=ring,
        metadata="{}" if task is None else f'{{"task_type": "{task}"}}',
    )
    for kind, ring, task in itertools.product(TYPES, (None, *RINGS), (None, *TASKS))
)


def can(held: Grants) -> set[Any]:
    """Return everything that the policy allows an admin's key with these grants."""
    subject = Subject(held, is_admin=True, claw_type="central", membership="active")

    def allowed(action: str, resource: Resource) -> bool:
        return policy.evaluate(action, subject, resource=resource).allowed

    done: set[Any] = {atom for atom in ATOMS if held.opens(atom)}
    done |= {
        ("emit", signal.type, signal.to_ring, signal.metadata)
        for signal in SIGNALS
        if allowed("signal:emit", signal_rules.resource_of(signal))
    }
    done |= {
        ("see", signal.type, signal.to_ring)
        for signal in SIGNALS
        if allowed("signal:inspect", Resource()) and signal_rules.may_see(held.permissions, signal)
    }
    operations = (("memory:read", "list"), ("memory:write", "store"), ("memory:delete", "forget"))
    return done | {
        operation
        for action, operation in operations
        if allowed(action, Resource(memory_op=operation))
    }


def within(value: int | None, bound: int | None) -> bool:
    return bound is None or (value is not None and value <= bound)


@pytest.fixture(scope="module")
def vault(settings_key: str, stack: Tables) -> Vault:
    del settings_key, stack
    return new_vault()


@pytest.fixture(scope="module", autouse=True)
def _local(aws: pytest.MonkeyPatch) -> Iterator[None]:
    aws.setenv("GATEHOUSE_OUTBOUND", "local")
    yield
    aws.delenv("GATEHOUSE_OUTBOUND")


def _admin(stack: Tables) -> Visitor:
    return visitor(stack).unlimited()


def _as(admin: Visitor, fields: dict[str, Any]) -> Visitor:
    return replace(admin, principal=replace(admin.principal, **fields))


def _check_key(caller: Visitor, held: Grants, expires_at: int | None, rate: int | None) -> None:
    me = caller.principal
    assert can(held) <= can(me.grants)
    assert within(expires_at, me.expires_at)
    assert within(rate, me.rate_limit)


@given(fields=callers, asked=grants, expires_at=ends, rate_limit=limits)
def test_a_key_can_do_nothing_that_its_maker_cannot(
    stack: Tables, fields: dict[str, Any], asked: Grants, expires_at: Any, rate_limit: Any
) -> None:
    admin = _admin(stack)
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    request = key_request(
        scopes=asked.scopes,
        permissions=asked.permissions.to_dict(),
        expires_at=_at(admin, expires_at),
        rate_limit=rate_limit,
    )
    try:
        made = keys.create(caller.tables, caller.call(), request).key
    except GrantsExceeded:
        return
    _check_key(caller, made.grants, made.expires_at, made.rate_limit)


@given(fields=callers, asked=grants, expires_at=ends, rate_limit=limits, enabled=st.booleans())
def test_a_changed_key_can_do_nothing_that_neither_it_nor_its_changer_could(
    stack: Tables,
    fields: dict[str, Any],
    asked: Grants,
    expires_at: Any,
    rate_limit: Any,
    *,
    enabled: bool,
) -> None:
    admin = _admin(stack)
    made = key_of(
        *(admin, admin),
        scopes=asked.scopes,
        permissions=asked.permissions.to_dict(),
        rate_limit=60,
    ).key
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    patch = KeyPatch(enabled=enabled, expires_at=_at(admin, expires_at), rate_limit=rate_limit)
    try:
        after = keys.patch(caller.tables, caller.call(), made.id, patch)
    except GrantsExceeded:
        return
    if within(after.expires_at, made.expires_at) and within(after.rate_limit, made.rate_limit):
        return  # it can do no more than before
    _check_key(caller, after.grants, after.expires_at, after.rate_limit)


@given(fields=callers, asked=grants)
def test_an_invites_key_can_do_nothing_that_the_inviter_cannot(
    stack: Tables, fields: dict[str, Any], asked: Grants
) -> None:
    admin = _admin(stack)
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    request = InviteRequest("n", "human", asked.scopes, asked.permissions.to_dict(), long=True)
    try:
        made = invites.create(caller.tables, caller.call(), request)
    except GrantsExceeded:
        return
    _check_key(caller, made.grants, made.key_expires_at, made.rate_limit)


@given(fields=callers, asked=filters)
def test_a_webhook_receives_nothing_that_its_creator_cannot_see(
    stack: Tables, vault: Vault, fields: dict[str, Any], asked: NewFilters
) -> None:
    admin = _admin(stack)
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    try:
        made = webhooks.create(
            stack.main, caller.call(), vault, fields=WebhookFields(url=URL, filters=asked)
        ).webhook
    except GrantsExceeded:
        return
    _check_receives(caller, made)


@given(fields=callers, first=filters, asked=filters, url=st.sampled_from((URL, URL + "/other")))
def test_a_changed_webhook_receives_nothing_more_that_its_changer_cannot_see(
    stack: Tables,
    vault: Vault,
    fields: dict[str, Any],
    first: NewFilters,
    asked: NewFilters,
    url: str,
) -> None:
    admin = _admin(stack)
    before = webhooks.create(
        stack.main, admin.call(), vault, fields=WebhookFields(url=URL, filters=first)
    ).webhook
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    try:
        after = webhooks.update(
            stack.main,
            caller.call(),
            vault,
            before.id,
            fields=WebhookFields(url=url, filters=asked),
        ).webhook
    except GrantsExceeded:
        return
    if url == URL and _matched(after.filters) <= _matched(before.filters):
        return  # it receives no more than before, at the same place
    _check_receives(caller, after)
    if url != URL:  # deliveries of the first filters may still wait, and go there
        _check_receives(caller, before)


def _matched(applied: Filters) -> set[Any]:
    webhook = Webhook("w", "a", URL, 1, filters=applied)
    loud = [replace(signal, urgency="1") for signal in SIGNALS]
    return {(one.type, one.to_ring) for one in loud if webhooks.matches(webhook, one)}


def _check_receives(caller: Visitor, webhook: Webhook) -> None:
    seen = {("see", *one) for one in _matched(webhook.filters)}
    assert seen <= can(caller.principal.grants)
    assert caller.principal.expires_at is None


@given(fields=callers, types=_some(TYPES), every=st.booleans(), expires_at=ends)
def test_a_peer_sends_nothing_that_the_key_that_trusted_it_cannot(
    stack: Tables,
    vault: Vault,
    fields: dict[str, Any],
    types: tuple[str, ...],
    expires_at: Any,
    *,
    every: bool,
) -> None:
    admin = _admin(stack)
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    allowed = ["signal:*"] if every else [f"signal:{name}" for name in types]
    try:
        peer = trusted(
            caller, vault, allowed_scopes=allowed, expires_at=_at(admin, expires_at)
        ).peer
    except GrantsExceeded:
        return
    # A peer names no ring and no task type.
    sent = {("emit", kind, None, "{}") for kind in TYPES if peer_rules.may_send(peer, kind)}
    assert sent <= can(caller.principal.grants)
    assert within(peer.expires_at, caller.principal.expires_at)
    assert within(peer.rate_limit, caller.principal.rate_limit)


patches = st.fixed_dictionaries(
    {},
    optional={
        "is_admin": st.booleans(),
        "claw_type": st.sampled_from(("employee", "service")),
        "status": st.sampled_from(("active", "suspended", "removed")),
        "ceiling": grants,
    },
)


@given(fields=callers, held=grants, first=patches, second=patches, limit=limits)
def test_a_changed_identity_can_do_nothing_more_that_its_changer_cannot(
    stack: Tables,
    fields: dict[str, Any],
    held: Grants,
    first: dict[str, Any],
    second: dict[str, Any],
    limit: Any,
) -> None:
    admin = _admin(stack)
    target = member(admin, scopes=held.scopes, permissions=held.permissions.to_dict())
    key_of(admin, target, scopes=[], permissions=held.permissions.to_dict(), rate_limit=limit)
    before = change(admin, target, **first)
    caller = _as(admin, {**fields, "expires_at": _at(admin, fields["expires_at"])})
    try:
        change(caller, target, **second)
    except (GrantsExceeded, Conflict):
        return
    after = identities.get(stack.main, admin.account_id, target.principal.identity_id)
    raised = (
        (after.is_admin and not before.is_admin)
        or (before.claw_type.value == "service" and after.claw_type.value != "service")
        or (before.membership.value != "active" and after.membership.value == "active")
        or bool(can(after.ceiling) - can(before.ceiling))
    )
    if raised:
        assert can(after.ceiling) <= can(caller.principal.grants)
        assert caller.principal.expires_at is None
        assert within(limit, caller.principal.rate_limit)


def _at(caller: Visitor, later: int | None) -> int | None:
    return None if later is None else caller.now + later

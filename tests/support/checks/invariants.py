"""Invariants of identities, invites, wallets, peers and webhooks, also after any crash."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatehouse.core.clock import Micros, rfc3339
from gatehouse.credentials.model import Owner
from gatehouse.dynamo.table import Tables
from gatehouse.federation import rules as peer_rules
from gatehouse.federation import store as peer_store
from gatehouse.identities import store as identity_store
from gatehouse.identities.model import Identity
from gatehouse.invites import rules as invite_rules
from gatehouse.invites import store as invite_store
from gatehouse.keys import rules as key_rules
from gatehouse.keys.model import KeyFilter
from gatehouse.keys.writes import as_owner
from gatehouse.webhooks import rules as webhook_rules
from gatehouse.webhooks import store as webhook_store
from support.checks.inspection import State, check_changes, check_everything

COUNT = "COUNT"
# Fields of a webhook's audit event that are about the change and not the webhook.
_ABOUT_A_CHANGE = frozenset({"changed", "dropped_headers", "grace_seconds"})


def kind(state: State, prefix: str) -> list[dict[str, Any]]:
    """Return the items of a kind, without their counters."""
    return [item for item in state.main if item["pk"].startswith(prefix) and item["sk"] != COUNT]


def counter_value(state: State, pk: str) -> int:
    """Return the value of a counter, zero if there is none, as it is when all endings follow."""
    found = [item["live"] for item in state.main if item["pk"] == f"{pk}#COUNT"]
    endings = [item for item in state.main if item["pk"].startswith("ENDING#")]
    return sum(found) - sum(item["counts"].get(pk, 0) for item in endings)


def identities(state: State, account_id: str | None = None) -> list[Identity]:
    """Return the identities in the table."""
    return [identity_store.from_item(item) for item in kind(state, f"IDENTITY#{account_id or ''}")]


def live_keys(state: State, account_id: str, *, now: Micros) -> int:
    """Count an account's keys that are neither revoked nor expired."""
    return sum(
        key_rules.is_listed(key, KeyFilter.LIVE, now)
        for key in state.owned.values()
        if key.account_id == account_id
    )


def check_invariants(tables: Tables, *, now: Micros, exact: bool = True) -> State:
    """Assert all invariants. `exact`: nothing expired in this test, so counters are exact."""
    state = check_everything(tables, now=now)
    for account_id in state.accounts():
        _check_account(state, account_id, now=now, exact=exact)
    _check_invite_pointers(state)
    _check_wallets(state)
    _check_peers(state)
    _check_webhooks(state)
    return state


def _check_account(state: State, account_id: str, *, now: Micros, exact: bool) -> None:
    trail = state.changes(account_id)
    members = identities(state, account_id)
    _check_replayed(
        trail,
        "identity",
        {one.id: one.audit_view() for one in members},
        leaving_out={"identity.sign_in"},
    )
    acting = sum(one.is_acting_admin for one in members)
    assert counter_value(state, f"IDENTITY#{account_id}") == acting
    owners = {key.owner for key in state.owned.values() if key.account_id == account_id}
    assert owners <= {one.id for one in members}, "a key without an identity"
    invites = [
        invite_store._from_item(item)  # noqa: SLF001
        for item in kind(state, f"INVITES#{account_id}")
    ]
    _check_replayed(trail, "invite", {one.id: invite_rules.audit_view(one) for one in invites})
    still_open = sum(invite_rules.is_open(one, now) for one in invites)
    assert counter_value(state, f"INVITES#{account_id}") >= still_open
    if exact:
        assert counter_value(state, f"INVITES#{account_id}") == still_open
        assert counter_value(state, f"KEYS#{account_id}") == live_keys(state, account_id, now=now)
    joined = [event for event in trail if event["action"] == "identity.create"]
    by_invite = [event for event in trail if event["action"] == "invite.redeem"]
    assert sum(one.uses for one in invites) == len(by_invite) <= len(joined)
    peers = [peer_store.from_item(item) for item in kind(state, f"PEERS#{account_id}")]
    _check_replayed(trail, "peer", {one.id: peer_rules.audit_view(one) for one in peers})
    assert counter_value(state, f"PEERS#{account_id}") == len(peers)
    webhooks = [
        webhook_store._from_item(item)  # noqa: SLF001
        for item in kind(state, f"WEBHOOK#{account_id}")
    ]
    _check_replayed(
        trail,
        "webhook",
        {one.id: webhook_rules.audit_view(one) for one in webhooks},
        besides=_ABOUT_A_CHANGE,
    )
    assert counter_value(state, f"WEBHOOK#{account_id}") == len(webhooks)
    _check_providers(state, account_id, trail)
    received = {
        event["target"].removeprefix("signal:")
        for event in trail
        if event["action"] == "signal.receive"
    }
    assert received == {
        item["sk"] for item in kind(state, f"SIGNAL#{account_id}#") if "origin_peer" in item
    }


def _check_replayed(
    trail: Iterable[dict[str, Any]],
    of: str,
    stored: dict[str, Any],
    *,
    leaving_out: frozenset[str] | set[str] = frozenset(),
    besides: frozenset[str] = frozenset(),
) -> None:
    """Assert that an account's audit trail for one kind of thing leads to what is stored."""
    changes = []
    for event in trail:
        what, _, bare = event["target"].partition(":")
        if what == of and event["action"] not in leaving_out:
            after = event["after"]
            if after is not None:
                after = {name: value for name, value in after.items() if name not in besides}
            changes.append((bare, event["before"], after))
    check_changes(changes, stored)


def _check_invite_pointers(state: State) -> None:
    pointers = {
        item["pk"].removeprefix("INVITE#"): item["invite_id"] for item in kind(state, "INVITE#")
    }
    assert pointers == {item["code"]: item["sk"] for item in kind(state, "INVITES#")}


def _check_wallets(state: State) -> None:
    bound = {item["address"]: item["identity_id"] for item in kind(state, "WALLET#")}
    assert bound == {one.wallet_address: one.id for one in identities(state) if one.wallet_address}
    keys = {key.id: key for key in state.owned.values()}
    for item in kind(state, "WALLET#"):
        if "sign_in_key" in item:
            assert keys[item["sign_in_key"]].owner == item["identity_id"]


def _check_peers(state: State) -> None:
    peers = {item["sk"] for item in kind(state, "PEERS#")}
    assert peers == {item["pk"].removeprefix("PEER#") for item in kind(state, "PEER#")}
    assert peers == {
        item["sk"].removeprefix("peer#")
        for item in kind(state, "SECRET#")
        if item["sk"].startswith("peer#")
    }


def _check_webhooks(state: State) -> None:
    webhooks = list(kind(state, "WEBHOOK#"))
    with_headers = {f"{item['sk']}#headers" for item in webhooks if item["header_names"]}
    assert {item["sk"] for item in webhooks} | with_headers == {
        item["sk"].removeprefix("webhook#")
        for item in kind(state, "SECRET#")
        if item["sk"].startswith("webhook#")
    }


def _check_providers(state: State, account_id: str, trail: list[dict[str, Any]]) -> None:
    kept = kind(state, f"PROVIDER#{account_id}")
    _check_replayed(
        trail,
        "secret",
        {
            item["sk"].replace("#", "/"): {"updated_at": rfc3339(item["updated_at"])}
            for item in kept
        },
        leaving_out={"secret.read", "secret.rewrap"},
    )
    named = [item for item in kept if item["sk"].startswith("provider#")]
    assert counter_value(state, f"PROVIDER#{account_id}") == len(named)
    assert {item["sk"] for item in kept} == {
        item["sk"]
        for item in kind(state, f"SECRET#{account_id}")
        if item["sk"].startswith(("provider#", "transcription#"))
    }


def check_owners_of_keys(state: State, *, now: Micros) -> None:
    """Assert that every key that is not revoked has a copy of its identity as it is now."""
    assert kind(state, "PROPAGATE#") == [], "a marker was left"
    owners = {one.id: one for one in identities(state)}
    for digest, key in state.owned.items():
        if key_rules.is_revoked(key, now):
            continue
        owner = owners[key.owner]
        assert _without_version(state.looked_up[digest].owner) == _without_version(as_owner(owner))
        if key.enabled:
            assert not key.grants.excess_over(owner.ceiling), "a key beyond its owner's ceiling"


def _without_version(owner: Owner) -> tuple[Any, ...]:
    # A new name increments the version but is not copied into keys.
    return (owner.identity_id, owner.is_admin, owner.claw_type, owner.membership)

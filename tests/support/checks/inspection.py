"""Invariants of the tables for keys and the audit trail: true at any time, after any crash."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from gatehouse.audit import rules as audit
from gatehouse.audit import store as audit_store
from gatehouse.audit.model import Chain
from gatehouse.core.clock import Micros
from gatehouse.credentials import store as credentials
from gatehouse.dynamo.table import Table, Tables, unmarshal
from gatehouse.keys import rules as keys
from gatehouse.keys import store as keys_store
from gatehouse.keys.model import Key, KeyFilter


def items(table: Table) -> list[dict[str, Any]]:
    """Read a whole table."""
    found: list[dict[str, Any]] = []
    request: dict[str, Any] = {"TableName": table.name, "ConsistentRead": True}
    while True:
        answer = table.client.scan(**request)
        found += [unmarshal(item) for item in answer["Items"]]
        if "LastEvaluatedKey" not in answer:
            return found
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


class State:
    """The contents of both tables, without notes that say nothing of what is stored.

    Those are the counts of members' changes, and which accounts the sweeper looks at.
    """

    def __init__(self, tables: Tables) -> None:
        self.main = [
            one
            for one in items(tables.main)
            if not one["pk"].startswith(("WRITES#", "ENDING#WAITING"))
        ]
        self.looked_up = {
            item["pk"].removeprefix("KEY#"): credentials.from_item(item)
            for item in items(tables.keys)
            if item["pk"].startswith("KEY#")
        }
        keys = [
            keys_store.from_item(item)
            for item in self.main
            if item["pk"].startswith("KEYS#") and item["sk"] != "COUNT"
        ]
        self.owned = {key.digest: key for key in keys}
        self.unrevoked = {
            (item["pk"].removeprefix("UNREVOKED#"), item["sk"])
            for item in self.main
            if item["pk"].startswith("UNREVOKED#")
        }

    def events(self, account_id: str, chain: Chain | None = None) -> list[dict[str, Any]]:
        """Return an account's audit events, or those of one chain, in the order of their ids."""
        kinds = {Chain.ADMINISTRATION: "", Chain.MACHINE: "#machine"}
        wanted = [f"AUDIT#{account_id}{kinds[one]}" for one in Chain if chain in {None, one}]
        found = [
            item for item in self.main if item["pk"] in wanted and item["sk"] != audit_store.HEAD
        ]
        return [item["event"] for item in sorted(found, key=lambda item: item["sk"])]

    def endings(self, account_id: str) -> list[dict[str, Any]]:
        """Return an account's endings whose events are still to be written, oldest first."""
        mine = [item for item in self.main if item["pk"] == f"ENDING#{account_id}"]
        return sorted(mine, key=lambda item: item["sk"])

    def changes(self, account_id: str) -> list[dict[str, Any]]:
        """Return an account's audit events, and then those that are still to be written."""
        waiting = [one for ending in self.endings(account_id) for one in ending["changes"]]
        return [*self.events(account_id), *waiting]

    def accounts(self) -> set[str]:
        """Return the ids of all accounts that have an item."""
        kinds = ("KEYS#", "AUDIT#", "IDENTITY#")
        return {item["pk"].split("#")[1] for item in self.main if item["pk"].startswith(kinds)}


def owned(tables: Tables) -> dict[str, Key]:
    """Read the keys as their accounts manage them, by digest."""
    return State(tables).owned


def events(tables: Tables, account_id: str) -> list[dict[str, Any]]:
    """Read an account's audit events, oldest first."""
    return State(tables).events(account_id)


def check_everything(tables: Tables, *, now: Micros) -> State:
    """Assert that both items of each key agree, each change has its event, and chains verify."""
    state = State(tables)
    check_both_items_agree(state)
    check_unrevoked(state, now=now)
    for account_id in state.accounts():
        check_audited(tables, state, account_id)
        check_count(state, account_id, now=now)
    return state


def check_both_items_agree(state: State) -> None:
    """Compare the looked-up item of each key with the account's item, field by field."""
    assert set(state.looked_up) == set(state.owned), "a key is in one table only"
    for digest, key in state.owned.items():
        credential = state.looked_up[digest]
        assert (
            credential.key_id,
            credential.account_id,
            credential.owner.identity_id,
            credential.key_prefix,
            credential.grants,
            credential.enabled,
            credential.expires_at,
            credential.rate_limit,
            credential.revoked_at,
        ) == (
            key.id,
            key.account_id,
            key.owner,
            key.prefix,
            key.grants,
            key.enabled,
            key.expires_at,
            key.rate_limit,
            key.revoked_at,
        )


def check_unrevoked(state: State, *, now: Micros) -> None:
    """Assert that the unrevoked keys with a parent are listed, and no other but in a grace."""
    made = [key for key in state.owned.values() if key.parent is not None]
    wanted = {(key.account_id, key.id) for key in made if not keys.is_revoked(key, now)}
    after_grace = {
        (key.account_id, key.id) for key in made if keys.is_revoked(key, now) and key.successor
    }
    assert wanted <= state.unrevoked <= wanted | after_grace


def check_audited(tables: Tables, state: State, account_id: str) -> None:
    """Replay the audit trail and compare the result with the table."""
    for chain in Chain:
        trail = state.events(account_id, chain)
        head = audit_store.read_head(tables.main, account_id, chain)
        assert audit.verify(trail, head) == []
        assert head.seq == len(trail), "the head is ahead of the events"
    changes = []
    for event in state.changes(account_id):
        kind, _, bare = event["target"].partition(":")
        if kind != "api_key" or event["action"] == "api_key.revoke_descendants":
            continue
        before, after = event["before"], dict(event["after"])
        if event["action"] == "api_key.rotate":
            old = {**before, "revoked_at": after.pop("old_revoked_at")}
            successor = after.pop("successor").removeprefix("api_key:")
            changes += [(bare, before, old), (successor, None, after)]
        else:
            changes.append((bare, before, after))
    mine = [key for key in state.owned.values() if key.account_id == account_id]
    check_changes(changes, {key.id: keys.audit_view(key) for key in mine})


def check_changes(changes: list[tuple[str, Any, Any]], stored: dict[str, Any]) -> None:
    """Assert that changes (what, before, after) lead from nothing to what is stored.

    In any order: the event of an ending follows later, maybe after that of a newer change.
    """
    balance: Counter[tuple[str, str]] = Counter()
    for what, before, after in changes:
        balance[what, _text(before)] -= 1
        balance[what, _text(after)] += 1
    for what in {what for what, _, _ in changes} | set(stored):
        balance[what, _text(None)] += 1
        balance[what, _text(stored.get(what))] -= 1
    left = {where: count for where, count in balance.items() if count}
    assert not left, f"a change without its event, or an event without its change: {left}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def check_count(state: State, account_id: str, *, now: Micros) -> None:
    """Assert that the counter of live keys is not too low, or the bound could be exceeded."""
    live = sum(
        keys.is_listed(key, KeyFilter.LIVE, now)
        for key in state.owned.values()
        if key.account_id == account_id
    )
    counted = [item for item in state.main if item["pk"] == f"KEYS#{account_id}#COUNT"]
    assert (counted[0]["live"] if counted else 0) >= live

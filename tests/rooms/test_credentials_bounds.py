"""Credentials at their bounds: the key's shape, rate limits, and items and requests as written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.grants import Grants, Permissions
from gatehouse.core.principal import RateLimitState
from gatehouse.credentials import rules, store
from gatehouse.credentials.model import Code, Credential, Owner, Pace
from gatehouse.dynamo.table import ConditionFailed, TransactionConflict

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000
OWNER = Owner("i1", is_admin=True, claw_type="central", membership="active", version=7)
GRANTS = Grants(("agents:read",), Permissions(task_types=("t",)))
FREE = Credential("d1", "k1", "a1", "hk_0000", OWNER, GRANTS, operator=False)
LIMITED = replace(FREE, rate_limit=60)
ITEM = {
    "pk": "KEY#d1",
    "id": "k1",
    "acc": "a1",
    "own": "i1",
    "iv": 7,
    "pre": "hk_0000",
    "adm": True,
    "claw": "central",
    "mem": "active",
    "op": False,
    "sc": ["agents:read"],
    "pm": {"signal_types": [], "task_types": ["t"], "ring_scopes": [], "memory_scopes": []},
    "en": True,
}


class Recorder:
    """A table that answers as it was told and records each call."""

    def __init__(self, *answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers = list(answers)

    def get(self, key: Mapping[str, str]) -> Any:
        return self._answer("get", key)

    def update(self, key: Mapping[str, str], expression: str, **request: Any) -> Any:
        return self._answer("update", key, expression, request)

    def batch_get_keys(self, pks: Sequence[str]) -> Any:
        return self._answer("batch_get_keys", pks)

    def _answer(self, *call: Any) -> Any:
        self.calls.append(call)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


# ---- Rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        f"{prefix}_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f{checksum}"
        for prefix, checksum in (("hb", "1dfba672"), ("hk", "76cc6956"), ("chorus", "d2303707"))
    ],
)
def test_the_checksum_covers_everything_before_it(key: str) -> None:
    assert rules.is_well_formed(key)
    other = "0" if key[-1] != "0" else "1"
    for broken in (key[:-1] + other, key[:-8] + other + key[-7:], key[:-9] + "0" + key[-8:]):
        assert not rules.is_well_formed(broken)


@pytest.mark.parametrize(
    ("key", "shown"), [("hk_012345", "hk_0123"), ("chorus_01", "chorus_01"), ("a_b_cdef", "a_b_cd")]
)
def test_a_key_is_shown_with_four_digits(key: str, shown: str) -> None:
    assert rules.shown_prefix(key) == shown


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ({}, None),
        ({"key": "x", "authorization": "Bearer x"}, None),
        *(({name: " x "}, "x") for name in ("token", "access_token", "api_key")),
        ({"api_key": "c", "access_token": "b", "token": "a"}, "a"),
        ({"api_key": "c", "access_token": "b"}, "b"),
        ({"api_key": "c", "token": ""}, ""),
    ],
)
def test_the_first_parameter_with_a_key_decides(query: dict[str, str], key: str | None) -> None:
    assert rules.find_in_query(query) == key


@pytest.mark.parametrize(
    ("limit", "interval", "refill"),
    [
        (1, 60_000_000, 60_000_000),
        (2, 30_000_000, 0),
        (7, 8_571_429, -42_857_145),
        (60, 1_000_000, -58_000_000),
        (60_000, 1_000, -59_998_000),
    ],
)
def test_a_limit_has_an_interval_rounded_up_and_a_refill(
    limit: int, interval: int, refill: int
) -> None:
    assert rules.pace(limit) == Pace(interval, refill)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, Code.VALID),
        ({"revoked_at": NOW + 1, "expires_at": NOW + 1}, Code.VALID),
        ({"ended": True, "expires_at": NOW}, Code.REVOKED),
        ({"ended": True, "revoked_at": NOW + 1}, Code.REVOKED),
        ({"revoked_at": NOW}, Code.REVOKED),
        ({"expires_at": NOW, "enabled": False}, Code.EXPIRED),
        ({"enabled": False}, Code.DISABLED),
        ({"owner": replace(OWNER, membership="invited")}, Code.DISABLED),
    ],
)
def test_a_credential_changes_its_code_at_the_very_moment(
    fields: dict[str, Any], code: Code
) -> None:
    assert rules.code_of(replace(FREE, **fields), NOW) is code


@pytest.mark.parametrize(
    ("ahead", "remaining", "reset"),
    [
        *((-5_000_000, 60, 0), (0, 60, 0), (1, 59, 1)),
        *((1_000_000, 59, 1), (1_000_001, 58, 2)),
        *((59_000_000, 1, 59), (59_000_001, 0, 60), (60_000_000, 0, 60), (61_000_001, 0, 62)),
    ],
)
def test_the_state_after_a_request_rounds_against_the_caller(
    ahead: int, remaining: int, reset: int
) -> None:
    assert rules.state_after(60, NOW + ahead, NOW) == RateLimitState(60, remaining, reset, 0)


@pytest.mark.parametrize(
    ("ahead", "over", "reset", "wait"),
    [
        (MINUTE - 1_000_000, False, 59, 1),
        (MINUTE - 1_000_000 + 1, True, 60, 1),
        (MINUTE, True, 60, 1),
        (MINUTE + 1, True, 61, 2),
        (0, False, 0, 1),
    ],
)
def test_a_full_window_refuses_until_one_interval_has_passed(
    ahead: int, reset: int, wait: int, *, over: bool
) -> None:
    credential = replace(LIMITED, tat=NOW + ahead)
    assert rules.is_over_limit(credential, NOW) is over
    assert rules.state_when_refused(credential, NOW) == RateLimitState(60, 0, reset, wait)


@pytest.mark.parametrize(("limit", "shown"), [(None, 0), (60, 60)])
def test_a_key_without_requests_or_limit_is_never_over_it(limit: int | None, shown: int) -> None:
    credential = replace(FREE, rate_limit=limit)
    for now in (0, NOW):
        assert rules.is_over_limit(credential, now) is False
        assert rules.state_when_refused(credential, now) == RateLimitState(shown, 0, 0, 1)
    without = replace(FREE, tat=NOW + MINUTE)
    assert rules.is_over_limit(without, NOW) is False
    assert rules.state_when_refused(without, NOW) == RateLimitState(0, 0, 60, 1)


@pytest.mark.parametrize(
    ("last", "stale"),
    [(None, True), (NOW - MINUTE - 1, True), (NOW - MINUTE, True), (NOW - MINUTE + 1, False)],
)
def test_a_last_use_is_stale_after_exactly_a_minute(last: int | None, *, stale: bool) -> None:
    assert rules.is_last_use_stale(replace(FREE, last_used_at=last), NOW) is stale


# ---- Items and requests ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "attributes"),
    [
        ({}, {}),
        ({"expires_at": 9}, {"exp": 9}),
        ({"rate_limit": 7}, {"lim": 7, "ivl": 8_571_429, "ref": -42_857_145}),
        ({"enabled": False, "operator": True}, {"en": False, "op": True}),
        ({"tat": 5}, {"tat": 5}),
        (
            {"predecessor": "d0", "predecessor_until": 6},
            {"prev": "d0", "prev_until": 6},
        ),
    ],
)
def test_a_credential_is_written_and_read_as_one_item(
    fields: dict[str, Any], attributes: dict[str, Any]
) -> None:
    credential = replace(FREE, **fields)
    assert store.to_item(credential) == {**ITEM, **attributes}
    assert store.from_item({**ITEM, **attributes}) == credential


def test_what_later_writes_add_to_an_item_is_read() -> None:
    later = {"rev": 1, "over": True, "tat": 2, "used": 3, "nxt": 4}
    expected = replace(FREE, revoked_at=1, ended=True, tat=2, last_used_at=3)
    assert store.from_item({**ITEM, **later}) == expected
    new = replace(expected, rate_limit=5, expires_at=6, ended=False, tat=None)
    limited = {**ITEM, "lim": 5, "ivl": 12_000_000, "ref": -36_000_000, "exp": 6}
    assert store.to_item(new) == limited
    taken_over = {**limited, "tat": 60_000_001, "nxt": 12_000_001}
    assert store.to_item(replace(new, tat=60_000_001)) == taken_over


def test_one_credential_is_read_by_its_digest() -> None:
    table: Any = Recorder(ITEM, None)
    assert store.read(table, "d1") == FREE
    assert store.read(table, "d2") is None
    assert table.calls == [("get", {"pk": "KEY#d1"}), ("get", {"pk": "KEY#d2"})]


def test_many_credentials_are_read_in_batches_of_100_without_repeats() -> None:
    digests = [f"d{number}" for number in range(201)]
    pks = [f"KEY#{digest}" for digest in digests]
    last = {"KEY#d200": {**ITEM, "pk": "KEY#d200"}}
    tables: Any = Recorder({"KEY#d1": ITEM}, {}, last)
    found = store.read_many(tables, [*digests, "d1"])
    assert found == {"d1": FREE, "d200": replace(FREE, digest="d200")}
    assert [call[1] for call in tables.calls] == [pks[:100], pks[100:200], pks[200:]]


def test_last_uses_leave_out_keys_that_were_never_used() -> None:
    tables: Any = Recorder({"KEY#d1": {**ITEM, "used": 5}, "KEY#d2": ITEM})
    assert store.read_last_uses(tables, ["d1", "d2"]) == {"d1": 5}
    assert tables.calls == [("batch_get_keys", ["KEY#d1", "KEY#d2"])]


def test_the_last_use_of_a_key_in_its_grace_is_read_off_its_successor() -> None:
    old = {**ITEM, "used": 5, "next": "d9"}
    successor = {**ITEM, "pk": "KEY#d9", "prev": "d1"}
    tables: Any = Recorder(
        *({"KEY#d1": old}, {"KEY#d9": successor}),
        *({"KEY#d1": old}, {"KEY#d9": {**successor, "prev_used": 7}}),
        *({"KEY#d1": old}, {"KEY#d9": {**successor, "prev": "d2", "prev_used": 7}}),
    )
    assert [store.read_last_uses(tables, ["d1"])["d1"] for _ in range(3)] == [5, 7, 5]
    assert [call[1] for call in tables.calls] == [["KEY#d1"], ["KEY#d9"]] * 3


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"predecessor": "d0", "predecessor_until": 101}, True),
        ({"predecessor": "d0", "predecessor_until": 100}, False),
        ({"predecessor": "d0"}, False),
        ({"predecessor": "d1", "predecessor_until": 101}, False),
        ({}, False),
    ],
)
def test_a_successor_shows_its_predecessor_unchanged_until_the_grace_ends(
    fields: dict[str, Any], *, shown: bool
) -> None:
    assert rules.shows_unchanged(replace(FREE, **fields), "d0", 100) is shown


LIVE = (
    "attribute_exists(pk) AND en = :true AND mem = :active AND attribute_not_exists(#over)"
    " AND (attribute_not_exists(rev) OR rev > :now)"
    " AND (attribute_not_exists(#exp) OR #exp > :now) AND attribute_not_exists(#next)"
    " AND attribute_exists(ivl)"
)


@pytest.mark.parametrize(
    ("busy", "expression", "condition", "names"),
    [
        (
            *(False, "SET tat = :now + ivl, nxt = :now + #ref, used = :now"),
            f"{LIVE} AND (attribute_not_exists(tat) OR tat <= :now)",
            {"#exp": "exp", "#over": "over", "#next": "next", "#ref": "ref"},
        ),
        (
            *(True, "SET tat = tat + ivl, nxt = nxt + ivl, used = :now"),
            f"{LIVE} AND tat > :now AND nxt <= :now",
            {"#exp": "exp", "#over": "over", "#next": "next"},
        ),
    ],
)
def test_a_request_is_spent_with_one_of_two_updates(
    expression: str, condition: str, names: dict[str, str], *, busy: bool
) -> None:
    values = {":now": NOW, ":true": True, ":active": "active"}
    table: Any = Recorder({**ITEM, "tat": 5}, ConditionFailed(ITEM), ConditionFailed(None))
    assert store.spend(table, "d1", busy=busy, now=NOW) == replace(FREE, tat=5)
    request = {"condition": condition, "names": names, "values": values}
    assert table.calls == [("update", {"pk": "KEY#d1"}, expression, request)]
    for credential in (FREE, None):
        with pytest.raises(store.NotAdmitted) as refused:
            store.spend(table, "d1", busy=busy, now=NOW)
        assert refused.value.credential == credential
        assert str(refused.value) == "the condition of the update failed"


def test_a_last_use_is_written_only_to_an_item_that_exists() -> None:
    table: Any = Recorder({}, ConditionFailed(None))
    store.write_last_use(table, "d1", NOW)
    request = {
        "condition": "attribute_exists(#pk)",
        "names": {"#pk": "pk"},
        "values": {":now": NOW},
    }
    assert table.calls == [("update", {"pk": "KEY#d1"}, "SET used = :now", request)]
    with pytest.raises(ConditionFailed):
        store.write_last_use(table, "d1", NOW)


def test_an_owner_is_copied_over_an_older_version_only() -> None:
    values = {":adm": True, ":claw": "central", ":mem": "active", ":iv": 7}
    expression = "SET adm = :adm, claw = :claw, mem = :mem, iv = :iv"
    assert store.owner_update(OWNER) == (expression, values)
    table: Any = Recorder({}, ConditionFailed(ITEM), TransactionConflict())
    for _ in range(2):
        store.update_owner(table, "d1", owner=OWNER)
    request = {"condition": "attribute_exists(pk) AND iv < :iv", "names": {}, "values": values}
    assert table.calls == [("update", {"pk": "KEY#d1"}, expression, request)] * 2
    with pytest.raises(TransactionConflict):
        store.update_owner(table, "d1", owner=OWNER)

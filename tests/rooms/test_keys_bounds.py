"""Keys at their bounds: fields, times, what a caller may mint, and what audit events show."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core import reach
from gatehouse.core.clock import SECOND
from gatehouse.core.errors import BadInput, FieldRequired, GrantsExceeded
from gatehouse.core.grants import KNOWN_SCOPES, Grants, Permissions
from gatehouse.core.principal import Principal
from gatehouse.core.reach import LIVE, Reach
from gatehouse.keys import rules
from gatehouse.keys.model import Key, KeyFilter, KeyPatch, KeyRequest, KeyStatus, NewKey

NOW = 1_800_000_000 * SECOND
NOW_TEXT = "2027-01-15T08:00:00.000Z"
LATER = "2027-01-15T08:00:01.000Z"
OPEN = {"signal_types": [], "task_types": [], "ring_scopes": [], "memory_scopes": []}
READ = Grants(("agents:read",))
KEY = Key("k1", "a1", "i1", "Ada", "hk_0000", "d", READ, "i2", 5, metadata={"b": 1.5, "a": 2})
CALLER = Principal(
    key_id="k0",
    account_id="a1",
    identity_id="i1",
    key_prefix="hk_1111",
    grants=READ,
    is_admin=False,
    claw_type="employee",
    membership="active",
    operator=False,
)
BOUNDED = replace(CALLER, expires_at=NOW, rate_limit=60)
BOTH = {"expires_at": None, "rate_limit": 61}
REQUEST = KeyRequest(" Ada ", "hk", ("agents:*",))


def _refused(message: str, field: str, call: Any, **more: Any) -> None:
    with pytest.raises(BadInput) as refused:
        call()
    assert refused.value.message == message
    assert refused.value.details == {"field": field, **more}


def test_a_new_key_takes_its_defaults_from_request_and_stack() -> None:
    grants = Grants(("agents:*",))
    made = NewKey("Ada", "hk", grants, expires_at=None, rate_limit=100, parent="k0")
    assert rules.new_key(REQUEST, caller=CALLER, default_limit=100, now=NOW) == made
    assert rules.new_key(REQUEST, caller=BOUNDED, default_limit=100, now=NOW) == replace(
        made, rate_limit=60
    )


def test_a_new_key_has_every_field_that_its_request_names() -> None:
    request = KeyRequest(
        *("Ada", "hb", ("agents:*",), ["agents:read", "agents:read"], {"task_types": ["t"]}),
        *(NOW + 1, 7, "i9", {"a": 1}),
    )
    made = rules.new_key(request, caller=BOUNDED, default_limit=100, now=NOW)
    grants = Grants(("agents:read",), Permissions(task_types=("t",)))
    assert made == NewKey("Ada", "hb", grants, NOW + 1, 7, "i9", {"a": 1}, "k0")
    without = replace(request, scopes=[], rate_limit=None)
    made = rules.new_key(without, caller=BOUNDED, default_limit=100, now=NOW)
    assert (made.grants.scopes, made.rate_limit) == ((), None)


@pytest.mark.parametrize(
    ("names", "expiry", "limit"),
    [
        ({}, "expires_at", "rate_limit"),
        ({"expires_at": "expiresAt", "rate_limit": "rateLimit"}, "expiresAt", "rateLimit"),
    ],
)
def test_errors_of_a_new_key_name_the_fields_of_the_surface(
    names: dict[str, str], expiry: str, limit: str
) -> None:
    def new(**fields: Any) -> Any:
        request = replace(REQUEST, field_names=names, **fields)
        return lambda: rules.new_key(request, caller=CALLER, default_limit=1, now=NOW)

    _refused(f"{expiry} must be in the future", expiry, new(expires_at=NOW))
    _refused(f"{limit} must be from 1 to 60000", limit, new(rate_limit=0))


@pytest.mark.parametrize("patch", [KeyPatch(), KeyPatch(enabled=False), KeyPatch("Ada")])
def test_a_valid_patch_is_returned_as_it_is(patch: KeyPatch) -> None:
    assert rules.checked_patch(patch, now=NOW) == patch


def test_a_patch_is_returned_with_its_name_trimmed() -> None:
    patch = KeyPatch(" Ada ", enabled=True, expires_at=None, rate_limit=None, metadata={"a": 1})
    assert rules.checked_patch(patch, now=NOW) == replace(patch, name="Ada")


@pytest.mark.parametrize(
    ("patch", "field", "message"),
    [
        (KeyPatch(" "), "name", "name is required"),
        (KeyPatch(expires_at=NOW), "expires_at", "expires_at must be in the future"),
        (KeyPatch(rate_limit=0), "rate_limit", "rate_limit must be from 1 to 60000"),
        (KeyPatch(metadata={"k": "x" * 4_089}), "metadata", "metadata must be at most 4096 bytes"),
    ],
)
def test_each_field_of_a_patch_is_checked(patch: KeyPatch, field: str, message: str) -> None:
    _refused(message, field, lambda: rules.checked_patch(patch, now=NOW))


def test_a_patched_key_changes_only_the_fields_that_are_set() -> None:
    key = replace(KEY, expires_at=NOW, rate_limit=60, version=4)
    assert rules.patched(key, KeyPatch()) == replace(key, version=5)
    full = KeyPatch("Bob", enabled=False, expires_at=None, rate_limit=None, metadata={})
    changed: dict[str, Any] = {"name": "Bob", "enabled": False, "version": 5, "metadata": {}}
    assert rules.patched(key, full) == replace(key, expires_at=None, rate_limit=None, **changed)


def test_a_name_has_1_to_200_printable_characters() -> None:
    assert rules.checked_name(f" {'n' * 200}\n") == "n" * 200
    _refused("name must have at most 200 characters", "name", lambda: rules.checked_name("n" * 201))
    for text in ("a\x00b", "a\nb"):
        message = "label must not have control, line-separating or bidirectional characters"
        _refused(message, "label", lambda text=text: rules.checked_name(text, field="label"))
    with pytest.raises(FieldRequired) as refused:
        rules.checked_name(" \t", field="label")
    assert refused.value.details == {"field": "label"}


def test_scopes_are_known_ones_without_repeats() -> None:
    assert rules.checked_scopes(["*", "agents:read", "*"]) == ("*", "agents:read")
    message = f"Unknown scope: x, y. Allowed: {', '.join(KNOWN_SCOPES)}"
    more = {"unknown": ["x", "y"], "allowed": list(KNOWN_SCOPES)}
    _refused(message, "scopes", lambda: rules.checked_scopes(["x", "*", "y"]), **more)
    _refused(message, "s", lambda: rules.checked_scopes(["x", "y"], field="s"), **more)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("serivces:read", "services:read"), ("Admin:Manage", "admin:manage"), ("agents", "agents:*")],
)
def test_a_misspelled_scope_is_answered_with_the_nearest_one(wrong: str, meant: str) -> None:
    with pytest.raises(BadInput, match=rf"Did you mean {re.escape(meant)}\?$"):
        rules.checked_scopes([wrong])


def test_permission_lists_have_at_most_50_entries_of_64_characters() -> None:
    def check(*entries: str) -> Any:
        return lambda: rules.checked_permissions({"task_types": entries})

    most = [f"{number:064}" for number in range(50)]
    assert check(*most, most[0])() == Permissions(task_types=tuple(most))
    assert check("x")() == Permissions(task_types=("x",))
    field = "permissions.task_types"
    _refused(f"{field} must have at most 50 entries", field, check(*most, "x"))
    message = f"{field} must have printable entries of 1 to 64 characters"
    for entry in ("", "x" * 65, "a\x00"):
        _refused(message, field, check("x", entry))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("signal_types", "pulse, sense, task, query, alert, artifact, proposal, shift"),
        ("memory_scopes", "store, list, query, recall, forget, update, relate, graph"),
    ],
)
def test_signal_types_and_memory_operations_must_be_known(name: str, allowed: str) -> None:
    known = rules.checked_permissions({name: ["query"], "ring_scopes": ["any"]})
    assert known == Permissions(**{name: ("query",), "ring_scopes": ("any",)})
    field = f"permissions.{name}"
    message = f"Unknown entry in {field}: x, y. Allowed: {allowed}"
    check = {name: ["x", "query", "y"]}
    _refused(message, field, lambda: rules.checked_permissions(check), unknown=["x", "y"])


def test_grants_without_scopes_have_all_and_empty_ones_none() -> None:
    assert rules.checked_grants(None, {}) == Grants(("*",))
    lists = {"ring_scopes": ["r"]}
    assert rules.checked_grants([], lists) == Grants((), Permissions(ring_scopes=("r",)))


@pytest.mark.parametrize("value", [None, 1, 60_000])
def test_a_rate_limit_within_its_range_is_returned(value: int | None) -> None:
    assert rules.checked_rate_limit(value, field="f") == value


@pytest.mark.parametrize("value", [-1, 0, 60_001])
def test_a_rate_limit_outside_its_range_is_refused(value: int) -> None:
    message = "f must be from 1 to 60000"
    _refused(message, "f", lambda: rules.checked_rate_limit(value, field="f"))


def test_an_expiry_must_be_after_now() -> None:
    assert rules.checked_expiry(None, field="f", now=NOW) is None
    assert rules.checked_expiry(NOW + 1, field="f", now=NOW) == NOW + 1
    for value in (NOW, NOW - 1):
        message = "f must be in the future"
        _refused(message, "f", lambda v=value: rules.checked_expiry(v, field="f", now=NOW))


def test_a_grace_is_from_0_seconds_to_30_days() -> None:
    assert [rules.checked_grace(seconds) for seconds in (0, 1)] == [0, 1_000_000]
    assert rules.checked_grace(2_592_000) == 2_592_000_000_000
    for seconds in (-1, 2_592_001):
        message = "grace_seconds must be from 0 to 2592000"
        _refused(message, "grace_seconds", lambda s=seconds: rules.checked_grace(s))


@pytest.mark.parametrize(
    "value",
    [{}, {"k": "x" * 4_088}, {"k": "\xe9" * 2_044}, {"a": 1, "k": "x" * 4_082}],
)
def test_metadata_has_at_most_4096_bytes_of_compact_json(value: dict[str, Any]) -> None:
    assert rules.checked_metadata(value) == value
    assert rules.checked_metadata(value) is not value
    larger = {**value, "k": value.get("k", "x" * 4_088) + "x"}
    message = "f must be at most 4096 bytes"
    _refused(message, "f", lambda: rules.checked_metadata(larger, field="f"))


@pytest.mark.parametrize(("own", "limit"), [(None, 100), (99, 99), (100, 100), (101, 100)])
def test_a_default_limit_is_at_most_the_callers_own(own: int | None, limit: int) -> None:
    assert rules.default_rate_limit(100, replace(CALLER, rate_limit=own)) == limit


@pytest.mark.parametrize(
    ("caller", "expires_at", "limit", "excess", "listed"),
    [
        (BOUNDED, NOW + SECOND, 60, {"expires_at": LATER}, f'expires_at: "{LATER}"'),
        (BOUNDED, NOW + 1, 60, {"expires_at": NOW_TEXT}, f'expires_at: "{NOW_TEXT}"'),
        (BOUNDED, NOW, 61, {"rate_limit": 61}, "rate_limit: 61"),
        (BOUNDED, None, 60, {"expires_at": None}, "expires_at: null"),
        (BOUNDED, NOW, None, {"rate_limit": None}, "rate_limit: null"),
        (BOUNDED, None, 61, BOTH, "expires_at: null; rate_limit: 61"),
        *(
            (caller, 1, 1, {"scopes": ["agents:read"]}, 'scopes: ["agents:read"]')
            for caller in (replace(CALLER, grants=Grants()), replace(BOUNDED, grants=Grants()))
        ),
    ],
)
def test_a_key_cannot_have_more_than_the_key_that_mints_it(
    caller: Principal, expires_at: int | None, limit: int | None, excess: Any, listed: str
) -> None:
    with pytest.raises(GrantsExceeded) as refused:
        reach.check(Reach.of(caller), Reach(READ, expires_at, limit))
    assert refused.value.details == excess
    assert refused.value.message == f"Beyond this key's own grants: {listed}"


@pytest.mark.parametrize(
    ("caller", "expires_at", "limit"),
    [
        *((CALLER, None, None), (CALLER, NOW, 60)),
        *((BOUNDED, NOW, 60), (BOUNDED, NOW - 1, 59)),
    ],
)
def test_a_key_may_have_just_as_much_as_the_key_that_mints_it(
    caller: Principal, expires_at: int | None, limit: int | None
) -> None:
    reach.check(Reach.of(caller), Reach(READ, expires_at, limit))


def test_the_reach_of_a_key_is_its_grants_expiry_and_limit_while_enabled() -> None:
    key = replace(KEY, expires_at=NOW, rate_limit=60)
    assert rules.reach_of(key) == Reach(READ, NOW, 60, frozenset({LIVE}))
    assert rules.reach_of(replace(key, enabled=False)) == Reach(READ, NOW, 60, frozenset())
    assert rules.reach_of(rules.new_key(REQUEST, caller=BOUNDED, default_limit=100, now=NOW)) == (
        Reach(Grants(("agents:*",)), None, 60)
    )


def test_grants_beyond_the_owners_ceiling_are_refused() -> None:
    rules.check_ceiling(READ, READ)
    with pytest.raises(GrantsExceeded) as refused:
        rules.check_ceiling(READ, Grants())
    assert refused.value.message == 'Beyond the owner\'s ceiling: scopes: ["agents:read"]'
    assert refused.value.details == {"scopes": ["agents:read"]}


@pytest.mark.parametrize(
    ("owner", "is_admin", "seen"),
    [("i1", False, True), ("i2", False, False), ("i2", True, True), ("i1", True, True)],
)
def test_admins_see_all_keys_and_others_their_own(
    owner: str, *, is_admin: bool, seen: bool
) -> None:
    caller = replace(CALLER, is_admin=is_admin)
    assert rules.may_see(replace(KEY, owner=owner), caller) is seen


@pytest.mark.parametrize(
    ("revoked", "expires", "enabled", "status", "listed"),
    [
        (None, None, True, "active", (True, True)),
        (None, None, False, "disabled", (True, True)),
        (NOW + 1, NOW + 1, True, "active", (True, True)),
        (NOW, None, False, "revoked", (False, False)),
        (NOW - 1, NOW - 1, True, "revoked", (False, False)),
        (None, NOW, False, "expired", (False, True)),
        (NOW + 1, NOW - 1, True, "expired", (False, True)),
    ],
)
def test_status_and_lists_change_at_the_very_moment(
    revoked: int | None, expires: int | None, status: str, listed: Any, *, enabled: bool
) -> None:
    key = replace(KEY, revoked_at=revoked, expires_at=expires, enabled=enabled)
    assert rules.status(key, NOW) is KeyStatus(status)
    assert rules.is_revoked(key, NOW) is (revoked is not None and status == "revoked")
    assert rules.is_expired(key, NOW) is (expires in {NOW, NOW - 1})
    assert rules.is_revoked(replace(key, ended=True, revoked_at=NOW + 1), NOW), "a slow clock"
    filters = (KeyFilter.LIVE, KeyFilter.UNREVOKED, KeyFilter.ALL)
    assert tuple(rules.is_listed(key, which, NOW) for which in filters) == (*listed, True)


@pytest.mark.parametrize(
    ("expires", "revoked", "end"),
    [(None, None, 105), (104, None, 104), (None, 103, 103), (104, 103, 103), (106, 107, 105)],
)
def test_a_rotated_key_ends_at_the_earliest_of_its_ends(
    expires: int | None, revoked: int | None, end: int
) -> None:
    assert rules.end_of_grace(replace(KEY, expires_at=expires, revoked_at=revoked), 5, 100) == end


def test_an_audit_event_shows_ten_fields_of_a_key() -> None:
    view = {
        "name": "Ada",
        "owner": "identity:i1",
        "key_prefix": "hk_0000",
        "enabled": True,
        "scopes": ["agents:read"],
        "permissions": OPEN,
        "metadata": '{"a":2,"b":1.5}',
        "expires_at": None,
        "rate_limit": None,
        "revoked_at": None,
    }
    assert rules.audit_view(KEY) == view
    ended = replace(KEY, enabled=False, expires_at=NOW, rate_limit=60, revoked_at=NOW + SECOND)
    changed = {"enabled": False, "expires_at": NOW_TEXT, "rate_limit": 60, "revoked_at": LATER}
    assert rules.audit_view(ended) == {**view, **changed}

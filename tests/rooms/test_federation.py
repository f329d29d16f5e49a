"""Stored peers and the signals that they send."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.core.errors import (
    BadInput,
    BoundReached,
    FieldRequired,
    Forbidden,
    IdempotencyReused,
    NotFound,
    RateLimited,
    Unauthorized,
)
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.federation import actions as federation
from gatehouse.federation import rules
from gatehouse.federation.model import MOST_PEERS, Trusted
from gatehouse.secrets.actions import Vault
from support.actors.members import proof, received, trusted, unlimited_admin
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_invariants, counter_value, kind

WINDOW_MS = 5 * 60 * 1_000


def send(caller: Visitor, vault: Vault, trust: Trusted, **options: Any) -> federation.Received:
    one = options.pop("shown", None) or proof(
        options.pop("secret", trust.secret), b"{}", caller.now, **options.pop("proof", {})
    )
    peer_id = options.pop("peer_id", trust.peer.id)
    return received(caller.tables, vault, peer_id, one, now=caller.now, **options)


def test_a_trusted_peers_signal_is_stored_and_gets_a_receipt(caller: Visitor, vault: Vault) -> None:
    trust = trusted(caller, vault)
    assert len(trust.secret) == 64
    assert trust.secret not in repr(trust)
    answer = send(caller, vault, trust, raw=b"{}", content="hello")
    body_hash = hashlib.sha256(b"{}").hexdigest()
    assert answer.receipt == rules.receipt(
        trust.secret, signal_id=answer.signal_id, body_hash=body_hash
    )
    state = check_invariants(caller.tables, now=caller.now)
    (signal,), (mark,) = kind(state, "SIGNAL#"), kind(state, "FANOUT#")
    assert (mark["sk"], mark["account_id"]) == (signal["sk"], trust.peer.account_id)
    assert (signal["content"], signal["origin_peer"]) == ("hello", f"peer:{trust.peer.id}")
    assert (signal["fanout"], signal["from_identity"]) == ("wanted", "agent-7")


def test_no_stored_item_contains_a_peers_secret_in_plain(caller: Visitor, vault: Vault) -> None:
    trust = trusted(caller, vault)
    everything = repr(State(caller.tables).main).encode()
    assert trust.secret.encode() not in everything
    assert repr(bytes.fromhex(trust.secret)).encode()[2:-1] not in everything


def test_each_peer_can_use_a_nonce_once(caller: Visitor, vault: Vault) -> None:
    one, two = trusted(caller, vault), trusted(caller, vault)
    again = {"nonce": "once-only"}
    assert send(caller, vault, one, proof=again)
    with pytest.raises(Unauthorized):
        send(caller, vault, one, proof=again)
    assert send(caller, vault, two, proof=again)
    for item in kind(check_invariants(caller.tables, now=caller.now), "NONCE#"):
        assert item["ttl"] * SECOND >= caller.now + 5 * MINUTE


def test_of_two_concurrent_equal_requests_one_is_stored(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    trust = trusted(caller, vault)
    one = proof(trust.secret, b"{}", caller.now)
    others = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(send(caller, vault, trust, shown=one))

    room_line.before = between
    with pytest.raises(Unauthorized):
        send(caller, vault, trust, shown=one)
    assert len(others) == len(kind(check_invariants(caller.tables, now=caller.now), "SIGNAL#")) == 1


def test_a_peer_removed_while_it_sends_stores_nothing(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    trust = trusted(caller, vault)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            federation.remove(caller.tables, caller.call(), trust.peer.id)

    room_line.before = between
    with pytest.raises(Unauthorized):
        send(caller, vault, trust)
    assert kind(check_invariants(caller.tables, now=caller.now), "SIGNAL#") == []


def test_every_wrong_proof_is_the_same_error_and_stores_nothing(
    caller: Visitor, vault: Vault
) -> None:
    trust, other = trusted(caller, vault), trusted(caller, vault)
    passing = trusted(caller, vault, expires_at=caller.now + 1)
    gone = trusted(caller, vault)
    federation.remove(caller.tables, caller.call(), gone.peer.id)
    caller.now += 1
    before = State(caller.tables).main
    wrong: list[tuple[Trusted, dict[str, Any]]] = [
        (trust, {"secret": other.secret}),
        (trust, {"secret": ""}),
        (trust, {"peer_id": other.peer.id}),
        (trust, {"peer_id": caller.account_id}),
        (trust, {"peer_id": None}),
        (trust, {"raw": b"{} "}),
        (trust, {"proof": {"timestamp": caller.now // 1_000 - WINDOW_MS - 1}}),
        (trust, {"proof": {"timestamp": caller.now // 1_000 + WINDOW_MS + 1}}),
        (passing, {}),
        (gone, {}),
    ]
    errors = set()
    for peer, changes in wrong:
        with pytest.raises(Unauthorized) as refused:
            send(caller, vault, peer, **changes)
        errors.add((refused.value.code, refused.value.message))
    with pytest.raises(Unauthorized) as refused:
        received(caller.tables, vault, trust.peer.id, None, now=caller.now)
    errors.add((refused.value.code, refused.value.message))
    assert errors == {("FEDERATION_INVALID_PROOF", "The peer or its proof is not valid")}
    assert State(caller.tables).main == before


def test_a_peer_expires_to_the_microsecond(caller: Visitor, vault: Vault) -> None:
    trust = trusted(caller, vault, expires_at=caller.now + MINUTE)
    caller.now += MINUTE - 1
    assert send(caller, vault, trust)
    caller.now += 1
    with pytest.raises(Unauthorized):
        send(caller, vault, trust)
    with pytest.raises(BadInput, match="expires_at"):
        trusted(caller, vault, expires_at=caller.now)


@pytest.mark.parametrize("signal_type", SIGNAL_TYPES)
def test_a_peer_can_send_only_types_that_its_scopes_name(
    caller: Visitor, vault: Vault, signal_type: str
) -> None:
    one = trusted(caller, vault, allowed_scopes=[f"signal:{signal_type}"])
    everything, nothing = trusted(caller, vault), trusted(caller, vault, allowed_scopes=[])
    assert send(caller, vault, one, signal_type=signal_type)
    assert send(caller, vault, everything, signal_type=signal_type)
    other = next(name for name in SIGNAL_TYPES if name != signal_type)
    for peer, sent in ((one, other), (one, "*"), (one, "noise"), (nothing, signal_type)):
        with pytest.raises(Forbidden) as refused:
            send(caller, vault, peer, signal_type=sent)
        assert refused.value.code == "FEDERATION_SCOPE_DENIED"
    for unknown in ("*", "noise", ""):
        with pytest.raises(BadInput):
            send(caller, vault, everything, signal_type=unknown)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"content": " "}, FieldRequired),
        ({"content": "c" * 65_537}, BadInput),
        ({"from_identity": ""}, FieldRequired),
        ({"from_identity": "n" * 201}, BadInput),
        ({"from_identity": "a\nb"}, BadInput),
    ],
)
def test_a_signal_out_of_bounds_is_refused_without_using_the_nonce(
    caller: Visitor, vault: Vault, fields: dict[str, str], error: type[Exception]
) -> None:
    trust = trusted(caller, vault)
    one = proof(trust.secret, b"{}", caller.now)
    with pytest.raises(error):
        send(caller, vault, trust, shown=one, **fields)
    assert send(caller, vault, trust, shown=one, content="c" * 65_536)


def test_an_account_has_at_most_100_peers_and_removing_one_makes_room(
    caller: Visitor, vault: Vault
) -> None:
    trust = [trusted(caller, vault) for _ in range(MOST_PEERS)]
    with pytest.raises(BoundReached, match="at most 100"):
        trusted(caller, vault)
    state = check_invariants(caller.tables, now=caller.now)
    assert counter_value(state, f"PEERS#{caller.account_id}") == MOST_PEERS
    federation.remove(caller.tables, caller.call(), trust[7].peer.id)
    trusted(caller, vault)
    assert len(federation.list_peers(caller.tables.main, caller.account_id, 0)) == MOST_PEERS


def test_another_accounts_peer_cannot_be_removed(caller: Visitor, vault: Vault) -> None:
    trust = trusted(caller, vault)
    stranger = unlimited_admin(caller.tables)
    with pytest.raises(NotFound):
        federation.remove(caller.tables, stranger.call(), trust.peer.id)
    assert federation.list_peers(caller.tables.main, stranger.account_id, 0) == []
    assert send(caller, vault, trust)


def test_of_two_concurrent_removals_of_a_peer_one_succeeds(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    trust = trusted(caller, vault)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            federation.remove(caller.tables, caller.call(), trust.peer.id)

    room_line.before = between
    with pytest.raises(NotFound):
        federation.remove(caller.tables, caller.call(), trust.peer.id)
    check_invariants(caller.tables, now=caller.now)


def test_a_trust_repeated_with_its_idempotency_key_names_the_peer(
    caller: Visitor, vault: Vault
) -> None:
    call = caller.call(token="once")
    fields = {"name": "o", "endpoint": "https://o.example", "allowed_scopes": None}
    trust = federation.trust(caller.tables, call, vault, **fields, expires_at=caller.now + DAY)
    with pytest.raises(IdempotencyReused) as again:
        federation.trust(caller.tables, call, vault, **fields, expires_at=caller.now + DAY)
    assert again.value.details == {"id": f"peer:{trust.peer.id}"}
    check_invariants(caller.tables, now=caller.now)


@pytest.mark.parametrize("limit", [1, 2])
def test_two_signals_at_once_are_both_counted(
    caller: Visitor, vault: Vault, room_line: Wire, limit: int
) -> None:
    slow = replace(caller, principal=replace(caller.principal, rate_limit=limit))
    trust = trusted(slow, vault)

    def another_first(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            send(caller, vault, trust)

    room_line.before = another_first
    if limit == 1:
        with pytest.raises(RateLimited) as refused:
            send(caller, vault, trust)
        assert refused.value.retry_after == 60
    else:
        send(caller, vault, trust)
    stored = kind(check_invariants(caller.tables, now=caller.now), "SIGNAL#")
    assert len(stored) == limit
    with pytest.raises(RateLimited):
        send(caller, vault, trust)


def test_a_peer_sends_as_many_signals_as_its_limit_however_they_come(
    caller: Visitor, vault: Vault
) -> None:
    trust = trusted(replace(caller, principal=replace(caller.principal, rate_limit=4)), vault)
    sent = 0
    for _ in range(30):  # one each five seconds: 4 at once, then one each 15 seconds
        with contextlib.suppress(RateLimited):
            send(caller, vault, trust)
            sent += 1
        caller = replace(caller, now=caller.now + 5 * SECOND)
    assert sent == 4 + 145 // 15

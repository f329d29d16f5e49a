"""Peers at their bounds: the form and time of proofs, endpoints, scopes and what a peer may do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.clock import SECOND
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants, Permissions
from gatehouse.core.maker import Maker
from gatehouse.core.principal import Principal
from gatehouse.core.reach import Reach, beyond
from gatehouse.federation import rules
from gatehouse.federation.model import SCOPES, Peer, Proof

NOON = 1_800_000_000
PROOF = {"signature": "a" * 64, "timestamp": 5, "nonce": "n" * 8, "body_hash": "0" * 64}
MAKER = Maker("identity:i1", "api_key:k1")
PEER = Peer(
    "p1", "a1", "Berlin", "https://b.example", ("signal:task",), NOON * SECOND, 1, 60, MAKER
)
GRANTS = Grants(("agents:write",), Permissions(signal_types=("task",)))
CALLER = Principal(
    key_id="k1",
    account_id="a1",
    identity_id="i1",
    key_prefix="p",
    grants=GRANTS,
    is_admin=False,
    claw_type="employee",
    membership="active",
    operator=False,
)


@pytest.mark.parametrize(
    "fields", [{}, {"nonce": "!" * 128}, {"nonce": "~" * 8}, {"signature": "f" * 64}]
)
def test_a_well_formed_proof_is_read_with_all_fields(fields: dict[str, Any]) -> None:
    given = {**PROOF, **fields}
    assert rules.read_proof(json.dumps(given)) == Proof(**given)


@pytest.mark.parametrize(
    "fields",
    [
        *({name: value} for name in PROOF for value in (None, True, 1.0, [])),
        *({name: "a" * length} for name in ("signature", "body_hash") for length in (63, 65)),
        *({"signature": "A" * 64}, {"body_hash": "g" * 64}, {"timestamp": "5"}),
        *({"nonce": "n" * 7}, {"nonce": "n" * 129}, {"nonce": "n n n n n"}, {"nonce": "\x7f" * 8}),
    ],
)
def test_a_malformed_field_makes_a_proof_unreadable(fields: dict[str, Any]) -> None:
    assert rules.read_proof(json.dumps({**PROOF, **fields})) is None


def test_a_proof_has_all_fields_and_at_most_1024_characters() -> None:
    text = json.dumps(PROOF)
    assert rules.read_proof(text.ljust(1_024)) == Proof(**PROOF)  # type: ignore[arg-type]
    assert rules.read_proof(text.ljust(1_025)) is None
    for name in PROOF:
        assert rules.read_proof(json.dumps({**PROOF, name + "~": 1, name: None})) is None
        assert rules.read_proof(json.dumps({k: v for k, v in PROOF.items() if k != name})) is None
    for other in ("", "[]", "1", "[" * 1_000):
        assert rules.read_proof(other) is None


@pytest.mark.parametrize(
    ("late", "valid"),
    [
        *((300 * SECOND, True), (300 * SECOND + 1, False), (0, True)),
        *((-300 * SECOND, True), (-300 * SECOND - 1, False)),
    ],
)
def test_a_proof_is_valid_for_exactly_five_minutes_both_ways(late: int, *, valid: bool) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    signed = rules.sign("s", method="POST", body_hash=empty, timestamp=NOON * 1_000, nonce="n" * 8)
    proof = Proof(signed, NOON * 1_000, "n" * 8, empty)
    now = NOON * SECOND + late
    assert rules.is_valid(proof, "s", method="POST", body=b"", now=now) is valid
    assert not rules.is_valid(proof, "s", method="POST", body=b"x", now=now)
    assert not rules.is_valid(proof, "t", method="POST", body=b"", now=now)


def test_a_nonce_is_stored_for_six_minutes_after_its_proof() -> None:
    assert rules.nonce_ends_at(Proof("", 1_000, "", "")) == 361_000_000
    assert (rules.WINDOW, rules.SECRET_BYTES) == (300_000_000, 32)


@pytest.mark.parametrize(
    "url", ["https://b", "https://b:1/p?q", "HTTPS://b", "https://b/".ljust(2_048, "a")]
)
def test_an_https_endpoint_is_returned_unchanged(url: str) -> None:
    assert rules.check_endpoint(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "http://b", "https://", "https:///p", "https://u@b", "https://@b", "https://b#f"),
        *(
            "https://b#",
            "https://b:0",
            "https://b:65536",
            "https://b:x",
            "https://b/ ",
            "https://[b",
        ),
        *("https://b/\xe9", "https://b/\x7f", "https://b/".ljust(2_049, "a")),
    ],
)
def test_another_endpoint_is_refused_with_its_field(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_endpoint(url)
    assert refused.value.details == {"field": "endpoint"}


def test_scopes_are_checked_and_repeated_ones_dropped() -> None:
    assert rules.check_scopes(None) == ("signal:*",)
    assert rules.check_scopes(()) == ()
    assert rules.check_scopes(["signal:task", "signal:*", "signal:task"]) == (
        "signal:task",
        "signal:*",
    )
    with pytest.raises(BadInput) as refused:
        rules.check_scopes(["signal:task", "x", "y" * 300])
    assert refused.value.details == {"field": "allowed_scopes", "allowed": list(SCOPES)}
    assert str(refused.value).startswith(f"Unknown scope: x, {'y' * 197}. Allowed: signal:*, ")


@pytest.mark.parametrize(
    ("tat", "next_at", "wait"),
    [(None, 0, 0), (5, 9, 0), (6, 9, 4), (6, 6, 1), (6, 5, 0), (6, -3, 0)],
)
def test_a_busy_peer_waits_until_its_next_signal(tat: int | None, next_at: int, wait: int) -> None:
    assert rules.wait(replace(PEER, tat=tat, next_at=next_at), 5) == wait


END = "2027-01-15T08:00:00.000Z"


def _restricted(**lists: tuple[str, ...]) -> Grants:
    return Grants(("agents:write",), Permissions(**lists))


@pytest.mark.parametrize(
    ("peer", "caller", "excess"),
    [
        ({}, {}, {}),
        ({}, {"expires_at": NOON * SECOND}, {}),
        ({}, {"expires_at": NOON * SECOND - 1}, {"expires_at": END}),
        ({"expires_at": None}, {}, {}),
        ({"expires_at": None}, {"expires_at": NOON * SECOND}, {"expires_at": None}),
        ({}, {"grants": Grants(("agents:read",))}, {"scopes": ["agents:write"]}),
        ({"allowed_scopes": ("signal:*",)}, {}, {"allowed_scopes": ["signal:*"]}),
        ({"allowed_scopes": ("signal:*",)}, {"grants": Grants(("agents:write",))}, {}),
        ({}, {"grants": _restricted(ring_scopes=("red",))}, {"ring_scopes": ["*"]}),
        ({}, {"grants": _restricted(task_types=("build",))}, {"task_types": ["*"]}),
        (
            {"allowed_scopes": ("signal:pulse",)},
            {"grants": _restricted(task_types=("build",), memory_scopes=("list",))},
            {},
        ),
        ({"allowed_scopes": ()}, {"grants": Grants()}, {}),
        ({"allowed_scopes": ()}, {"rate_limit": 59}, {"rate_limit": 60}),
        ({}, {"rate_limit": 60}, {}),
        ({}, {"rate_limit": 59}, {"rate_limit": 60}),
        ({"allowed_scopes": ()}, {"expires_at": 1}, {"expires_at": END}),
    ],
)
def test_excess_lists_only_what_the_caller_cannot_do(
    peer: dict[str, Any], caller: dict[str, Any], excess: dict[str, Any]
) -> None:
    assert (
        beyond(Reach.of(replace(CALLER, **caller)), rules.reach_of(replace(PEER, **peer))) == excess
    )


def test_a_peer_may_send_the_types_of_its_scopes() -> None:
    assert rules.may_send(PEER, "task")
    assert not rules.may_send(PEER, "ping")
    assert rules.may_send(replace(PEER, allowed_scopes=("signal:*",)), "ping")


def test_an_audit_event_shows_what_a_peer_may_do() -> None:
    view = {
        "name": "Berlin",
        "endpoint": "https://b.example",
        "allowed_scopes": ["signal:task"],
        "expires_at": END,
        "rate_limit": 60,
        "created_by": "identity:i1",
        "created_by_key": "api_key:k1",
    }
    assert rules.audit_view(PEER) == view
    assert rules.audit_view(replace(PEER, expires_at=None)) == {**view, "expires_at": None}


ID = "01a0c450-6c00-7d3f-a354-9a17c4ef93c5"


@pytest.mark.parametrize(
    "name", ["agent-7", "Bo", "bo@berlin.example", "night_shift 2", "0", "a" * 200, ID[:-1]]
)
def test_a_plain_name_of_a_sender_stays_as_it_is(name: str) -> None:
    assert rules.sender(PEER, name) == name


@pytest.mark.parametrize(
    "name",
    [
        f"identity:{ID}",
        "identity:agent-7",
        "IDENTITY:x",
        "system:gatehouse",
        "api_key:x",
        "peer:p2",
        "peer:p1/agent-7",
        "identity\uff1ax",
        "identity\u02d0x",
        "\u0131dentity",
        ID,
        ID.upper(),
        ID.replace("-", ""),
        "anonymous",
        "System",
        "gatehouse",
        "山田",
        "a/b",
    ],
)
def test_a_name_that_could_be_mistaken_for_ours_is_marked(name: str) -> None:
    assert rules.sender(PEER, name) == f"peer:p1/{name}"

"""Proofs of peers: their format, and that any altered part is refused; what a peer may be."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import (
    BadInput,
)
from gatehouse.federation import rules
from gatehouse.federation.model import SCOPES, Proof
from support.actors.members import proof

SECRET = "not a secret, only a test's"
NOW = 1_800_000_000 * SECOND
BODY = b'{"signal_type":"task"}'
WINDOW_MS = 5 * 60 * 1_000


def make_proof(**fields: Any) -> Proof:
    return proof(SECRET, BODY, NOW, **fields)


def is_valid(one: Proof, *, secret: str = SECRET, body: bytes = BODY, method: str = "POST") -> bool:
    return rules.is_valid(one, secret, method=method, body=body, now=NOW)


def test_the_format_of_a_proof_is_pinned() -> None:
    """The format is published: other programs write it."""
    body_hash = hashlib.sha256(BODY).hexdigest()
    text = f"POST\n{body_hash}\n1800000000123\nnonce-12345"
    signature = rules.sign(
        SECRET, method="POST", body_hash=body_hash, timestamp=1_800_000_000_123, nonce="nonce-12345"
    )
    assert signature == hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    receipt = rules.receipt(SECRET, signal_id="s1", body_hash=body_hash)
    text = f"receipt\ns1\n{body_hash}"
    assert receipt == hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("milliseconds", "valid"),
    [
        (0, True),
        (WINDOW_MS, True),
        (-WINDOW_MS, True),
        (WINDOW_MS + 1, False),
        (-WINDOW_MS - 1, False),
        (-NOW // 1_000, False),
        (10**15, False),
    ],
)
def test_a_proof_is_valid_within_five_minutes_to_the_millisecond(
    milliseconds: int, *, valid: bool
) -> None:
    assert is_valid(make_proof(timestamp=NOW // 1_000 + milliseconds)) == valid


def test_a_used_nonce_is_stored_as_long_as_its_proof_could_be_valid() -> None:
    late = make_proof(timestamp=NOW // 1_000 + WINDOW_MS)
    assert rules.nonce_ends_at(late) > NOW + 2 * 5 * MINUTE


@given(st.integers(0, len(BODY) * 8 - 1))
def test_a_body_with_any_altered_bit_is_refused(bit: int) -> None:
    altered = bytearray(BODY)
    altered[bit // 8] ^= 1 << bit % 8
    assert not is_valid(make_proof(), body=bytes(altered))


@given(st.sampled_from(["signature", "body_hash", "nonce"]), st.data())
def test_a_proof_with_any_altered_character_is_refused(part: str, data: st.DataObject) -> None:
    whole = make_proof()
    text = getattr(whole, part)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in "0123456789abcdef" if c != text[at]]))
    assert not is_valid(replace(whole, **{part: text[:at] + other + text[at + 1 :]}))


@given(st.integers(-WINDOW_MS, WINDOW_MS).filter(bool))
def test_a_proof_with_an_altered_timestamp_is_refused(by: int) -> None:
    whole = make_proof()
    assert not is_valid(replace(whole, timestamp=whole.timestamp + by))


@given(st.text(max_size=80))
def test_a_proof_of_another_secret_is_refused(secret: str) -> None:
    assert is_valid(make_proof(), secret=secret) == (secret == SECRET)


def test_method_and_body_hash_are_signed() -> None:
    assert not is_valid(make_proof(), method="PUT")
    other = b"other"
    swapped = replace(make_proof(), body_hash=hashlib.sha256(other).hexdigest())
    assert not is_valid(swapped, body=other)


def _header(**fields: Any) -> str:
    whole = make_proof()
    parts = {
        "signature": whole.signature,
        "timestamp": whole.timestamp,
        "nonce": whole.nonce,
        "body_hash": whole.body_hash,
    }
    return json.dumps({name: value for name, value in (parts | fields).items() if value != "-"})


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "[1, 2]", "null", "5", '"text"', "{}", "NaN", "[" * 1_000, "x" * 1_025),
        *(_header(**{part: "-"}) for part in ("signature", "timestamp", "nonce", "body_hash")),
        *(_header(timestamp=value) for value in ("1", 1.5, True, None, [1], 1e300)),
        *(_header(nonce=value) for value in ("short", "n" * 129, "with space", "é" * 8, 12345678)),
        *(_header(nonce=value) for value in ("line\nbreak", "null\x00null", "")),
        *(_header(signature=value) for value in ("", "F" * 64, "f" * 63, "f" * 65, "٣" * 64, 5)),
        *(_header(body_hash=value) for value in ("", "F" * 64, "f" * 63, "f" * 65, None, {})),
    ],
)
def test_a_malformed_header_is_read_as_none(text: str) -> None:
    assert rules.read_proof(text) is None


@given(st.text(max_size=200))
def test_reading_a_header_of_any_text_raises_nothing(text: str) -> None:
    rules.read_proof(text)
    rules.read_proof(_header(nonce=text))


@pytest.mark.parametrize("nonce", ["12345678", "n" * 128, "!~#$%&'()*+"])
def test_a_well_formed_header_is_read(nonce: str) -> None:
    found = rules.read_proof(_header(nonce=nonce, more="ignored"))
    assert found is not None
    assert found.nonce == nonce


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "https://", "http://a.example", "ftp://a.example", "//a.example", "a.example"),
        *("https://u@a.example", "https://u:p@a.example", "https://@a.example"),
        *("https://a.example/#", "https://a.example#x", "https://a.example:0", "https://a:99999"),
        *("https://a.example:x", "https://[::1", "https://a.example/\r\nX: y", "https://a b"),
        *("https://exämple.example", "https://a.example/" + "x" * 2_048, " https://a.example"),
        *("https://a.example/\x00", "https://a.example/\x7f"),
    ],
)
def test_an_endpoint_other_than_a_plain_https_url_is_refused(endpoint: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_endpoint(endpoint)
    assert refused.value.details == {"field": "endpoint"}


@pytest.mark.parametrize(
    "endpoint", ["https://a.example", "https://a.example:8443/x?y=1", "HTTPS://a.example/in"]
)
def test_an_https_endpoint_is_returned_unchanged(endpoint: str) -> None:
    assert rules.check_endpoint(endpoint) == endpoint


def test_scopes_name_all_signals_or_some_types() -> None:
    assert rules.check_scopes(None) == ("signal:*",)
    assert rules.check_scopes(SCOPES) == SCOPES
    assert rules.check_scopes(["signal:task", "signal:task"]) == ("signal:task",)
    assert rules.check_scopes([]) == ()
    for unknown in ("signal:noise", "task", "*", "signal:", "admin:manage"):
        with pytest.raises(BadInput, match="Unknown scope"):
            rules.check_scopes(["signal:task", unknown])

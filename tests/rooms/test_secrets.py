"""Secrets: encrypted for one place, unreadable elsewhere, not stored while KMS is unavailable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.table import Tables, transact
from gatehouse.secrets import actions as secrets
from gatehouse.secrets import rules, store, writes
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place, Purpose, Sealed
from support.aws.faults import Wire, error, unreachable, wire
from support.checks.inspection import State

PLACE = Place(Purpose.PEER, "account-a", "peer-1")
KEY, NONCE = bytes(range(32)), bytes(range(12))
MARK = "5ec2e7" * 8
ELSEWHERE = [
    replace(PLACE, purpose=Purpose.NONCE),
    replace(PLACE, account_id="account-b"),
    replace(PLACE, name="peer-2"),
    replace(PLACE, origin="https://a.example:443"),
]


def sealed(place: Place = PLACE, text: str = MARK) -> Sealed:
    return rules.seal(place, text, key=KEY, wrapped_key=b"wrapped", nonce=NONCE)


def test_the_associated_data_of_a_secret_is_pinned() -> None:
    """Every stored secret depends on these bytes."""
    assert rules.aad(PLACE) == b'{"account":"account-a","name":"peer-1","purpose":"peer"}'
    assert PLACE.context() == {"purpose": "peer", "account": "account-a", "name": "peer-1"}
    bound = replace(PLACE, origin="https://a.example:443")
    assert rules.aad(bound) == (
        b'{"account":"account-a","name":"peer-1","origin":"https://a.example:443","purpose":"peer"}'
    )


def test_the_format_of_a_sealed_secret_is_pinned() -> None:
    assert sealed(text="abc").ciphertext.hex() == "2660b5c5f94c7eb1fc2f55137d2797d5297a6c"


@given(st.text(max_size=50))
def test_unsealing_in_the_same_place_returns_the_plaintext(text: str) -> None:
    assert rules.unseal(PLACE, sealed(text=text), key=KEY) == text


@pytest.mark.parametrize("place", ELSEWHERE, ids=lambda place: str(place.context()))
def test_unsealing_in_another_place_fails_in_the_cipher(place: Place) -> None:
    with pytest.raises(rules.WrongPlace):
        rules.unseal(place, sealed(), key=KEY)


@given(st.data())
def test_unsealing_after_any_bit_changed_fails_in_the_cipher(data: st.DataObject) -> None:
    whole = sealed()
    part = data.draw(st.sampled_from(["ciphertext", "nonce"]))
    raw = bytearray(getattr(whole, part))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(rules.WrongPlace):
        rules.unseal(PLACE, replace(whole, **{part: bytes(raw)}), key=KEY)


def test_unsealing_with_another_key_fails_in_the_cipher() -> None:
    with pytest.raises(rules.WrongPlace):
        rules.unseal(PLACE, sealed(), key=bytes(32))


def test_the_repr_of_a_sealed_secret_shows_neither_key_nor_text() -> None:
    assert repr(b"wrapped") not in repr(sealed())
    assert MARK not in repr(sealed())


@pytest.fixture
def kms(vault: Vault) -> Iterator[Wire]:
    with wire(vault.client, service="kms") as watching:
        yield watching


def test_a_stored_secret_has_no_plaintext_and_its_own_data_key(
    tables: Tables, vault: Vault
) -> None:
    for name in ("one", "two"):
        place = replace(PLACE, name=name)
        transact(tables.main.client, [writes.put_new(tables.main, vault, place, MARK)])
        assert secrets.read(tables.main, vault, place) == MARK
    one, two = State(tables).main
    assert MARK.encode() not in repr((one, two)).encode()
    assert bytes.fromhex(MARK) not in bytes(one["ciphertext"])
    for part in ("ciphertext", "nonce", "wrapped_key"):
        assert one[part] != two[part]


@pytest.mark.parametrize("place", ELSEWHERE, ids=lambda place: str(place.context()))
def test_a_secret_copied_to_another_place_cannot_be_read(
    tables: Tables, vault: Vault, place: Place
) -> None:
    """KMS checks the context; if it did not, the cipher would still fail."""
    moved = vault.seal(PLACE, MARK)
    with pytest.raises((ClientError, rules.WrongPlace)):
        vault.unseal(place, moved)
    transact(tables.main.client, [store.put_new(tables.main, place, moved)])
    with pytest.raises((ClientError, rules.WrongPlace)):
        secrets.read(tables.main, vault, place)


def test_kms_calls_carry_the_place_as_encryption_context(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[dict[str, Any]] = []
    client = vault.client
    for name in ("generate_data_key", "decrypt"):
        real = getattr(client, name)
        monkeypatch.setattr(
            client, name, lambda real=real, **request: requests.append(request) or real(**request)
        )
    vault.unseal(PLACE, vault.seal(PLACE, MARK))
    assert [one["EncryptionContext"] for one in requests] == [PLACE.context()] * 2
    assert [one["KeyId"] for one in requests] == [vault.key_id] * 2


def test_reading_a_missing_secret_returns_none_without_kms(
    tables: Tables, vault: Vault, kms: Wire
) -> None:
    assert secrets.read(tables.main, vault, PLACE) is None
    assert kms.calls == []


@pytest.mark.parametrize(
    "code",
    [
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "ThrottlingException",
        None,
    ],
)
def test_while_kms_is_unavailable_nothing_is_stored_or_read(
    tables: Tables, vault: Vault, kms: Wire, code: str | None
) -> None:
    whole = vault.seal(PLACE, MARK)
    kms.before = lambda *_: unreachable() if code is None else error(code)
    with pytest.raises(Unavailable):
        writes.put_new(tables.main, vault, PLACE, MARK)
    with pytest.raises(Unavailable):
        vault.unseal(PLACE, whole)
    with pytest.raises(Unavailable):
        secrets.stack_secret(tables.main, vault, Purpose.NONCE)
    assert State(tables).main == []


def test_a_permanent_kms_error_is_not_raised_as_unavailable(vault: Vault, kms: Wire) -> None:
    kms.before = lambda *_: error("AccessDeniedException")
    with pytest.raises(ClientError):
        vault.seal(PLACE, MARK)

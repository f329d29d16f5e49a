"""The settings key: its three forms, wrapping instead of KMS, and missing or wrong keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gatehouse.core.errors import SettingsKeyUnusable
from gatehouse.dynamo.table import Tables
from gatehouse.secrets import actions as secrets
from gatehouse.secrets import keyring, rules, writes
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import KMS, Place, Purpose, Sealed, SettingsKey
from support.aws.faults import Wire
from support.checks.inspection import State
from support.worlds.settings_keys import CURRENT, MARK, PLACE, PREVIOUS, KeyedStack

SECOND = replace(PLACE, name="peer-2")
RAW, NONCE, SALT = bytes(range(32)), bytes(range(12)), bytes(range(16))
HEX = RAW.hex()
OTHER = "ef" * 32
TEXT = "correct horse battery staple"

places = st.builds(Place, st.sampled_from(Purpose), st.text(max_size=20), st.text(max_size=20))
keys = st.binary(min_size=32, max_size=32).map(rules.settings_key)


# ---- Forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        HEX.upper(),
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode(),
    ],
)
def test_hex_and_base64_forms_are_read_as_the_same_32_bytes(text: str) -> None:
    assert rules.parse_key(text, variable=CURRENT) == RAW


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_can_be_written_as_hex_or_either_base64(raw: bytes) -> None:
    for text in (
        raw.hex(),
        *(e(raw).decode() for e in (base64.b64encode, base64.urlsafe_b64encode)),
    ):
        assert rules.parse_key(text, variable=CURRENT) == raw


@pytest.mark.parametrize("text", [TEXT, "p" * 16, "p" * 256, "a" * 63, "a" * 65, "grüße an alle €"])
def test_other_values_of_16_to_256_characters_are_texts(text: str) -> None:
    assert rules.parse_key(text.ljust(16, "."), variable=CURRENT) == text.ljust(16, ".")


@pytest.mark.parametrize(
    "text",
    [
        "p" * 15,
        "p" * 257,
        " " + TEXT,
        TEXT + "\n",
        "line\nfeed in between",
        "\0" * 20,
        " " * 20,
    ],
)
def test_a_malformed_key_is_refused_by_its_variable_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsKeyUnusable) as refused:
        rules.parse_key(text, variable=PREVIOUS)
    assert refused.value.message.startswith(f"{PREVIOUS} must be ")
    assert text not in refused.value.message


def test_an_empty_variable_means_no_key() -> None:
    assert rules.parse_key("", variable=CURRENT) is None


# ---- Stored bytes: every wrapped secret depends on them ------------------------------------------


def test_the_derived_id_and_wrapping_key_are_pinned() -> None:
    key = rules.settings_key(RAW)
    assert key.id == "env:296482778c1bed9c"
    assert key.wrapping.hex() == "28d0d9477f6ddd521663c1d7c8c28bee637901cb83cbc6ddaa103f7279aa3f69"


def test_the_bytes_stretched_from_a_text_are_pinned() -> None:
    assert (
        rules.stretch(TEXT, salt=SALT).hex()
        == "6705dba046cafbaba8de989bca88e0038ce03542d0c0cd96a8f956a72f86ee67"
    )


def test_the_bytes_of_a_wrapped_data_key_are_pinned() -> None:
    wrapped = rules.wrap(PLACE, RAW, key=rules.settings_key(RAW), nonce=NONCE)
    assert wrapped.hex() == (
        "000102030405060708090a0bbfd5c1ac10b36ac061d575820634cfb9221c"
        "bb0cece3769fa0a093ba9e6b12d603dbc82e6eef28d19a30de568067824a"
    )


def test_the_repr_of_a_key_or_keyring_shows_no_key() -> None:
    key = rules.settings_key(RAW)
    ring = keyring.Keyring(None, RAW, TEXT)  # type: ignore[arg-type]
    assert repr(key) == f"SettingsKey(id='{key.id}')"
    assert TEXT not in repr(ring)
    assert repr(RAW) not in repr(ring)


# ---- Wrapping and unwrapping ---------------------------------------------------------------------


@given(places, keys, st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12))
def test_unwrapping_returns_the_data_key_that_was_wrapped(
    place: Place, key: SettingsKey, data_key: bytes, nonce: bytes
) -> None:
    wrapped = rules.wrap(place, data_key, key=key, nonce=nonce)
    assert rules.unwrap(place, wrapped, key=key) == data_key
    assert data_key not in wrapped


@given(places, places, keys)
def test_a_data_key_cannot_be_unwrapped_in_another_place(
    place: Place, other: Place, key: SettingsKey
) -> None:
    wrapped = rules.wrap(place, RAW, key=key, nonce=NONCE)
    if place != other:
        with pytest.raises(rules.WrongPlace):
            rules.unwrap(other, wrapped, key=key)


@given(keys, keys)
def test_another_key_cannot_unwrap_and_has_another_id(one: SettingsKey, other: SettingsKey) -> None:
    wrapped = rules.wrap(PLACE, RAW, key=one, nonce=NONCE)
    if one != other:
        assert one.id != other.id
        with pytest.raises(rules.WrongPlace):
            rules.unwrap(PLACE, wrapped, key=other)


@given(st.data())
def test_an_altered_or_shortened_data_key_cannot_be_unwrapped(data: st.DataObject) -> None:
    key = rules.settings_key(RAW)
    whole = rules.wrap(PLACE, RAW, key=key, nonce=NONCE)
    if data.draw(st.booleans()):
        raw = bytearray(whole)
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        changed = bytes(raw)
    else:
        changed = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(rules.WrongPlace):
        rules.unwrap(PLACE, changed, key=key)


# ---- The vault -----------------------------------------------------------------------------------


@pytest.fixture
def keyed(aws: pytest.MonkeyPatch, tables: Tables, kms: Wire) -> Iterator[KeyedStack]:
    del kms
    stack = KeyedStack(aws, tables)
    yield stack
    stack.set()


@pytest.mark.parametrize("text", [HEX, base64.b64encode(RAW).decode(), TEXT])
def test_with_a_settings_key_secrets_are_stored_without_kms(
    keyed: KeyedStack, kms: Wire, text: str
) -> None:
    place = keyed.put(keyed.set(text))
    assert keyed.read(keyed.set(text), place) == MARK
    assert kms.calls == []
    (sealed,) = keyed.stored().values()
    assert sealed.wrapped_by.startswith("env:")
    assert len(sealed.wrapped_key) == 12 + 32 + 16
    everything = repr(State(keyed.tables).main)
    assert sealed.wrapped_by in everything, "the search reads what is stored"
    for trace in (MARK, text, repr(RAW)[2:-1]):
        assert trace not in everything


def test_a_secret_that_kms_wraps_is_stored_without_wrapped_by(keyed: KeyedStack) -> None:
    keyed.put(keyed.set())
    (item,) = State(keyed.tables).main
    assert set(item) == {"pk", "sk", "ciphertext", "nonce", "wrapped_key"}


def test_a_text_is_stretched_with_one_salt_per_instance(keyed: KeyedStack) -> None:
    keyed.put(keyed.set(TEXT))
    keyed.put(keyed.set(TEXT), SECOND)
    (state,) = [item for item in State(keyed.tables).main if item["sk"] == "WRAPPING"]
    key = rules.settings_key(rules.stretch(TEXT, salt=state["salt"]))
    assert keyed.wrapped_by() == {state["wrapped_by"]} == {key.id}
    assert len(state["salt"]) == rules.SALT_BYTES


def test_two_environments_that_make_the_salt_at_once_use_one(
    keyed: KeyedStack, room_line: Wire
) -> None:
    """Another environment stores its salt between this one's read and its write."""
    vault = keyed.set(TEXT)

    def plan(_: int, called: str) -> None:
        if called == "UpdateItem":
            room_line.before = None
            keyed.put(secrets.vault(keyed.tables.main), SECOND)

    room_line.before = plan
    place = keyed.put(vault)
    assert len(keyed.wrapped_by()) == 1
    assert keyed.read(keyed.set(TEXT), place) == MARK


def test_reading_a_secret_never_writes_the_salt(keyed: KeyedStack, room_line: Wire) -> None:
    """IAM lets some functions only read."""
    place = keyed.put(keyed.set())
    vault = keyed.set(TEXT)
    room_line.clear()
    assert keyed.read(vault, place) == MARK
    with pytest.raises(SettingsKeyUnusable):
        vault.unseal(PLACE, Sealed(b"", NONCE, b"", "env:0123456789abcdef"))
    assert set(room_line.calls) == {"GetItem"}


# ---- A key that changes, is missing or is wrong --------------------------------------------------


def test_secrets_that_kms_wrapped_stay_readable_after_a_key_is_set(
    keyed: KeyedStack, kms: Wire
) -> None:
    old = keyed.put(keyed.set())
    vault = keyed.set(HEX)
    new = keyed.put(vault, SECOND)
    kms.clear()
    assert [keyed.read(vault, one) for one in (old, new)] == [MARK] * 2
    assert kms.calls == ["Decrypt"]
    assert keyed.wrapped_by() == {KMS, rules.settings_key(RAW).id}


@pytest.mark.parametrize("current", [OTHER, TEXT, ""])
def test_with_the_old_key_as_previous_a_new_key_reads_and_writes(
    keyed: KeyedStack, current: str
) -> None:
    old = keyed.put(keyed.set(HEX))
    vault = keyed.set(current, HEX)
    new = keyed.put(vault, SECOND)
    assert [keyed.read(vault, one) for one in (old, new)] == [MARK] * 2
    by = keyed.wrapped_by()
    assert len(by) == 2
    assert rules.settings_key(RAW).id in by
    assert (KMS in by) == (current == "")


# Each text of a case takes a fifth of a second to stretch.
@pytest.mark.parametrize(
    ("first", "current", "previous"),
    [
        (HEX, "", ""),
        (HEX, OTHER, ""),
        (HEX, OTHER, TEXT),
        ("a text that was first", "", ""),
        ("a text that was first", TEXT, ""),
    ],
)
def test_with_a_missing_or_wrong_key_nothing_is_read_or_stored(
    keyed: KeyedStack, kms: Wire, first: str, current: str, previous: str
) -> None:
    place = keyed.put(keyed.set(first))
    vault = keyed.set(current, previous)
    before = State(keyed.tables).main
    with pytest.raises(SettingsKeyUnusable, match=CURRENT) as reading:
        keyed.read(vault, place)
    with pytest.raises(SettingsKeyUnusable, match=CURRENT) as writing:
        keyed.put(vault, SECOND)
    with pytest.raises(SettingsKeyUnusable):
        writes.replace(keyed.tables.main, vault, place, MARK)
    assert State(keyed.tables).main == before
    assert kms.calls == []
    for message in (reading.value.message, writing.value.message):
        assert not [key for key in (first, current, previous) if key and key in message]
    assert keyed.read(keyed.set(first), place) == MARK


@pytest.mark.parametrize("variable", [CURRENT, PREVIOUS])
def test_with_a_malformed_key_there_is_no_vault(keyed: KeyedStack, variable: str) -> None:
    values = {CURRENT: HEX, variable: "too short"}
    with pytest.raises(SettingsKeyUnusable, match=f"^{variable} must be"):
        keyed.set(values[CURRENT], values.get(PREVIOUS, ""))


def test_a_secret_with_a_false_wrapped_by_cannot_be_read(keyed: KeyedStack) -> None:
    """With write access to the table one can make a secret unreadable, but not readable."""
    vault = keyed.set(HEX, OTHER)
    keyed.put(vault)
    (sealed,) = keyed.stored().values()
    swapped = replace(sealed, wrapped_by=rules.settings_key(bytes.fromhex(OTHER)).id)
    with pytest.raises(rules.WrongPlace):
        vault.unseal(PLACE, swapped)


def test_a_vault_without_keyring_refuses_a_key_wrapped_secret(keyed: KeyedStack) -> None:
    vault = replace(keyed.set(HEX), keyring=None)
    with pytest.raises(SettingsKeyUnusable):
        vault.unseal(PLACE, Sealed(b"", NONCE, b"", "env:0123456789abcdef"))


@examples(max_examples=20, deadline=None)
@given(st.text(max_size=50))
def test_unsealing_returns_any_secret_as_it_was_sealed(text: str) -> None:
    vault = Vault(None, "", keyring.Keyring(_StoredKey(), RAW))  # type: ignore[arg-type]
    assert vault.unseal(PLACE, vault.seal(PLACE, text)) == text


class _StoredKey:
    """A table that has the key of these tests as the stored one."""

    def get(self, key: object) -> dict[str, str]:
        del key
        return {"wrapped_by": rules.settings_key(RAW).id}

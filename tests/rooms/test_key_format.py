"""The published format of a key: its bytes must never change."""

from __future__ import annotations

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.credentials import rules, writes

secrets = st.binary(min_size=32, max_size=32)
prefixes = st.sampled_from(["hb", "hk", "chorus"])


@pytest.mark.parametrize(
    ("prefix", "checksum"), [("hb", "1dfba672"), ("hk", "76cc6956"), ("chorus", "d2303707")]
)
def test_the_bytes_of_a_key_never_change(prefix: str, checksum: str) -> None:
    """Pinned: existing keys, and scanners that look for keys, depend on exactly these bytes."""
    key = rules.format_key(prefix, bytes(range(32)))
    body = f"{prefix}_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    assert key == body + checksum
    assert f"{zlib.crc32(body.encode()):08x}" == checksum


def test_the_hash_of_a_key_never_changes() -> None:
    """Pinned: keys are looked up by their hash, so another one would lock every caller out."""
    key = rules.format_key("hk", bytes(range(32)))
    expected = "cabb21fc2103415f92ce4d053979eeb7" + "c57dd5cec8b9e4b3692706bbcdff52bd"
    assert rules.hash_key(key) == expected


@given(prefix=prefixes, secret=secrets)
def test_a_new_key_is_well_formed_and_shows_four_digits(prefix: str, secret: bytes) -> None:
    key = rules.format_key(prefix, secret)
    assert rules.is_well_formed(key)
    assert re.fullmatch(rf"{prefix}_[0-9a-f]{{72}}", key)
    assert rules.shown_prefix(key) == f"{prefix}_{secret.hex()[:4]}"


@given(prefix=prefixes, secret=secrets, data=st.data())
def test_changing_any_one_character_makes_a_key_malformed(
    prefix: str, secret: bytes, data: st.DataObject
) -> None:
    key = rules.format_key(prefix, secret)
    at = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.characters().filter(lambda char: char != key[at]))
    assert not rules.is_well_formed(key[:at] + other + key[at + 1 :])


@given(prefix=prefixes, secret=secrets, data=st.data())
def test_removing_or_adding_any_character_makes_a_key_malformed(
    prefix: str, secret: bytes, data: st.DataObject
) -> None:
    key = rules.format_key(prefix, secret)
    at = data.draw(st.integers(0, len(key) - 1))
    assert not rules.is_well_formed(key[:at] + key[at + 1 :])
    added = data.draw(st.characters())
    assert not rules.is_well_formed(key[:at] + added + key[at:])


@given(prefix=prefixes, secret=secrets, data=st.data())
def test_swapping_two_neighbours_makes_a_key_malformed(
    prefix: str, secret: bytes, data: st.DataObject
) -> None:
    key = rules.format_key(prefix, secret)
    at = data.draw(st.integers(0, len(key) - 2))
    swapped = key[:at] + key[at + 1] + key[at] + key[at + 2 :]
    assert rules.is_well_formed(swapped) == (swapped == key)


@given(st.text(max_size=120))
def test_random_text_is_not_well_formed(text: str) -> None:
    assert not rules.is_well_formed(text)
    assert not rules.is_well_formed(f"hk_{text}")


def _with_checksum(body: str) -> str:
    return f"{body}{zlib.crc32(body.encode()):08x}"


@pytest.mark.parametrize(
    "body",
    [
        "hx_" + "0" * 64,
        "_" + "0" * 64,
        "HK_" + "0" * 64,
        "hk-" + "0" * 64,
        "hk_" + "A" * 64,
        "hk_" + "0" * 62,
        "hk_" + "0" * 66,
        "hk_" + "\u0660" * 64,
        "hk_" + "g" * 64,
        " hk_" + "0" * 64,
    ],
)
def test_a_wrong_shape_is_malformed_even_with_a_right_checksum(body: str) -> None:
    assert not rules.is_well_formed(_with_checksum(body))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_exactly_32_random_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        rules.format_key("hk", bytes(size))


def test_every_new_key_is_different() -> None:
    made = {writes.mint("hk").text for _ in range(1_000)}
    assert len(made) == 1_000


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer a"}, "a"),
        ({"authorization": "bEaReR  a "}, "a"),
        ({"authorization": "Bearer"}, ""),
        ({"authorization": "Bearera"}, ""),
        ({"authorization": "Basic a"}, ""),
        ({"authorization": "a"}, ""),
        ({"authorization": ""}, ""),
        ({"x-hammurabi-api-key": "b"}, "b"),
        ({"x-api-key": " c\t"}, "c"),
        ({"authorization": "Bearer a", "x-hammurabi-api-key": "b", "x-api-key": "c"}, "a"),
        ({"authorization": "Basic a", "x-api-key": "c"}, ""),
        ({"x-hammurabi-api-key": "", "x-api-key": "c"}, ""),
        ({"x-hammurabi-api-key": "b", "x-api-key": "c"}, "b"),
        ({"cookie": "a", "x-api-keys": "c"}, None),
    ],
)
def test_the_first_header_with_a_key_decides_right_or_wrong(
    headers: dict[str, str], key: str | None
) -> None:
    assert rules.find_in_headers(headers) == key

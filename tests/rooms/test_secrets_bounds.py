"""Settings keys and sealed secrets at their bounds."""

from __future__ import annotations

import pytest

from gatehouse.core.errors import SettingsKeyUnusable
from gatehouse.secrets import rules
from gatehouse.secrets.model import Place, Purpose, Sealed

PLACE = Place(Purpose.PEER, "a1", "n1")


def test_the_lengths_of_keys_nonces_and_salts_are_pinned() -> None:
    assert (rules.KEY_BYTES, rules.NONCE_BYTES, rules.SALT_BYTES) == (32, 12, 16)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", None),
        ("0aF9" * 16, bytes.fromhex("0af9" * 16)),
        ("+/-_" * 10 + "+/8=", bytes.fromhex("fbffbf" * 10 + "fbff")),
        ("p" * 16, "p" * 16),
        ("p" * 256, "p" * 256),
    ],
)
def test_a_settings_key_is_read_in_each_of_its_forms(text: str, key: bytes | str | None) -> None:
    assert rules.parse_key(text, variable="KEY") == key


@pytest.mark.parametrize(
    "text", ["p" * 15, "p" * 257, " " + "p" * 16, "p" * 16 + " ", "p" * 16 + "\x00"]
)
def test_a_refused_settings_key_names_variable_and_bounds(text: str) -> None:
    with pytest.raises(SettingsKeyUnusable) as refused:
        rules.parse_key(text, variable="KEY")
    assert str(refused.value) == (
        "KEY must be 64 hex characters, base64 of 32 bytes, or a text of 16 to 256 printable"
        " characters without a space at its ends"
    )


def test_a_sealed_secret_has_all_parts_and_its_wrapping_key() -> None:
    options = {"key": b"k" * 32, "wrapped_key": b"w", "nonce": b"n" * 12}
    sealed = rules.seal(PLACE, "text", **options)  # type: ignore[arg-type]
    assert (sealed.nonce, sealed.wrapped_key, sealed.wrapped_by) == (b"n" * 12, b"w", "kms")
    other = rules.seal(PLACE, "text", wrapped_by="env:1", **options)  # type: ignore[arg-type]
    assert other.wrapped_by == "env:1"
    assert rules.unseal(PLACE, sealed, key=b"k" * 32) == "text"


@pytest.mark.parametrize("nonce", [b"", b"n" * 12])
def test_an_unreadable_secret_raises_an_error_with_its_purpose(nonce: bytes) -> None:
    with pytest.raises(rules.WrongPlace, match=r"^peer$"):
        rules.unseal(PLACE, Sealed(b"c" * 32, nonce, b"w"), key=b"k" * 32)

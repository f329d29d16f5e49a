"""Nonces of wallet sign-in: their exact text and end."""

from __future__ import annotations

from gatehouse.wallets import rules


def test_a_nonce_starts_with_its_second_and_ends_in_ten_minutes() -> None:
    nonce = rules.write_nonce("s", b"\x01" * 8, 255_999_999)
    assert nonce[:24] == "000000ff" + "01" * 8
    assert len(nonce) == 40
    assert rules.ends_at("s", nonce) == 855_000_000
    assert rules.ends_at("t", nonce) is None
    assert rules.ends_at("s", nonce + "0") is None
    assert rules.ends_at("s", nonce[:-1]) is None
    assert (rules.LIFE, rules.RANDOM_BYTES) == (600_000_000, 8)

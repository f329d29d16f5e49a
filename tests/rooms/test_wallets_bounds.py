"""Nonces of wallet sign-in: their exact text and end."""

from __future__ import annotations

import pytest

from gatehouse.wallets import rules


def test_a_nonce_starts_with_its_second_and_ends_in_ten_minutes() -> None:
    nonce = rules.write_nonce("s", b"\x01" * 8, 255_999_999, purpose="p")
    assert nonce[:24] == "000000ff" + "01" * 8
    assert len(nonce) == 40
    assert rules.ends_at("s", nonce, purpose="p") == 855_000_000
    assert rules.ends_at("t", nonce, purpose="p") is None
    assert rules.ends_at("s", nonce + "0", purpose="p") is None
    assert rules.ends_at("s", nonce[:-1], purpose="p") is None
    assert rules.ends_at("s", nonce, purpose="q") is None
    assert (rules.LIFE, rules.RANDOM_BYTES) == (600_000_000, 8)


DOMAINS = ("app.example", "localhost:8080", "127.0.0.1:3000", "[::1]:3000")


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example",
        "https://app.example/login?a=b#c",
        "https://app.example?a",
        "https://app.example#c",
        "https://localhost:8080/",
        "http://localhost:8080",
        "http://127.0.0.1:3000/x",
        "http://[::1]:3000/x",
    ],
)
def test_a_uri_on_an_allowed_domain_is_accepted(uri: str) -> None:
    assert rules.is_own_uri(uri, DOMAINS)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "app.example",
        "//app.example",
        "http://app.example",
        "HTTPS://app.example",
        "https://evil.example/x",
        "https://evil.example/app.example",
        "https://app.example.evil/",
        "https://app.example:444/",
        "https://app.example@evil.example/",
        "https://x@app.example/",
        "https://app.example\\@evil.example/",
        "https://app.example/ x",
        "https://app.example\n",
        "https:///app.example",
        "javascript:alert(1)",
        "javascript://app.example/%0aalert(1)",
        "ftp://app.example/",
        "http://localhost:8081",
        "http://localhost",
        "http://localhost:8080.evil",
    ],
)
def test_a_uri_of_another_domain_or_scheme_is_refused(uri: str) -> None:
    assert not rules.is_own_uri(uri, DOMAINS)


def test_http_is_for_this_machine_although_the_domain_is_allowed() -> None:
    domains = ("localhost.evil", "xlocalhost", "localhost:", "127.0.0.1.evil")
    assert not any(rules.is_own_uri(f"http://{domain}/", domains) for domain in domains)
    assert all(rules.is_own_uri(f"https://{domain}/", domains) for domain in domains)

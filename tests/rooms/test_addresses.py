"""Addresses that must not be called: by example, and by property against `ipaddress`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.outbound.addresses import LOOPBACK, Unfit, host_of, purpose

# The first and last address of each range, and special ones within.
FORBIDDEN_IPV4 = [
    *("0.0.0.0", "0.255.255.255"),  # noqa: S104 - never bound, never called
    *("10.0.0.0", "10.255.255.255"),
    *("100.64.0.0", "100.127.255.255", "100.100.100.200"),
    *("127.0.0.0", "127.0.0.1", "127.255.255.255"),
    *("169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255"),
    *("172.16.0.0", "172.31.255.255"),
    *("192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.255"),
    *("192.0.2.0", "192.0.2.255"),
    *("192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1"),
    *("192.168.0.0", "192.168.255.255"),
    *("198.18.0.0", "198.19.255.255"),
    *("198.51.100.0", "198.51.100.255"),
    *("203.0.113.0", "203.0.113.255"),
    *("224.0.0.1", "239.255.255.255"),
    *("240.0.0.0", "255.255.255.254", "255.255.255.255"),
]
FORBIDDEN_IPV6 = [
    *("::", "::1"),
    *("::2", "::7f00:1", "::a9fe:a9fe"),  # IPv4-compatible
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8"),  # mapped
    *("::ffff:0:7f00:1", "::ffff:0:808:808"),  # translated
    *("64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:ffff::1"),
    *("100::1", "100:0:0:1::1"),  # discard-only, dummy
    *("2001::1", "2001:0:7f00:1::1"),  # Teredo
    *("2001:2::1", "2001:10::1", "2001:1f:ffff::1", "2001:20::1", "2001:2f:ffff::1"),
    *("2001:1::1", "2001:3::1", "2001:4:112::1", "2001:1ff:ffff::1"),
    *("2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::1", "3fff:fff:ffff::1"),
    *("2002::1", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:808:808::1"),  # 6to4
    *("2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a9fe:a9fe", "2600:1f18::5efe:808:808"),
    *("2620:4f:8000::1", "3ffe::1", "3ffe:ffff::1"),
    *("4000::1", "5f00::1", "8000::1", "e000::1", "1fff:ffff::1"),
    *("fc00::1", "fd00:ec2::254", "fd00:ec2::23", "fdff:ffff::1"),
    *("fe80::1", "fe80::5efe:7f00:1", "febf::1", "fec0::1", "feff::1"),
    *("ff02::1", "ff05::1:3", "ff0e::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    *("fe80::1%eth0", "2606:4700::1111%1"),  # a zone is valid on one link only
]
FORBIDDEN = FORBIDDEN_IPV4 + FORBIDDEN_IPV6
# Neighbours of the ranges, and well-known public addresses.
CALLABLE = [
    *("1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0"),
    *("100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
    *("169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0"),
    *("198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0"),
    *("203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1"),
    *("2003::1", "2600:1f18::1", "2606:4700::1111", "2a00:1450::1", "3ffd::1", "3fff:1000::1"),
    "2606:4700::5efd:7f00:1",
]


def address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_a_special_address_has_its_purpose(text: str) -> None:
    assert purpose(address(text))


@pytest.mark.parametrize("text", CALLABLE)
def test_a_public_address_has_no_special_purpose(text: str) -> None:
    assert purpose(address(text)) is None


def test_loopback_has_a_purpose_of_its_own() -> None:
    loopbacks = {text for text in FORBIDDEN if purpose(address(text)) == LOOPBACK}

    assert loopbacks == {"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"}


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_addresses_that_ipaddress_calls_not_global_are_special(
    ip: IPv4Address | IPv6Address,
) -> None:
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        assert purpose(ip)


@given(st.sampled_from(FORBIDDEN_IPV4) | st.ip_addresses(v=4).map(str), st.integers(0, 2**64 - 1))
def test_ipv6_addresses_that_contain_forbidden_ipv4_are_special(text: str, prefix: int) -> None:
    inner = int(IPv4Address(text))
    carriers = (
        inner,
        0xFFFF << 32 | inner,
        0xFFFF << 48 | inner,
        0x0064_FF9B << 96 | inner,
        0x0064_FF9B_0001 << 80 | inner,
        0x2002 << 112 | inner << 80 | 1,
        0x2001_0000 << 96 | inner ^ 0xFFFF_FFFF,
        prefix << 64 | 0x5EFE << 32 | inner,
        prefix << 64 | 0x0200_5EFE << 32 | inner,
    )

    assert all(purpose(IPv6Address(carrier)) for carrier in carriers)


# ---- How a host is written ---------------------------------------------------------------------

UNFIT_HOSTS = [
    *("", ".", "..", "a..b", ".a", "example.com.", "localhost.", "127.0.0.1.", "[::1].", "-a.com"),
    *("a-.com", "a.-b.com", "a b.com", "a/b", "a@b", "a:1", "a%2eb", "127.0.0.1%00", "%6c.com"),
    *("2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.1"),
    *("127.0.1", "0", "1", "0x", "a.0x", "a.b.1", "1.2.3.4.5", "1.2.3", "256.0.0.1", "1.2.3.256"),
    *("01.2.3.4", "1.2.3.04", "127.0.0.1e1.0x1f", "1.2.3.-4", "00.0.0.0"),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u24dbocalhost", "\u212a.com"),
    *("b\u00fccher.example", "\uff45xample.com", "exam\u00adple.com", "\u0661.example"),
    *("[", "]", "[]", "[::1", "::1", "[::1%eth0]", "[::1%25eth0]", "[127.0.0.1]", "[:::]", "[g::]"),
    *("[::ffff:127.1]", "[::ffff:0177.0.0.1]", "[1:2:3:4:5:6:7:8:9]", "[::1]]", "[[::1]]"),
    *("a" * 64 + ".com", ".".join(["a" * 63] * 4) + ".com", "*.example.com", "a,b.com", "~.com"),
]


@pytest.mark.parametrize("text", UNFIT_HOSTS)
def test_a_host_that_parsers_read_differently_is_refused(text: str) -> None:
    with pytest.raises(Unfit):
        host_of(text)


@pytest.mark.parametrize(
    ("text", "host", "literal"),
    [
        ("Example.COM", "example.com", False),
        ("localhost", "localhost", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", False),
        ("a_b.example.com", "a_b.example.com", False),
        ("1.example.com", "1.example.com", False),
        ("0x7f.example", "0x7f.example", False),
        ("a" * 63 + ".com", "a" * 63 + ".com", False),
        ("8.8.8.8", "8.8.8.8", True),
        ("[2606:4700:0:0::0001]", "[2606:4700::1]", True),
        ("[::FFFF:7F00:1]", "[::ffff:7f00:1]", True),
    ],
)
def test_a_host_is_returned_in_one_normal_form(text: str, host: str, *, literal: bool) -> None:
    result = host_of(text)

    assert result[0] == host
    assert (result[1] is not None) is literal


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_raises_unfit(text: str) -> None:
    try:
        host, literal = host_of(text)
    except Unfit:
        return
    assert host.isascii()
    assert host_of(host) == (host, literal)

"""Which addresses must not be called, and how a host may be written. Pure.

IPv4 ranges are those of IANA's special-purpose registry, with those that the standard library's
`is_global` accepts. For IPv6 only global unicast can be called, without the ranges that contain an
IPv4 address.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

LOOPBACK = "loopback"
_MAX_NAME = 253

_IPV4 = tuple(
    (IPv4Network(network), purpose)
    for network, purpose in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers"),
        ("127.0.0.0/8", LOOPBACK),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "multicast tunnels"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
    )
)
# Other addresses are unspecified, loopback, mapped, compatible, translated, NAT64, discard-only,
# unique local (with EC2's fd00:ec2::254), link-local, site-local, multicast, or unassigned.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_IPV6 = tuple(
    (IPv6Network(network), purpose)
    for network, purpose in (
        ("2001::/23", "protocol assignments, with Teredo, benchmarking and ORCHID"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3ffe::/16", "the former 6bone"),
        ("3fff::/20", "documentation"),
    )
)
# The middle of an ISATAP interface identifier, before its IPv4 address, under any prefix.
_ISATAP = frozenset({b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"})

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# Lenient parsers read a host as IPv4 if its last label is digits, or 0x and digits.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})", re.ASCII)


class Unfit(ValueError):
    """A URL or host must not be called; the message continues after the field's name."""


def purpose(address: Address) -> str | None:
    """Return the purpose of a special address; None for one of the public internet."""
    if isinstance(address, IPv4Address):
        return next((use for network, use in _IPV4 if address in network), None)
    if address.scope_id is not None:
        return "of one link only"
    if address.is_loopback:
        return LOOPBACK
    if address not in _GLOBAL_UNICAST:
        return "not global unicast"
    if address.packed[8:12] in _ISATAP:
        return "ISATAP"
    return next((use for network, use in _IPV6 if address in network), None)


def host_of(text: str) -> tuple[str, Address | None]:
    """Return a host in a form that all parsers read alike, and its address if it is one.

    Raises:
        Unfit: It is neither a name nor a plain address. IPv6 needs brackets.

    """
    if not text.isascii():
        raise Unfit("must name a host in ASCII, an international one as xn--")
    host = text.lower()
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        try:
            address = IPv6Address(host[1:-1])
        except ValueError as error:
            raise Unfit("must name a host") from error
        return f"[{address}]", address
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            if _QUAD.fullmatch(host):
                return host, IPv4Address(host)
        except ValueError:
            pass
        raise Unfit("must write an IPv4 address as four decimal numbers")
    if len(host) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise Unfit("must name a host, without a dot at the end")
    return host, None

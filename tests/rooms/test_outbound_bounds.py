"""Requests out at their bounds: the exact ends of ranges, ports, lengths and shares of time."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.outbound import addresses, client, headers, resolver, urls, wire
from gatehouse.outbound.answer import shown
from gatehouse.outbound.exchange import Channel, Request
from gatehouse.outbound.failure import BadAnswer, RequestFailed

# ---- Addresses ---------------------------------------------------------------------------------

RANGES = [
    ("0.0.0.0", "0.255.255.255", "this network"),  # noqa: S104 - not bound to
    ("10.0.0.0", "10.255.255.255", "private"),
    ("100.64.0.0", "100.127.255.255", "shared by carriers"),
    ("127.0.0.0", "127.255.255.255", "loopback"),
    ("169.254.0.0", "169.254.255.255", "link-local"),
    ("172.16.0.0", "172.31.255.255", "private"),
    ("192.0.0.0", "192.0.0.255", "protocol assignments"),
    ("192.0.2.0", "192.0.2.255", "documentation"),
    ("192.31.196.0", "192.31.196.255", "AS112"),
    ("192.52.193.0", "192.52.193.255", "multicast tunnels"),
    ("192.88.99.0", "192.88.99.255", "6to4 relays"),
    ("192.168.0.0", "192.168.255.255", "private"),
    ("192.175.48.0", "192.175.48.255", "AS112"),
    ("198.18.0.0", "198.19.255.255", "benchmarking"),
    ("198.51.100.0", "198.51.100.255", "documentation"),
    ("203.0.113.0", "203.0.113.255", "documentation"),
    ("224.0.0.0", "239.255.255.255", "multicast"),
    ("240.0.0.0", "255.255.255.255", "reserved, and broadcast"),
    ("2001::", "2001:1ff:ffff::1", "protocol assignments, with Teredo, benchmarking and ORCHID"),
    ("2001:db8::", "2001:db8:ffff::1", "documentation"),
    ("2002::", "2002:ffff::1", "6to4"),
    ("2620:4f:8000::", "2620:4f:8000:ffff::1", "AS112"),
    ("3ffe::", "3ffe:ffff::1", "the former 6bone"),
    ("3fff::", "3fff:fff:ffff::1", "documentation"),
    ("::1", "::1", "loopback"),
    ("::", "1fff:ffff::1", "not global unicast"),
    ("4000::", "ffff::1", "not global unicast"),
    ("2606::5efe:a00:1", "2606::200:5efe:a00:1", "ISATAP"),
    ("fe80::1%eth0", "2606::1%1", "of one link only"),
]


@pytest.mark.parametrize(("first", "last", "use"), RANGES)
def test_the_first_and_last_address_of_a_range_have_its_purpose(
    first: str, last: str, use: str
) -> None:
    assert addresses.purpose(ip_address(first)) == use
    assert addresses.purpose(ip_address(last)) == use


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
        *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
        *("172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0"),
        *("198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::", "2001:db9::"),
        *("2000::", "2003::", "2620:4f:8001::", "3ffd:ffff::1", "3fff:1000::", "2606::5eff:0:1"),
    ],
)
def test_an_address_beside_a_range_has_no_purpose(address: str) -> None:
    assert addresses.purpose(ip_address(address)) is None


LONG_NAME = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.mark.parametrize(
    ("text", "host", "literal"),
    [
        (LONG_NAME, LONG_NAME, None),
        ("A_b-C.Example", "a_b-c.example", None),
        ("a.1x", "a.1x", None),
        ("0.10.200.255", "0.10.200.255", "0.10.200.255"),
        ("[2606:4700:0::1]", "[2606:4700::1]", "2606:4700::1"),
    ],
)
def test_a_host_is_returned_in_one_form_with_its_address(
    text: str, host: str, literal: str | None
) -> None:
    assert addresses.host_of(text) == (host, literal and ip_address(literal))


NO_HOST = "must name a host, without a dot at the end"
NO_QUAD = "must write an IPv4 address as four decimal numbers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LONG_NAME + "d", NO_HOST),
        ("a" * 64 + ".com", NO_HOST),
        ("a..b", NO_HOST),
        ("a.com.", NO_HOST),
        ("", NO_HOST),
        ("-a.com", NO_HOST),
        ("[::1", NO_HOST),
        ("::1]", NO_HOST),
        ("[fe80::1%1]", NO_HOST),
        ("[1.2.3.4]", "must name a host"),
        ("1.2.3", NO_QUAD),
        ("1.2.3.256", NO_QUAD),
        ("1.2.3.04", NO_QUAD),
        ("a.0x", NO_QUAD),
        ("\xe9.com", "must name a host in ASCII, an international one as xn--"),
    ],
)
def test_a_malformed_host_is_refused_with_its_reason(text: str, message: str) -> None:
    with pytest.raises(addresses.Unfit) as refused:
        addresses.host_of(text)
    assert str(refused.value) == message


# ---- URLs --------------------------------------------------------------------------------------


def test_a_destination_has_all_parts_of_the_url() -> None:
    assert urls.allowed("HTTPS://API.Example.com:8443?a=1") == urls.Destination(
        url="https://api.example.com:8443?a=1",
        scheme="https",
        authority="api.example.com:8443",
        host="api.example.com",
        port=8443,
        path="/?a=1",
        literal=None,
    )
    assert urls.allowed("https://8.8.8.8/a").literal == ip_address("8.8.8.8")


@pytest.mark.parametrize(
    ("mode", "url", "port"),
    [
        ("guarded", "https://a.example", 443),
        ("guarded", "https://a.example:443", 443),
        ("guarded", "https://a.example:1024", 1_024),
        ("guarded", "https://a.example:65535", 65_535),
        ("local", "http://a.example", 80),
        ("local", "https://a.example:80", 80),
        ("local", "https://localhost", 443),
    ],
)
def test_ports_at_the_bounds_are_allowed(
    mode: str, url: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", mode)
    assert urls.allowed(url).port == port


@pytest.mark.parametrize(
    ("mode", "port", "message"),
    [
        *(("guarded", p, "must use port 443, or one from 1024 to 65535") for p in (80, 1_023)),
        *(("local", p, "must use port 80, 443, or one from 1024 to 65535") for p in (442, 65_536)),
    ],
)
def test_ports_beyond_the_bounds_are_refused(
    mode: str, port: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", mode)
    with pytest.raises(addresses.Unfit) as refused:
        urls.allowed(f"https://a.example:{port}")
    assert str(refused.value) == message


def test_a_url_has_at_most_2048_characters() -> None:
    url = "https://a.example/".ljust(2_048, "a")
    assert urls.allowed(url).url == url
    with pytest.raises(addresses.Unfit, match=r"^must have at most 2,048 characters$"):
        urls.allowed(url + "a")


# ---- Headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        *(("a" * 256, "v", True), ("a" * 257, "v", False), ("a", "v" * 8_192, True)),
        *(("a", "v" * 8_193, False), ("a", "", True), ("", "v", False), ("a", "\t ~", True)),
        *(("a", "\n", False), ("a\n", "v", False), ("Host", "v", False), ("TE", "v", False)),
    ],
)
def test_a_header_that_is_sent_has_bounds(name: str, value: str, *, fits: bool) -> None:
    assert headers.can_be_sent({name: value}) is fits


def test_a_refused_custom_header_names_the_field_and_the_bound() -> None:
    with pytest.raises(BadInput) as refused:
        headers.check_custom({"a" * 129: "v"}, field="hook.headers")
    assert refused.value.details == {"field": "hook.headers"}
    assert headers.check_custom({"a" * 128: "v" * 1_024}) == {"a" * 128: "v" * 1_024}
    assert headers.check_custom(None) == {}


# ---- Client, answers, resolver and wire --------------------------------------------------------


def test_methods_defaults_and_the_agent_are_pinned() -> None:
    assert sorted(client.METHODS) == ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"]
    assert client._headers("GET", {"a": "b"}) == {"a": "b", "User-Agent": "Gatehouse"}  # noqa: SLF001
    assert client._headers("GET", {"USER-agent": "b"}) == {"USER-agent": "b"}  # noqa: SLF001
    for method, chosen in (("TRACE", {}), ("GET", {"Host": "a"})):
        with pytest.raises(RequestFailed) as failed:
            client._headers(method, chosen)  # noqa: SLF001
        assert failed.value.kind == "protocol"


def test_repeated_headers_of_an_answer_are_joined() -> None:
    given = [("A", "1\x00\t2"), ("b", "3"), ("a", "4")]
    assert shown(given) == {"a": "1  2, 4", "b": "3"}


def test_a_host_s_addresses_are_resolved_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answer(*args: Any, **options: Any) -> list[Any]:
        asked.append((args, options))
        return [(2, 1, 6, "", (one, 443)) for one in ("8.8.8.8", "1.1.1.1", "8.8.8.8")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    target = urls.allowed("https://a.example")
    found = resolver.addresses_of(target, own=(), ends_at=float("1e9"))
    assert found == [ip_address("8.8.8.8"), ip_address("1.1.1.1")]
    assert asked == [(("a.example", 443), {"type": socket.SOCK_STREAM})]


def test_a_wire_allows_exactly_its_bytes_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.time, "monotonic", lambda: 100.0)
    with wire.Wire() as one:
        one.allowance, one.ends_at = 5, 100.5
        one._take(3)  # noqa: SLF001 - the count without a peer
        one._take(2)  # noqa: SLF001
        with pytest.raises(BadAnswer):
            one._take(1)  # noqa: SLF001
        one.wait()
        assert one.gettimeout() == 0.5
        one.ends_at = 100.0
        with pytest.raises(TimeoutError):
            one.wait()


def test_each_of_four_addresses_gets_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[str, int, float | None]] = []

    def refuse(self: wire.Wire, address: tuple[str, int]) -> None:
        shares.append((*address, self.gettimeout()))
        raise ConnectionRefusedError

    monkeypatch.setattr(wire.Wire, "connect", refuse)
    monkeypatch.setattr(wire.time, "monotonic", lambda: 100.0)
    hosts = [ip_address(f"8.8.8.{number}") for number in range(5)]
    with pytest.raises(ConnectionRefusedError):
        wire.dial(hosts, 443, ends_at=112.0)
    expected = [("8.8.8.0", 443, 3.0), ("8.8.8.1", 443, 4.0), ("8.8.8.2", 443, 6.0)]
    assert shares == [*expected, ("8.8.8.3", 443, 12.0)]
    with pytest.raises(TimeoutError):
        wire.dial(hosts, 443, ends_at=100.0)


@pytest.mark.parametrize(
    ("options", "ends_at", "allowance", "most"),
    [({}, 110.0, 270_336, 1_024), ({"timeout": 2.0, "most": 1}, 102.0, 262_152, 1)],
)
def test_a_request_has_one_deadline_and_a_limit_on_received_bytes(
    options: dict[str, Any],
    ends_at: float,
    allowance: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def exchange(channel: Channel, request: Request) -> tuple[str, float]:
        seen.append((channel.wire.ends_at, channel.wire.allowance, channel.wire.family, request))
        return "answer", 0.0

    monkeypatch.setattr(wire.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(wire.Wire, "connect", lambda _self, _address: None)
    monkeypatch.setattr(client, "exchange", exchange)
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    url = "http://127.0.0.1"
    assert client.send("GET", url, headers={"User-Agent": "a"}, **options) == "answer"
    request = Request("GET", urls.allowed(url), {"User-Agent": "a"}, b"", most)
    assert seen == [(ends_at, allowance, socket.AF_INET, request)]

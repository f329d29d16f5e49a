"""Which URLs may be called, by their form and by the addresses of their host."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from gatehouse.core.errors import BadInput
from gatehouse.core.settings import SettingError
from gatehouse.outbound import client as outbound
from gatehouse.outbound import urls
from rooms.test_addresses import CALLABLE, FORBIDDEN, UNFIT_HOSTS
from support.actors.receivers import Names
from support.checks.examples import at_most

Dialled = list[tuple[str, int]]
PUBLIC = "8.8.8.8"


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = "api.example.com, LOCALHOST:8080,127.0.0.1:8080,[2606:4700::1]:8443"
    monkeypatch.setenv("GATEHOUSE_OWN_HOSTS", entries)


def written(text: str) -> str:
    """Return an address as a URL has it."""
    return f"[{text}]" if ":" in text else text


def kind_of(url: str, **options: float) -> str:
    with pytest.raises(outbound.RequestFailed) as failed:
        outbound.send("POST", url, headers={}, body=b"{}", **options)  # type: ignore[arg-type]
    return failed.value.kind


# ---- The form of a URL -------------------------------------------------------------------------

HOSTS = [host for host in UNFIT_HOSTS if "/" not in host]
FORMS = [
    *("", " ", "https", "https:", "https:/", "https://", "https:///path", "//example.com", "/path"),
    *("example.com", "http://example.com", "ftp://example.com", "file:///etc/passwd"),
    *("gopher://example.com", "javascript:alert(1)", "data:,x", "ws://example.com", "unix:/x.sock"),
    *("https:example.com", "https:/example.com", "https:\\\\example.com", "https://example.com\\a"),
    *("https://user@example.com", "https://user:pw@example.com", "https://@example.com"),
    *("https://example.com@127.0.0.1", "https://127.0.0.1\\@example.com", "https://:@a.com"),
    *("https://example.com#x", "https://example.com/#", "https://127.0.0.1#@example.com/"),
    *("https://example.com:", "https://example.com:0", "https://example.com:00443"),
    *("https://example.com:443x", "https://example.com:-1", "https://example.com:+443"),
    *("https://example.com:65536", "https://example.com:99999", "https://example.com:443:443"),
    *("https://example.com:22", "https://example.com:80", "https://example.com:1023"),
    *(
        "https://example.com:25",
        "https://example.com:4 43",
        "https://example.com:\uff14\uff14\uff13",
    ),
    *("https://example.com/\r\nHost: a", "https://example.com/\n", "https://example.com/\t"),
    *(
        "https://example.com/\x00",
        "https://exam\x00ple.com/",
        "https://example.com/ a",
        " https://a.com",
    ),
    *("https://example.com/\x7f", "https://example.com/\u00fc", "https://example.com/\ud800"),
    *("https://example.com/<a>", 'https://example.com/"', "https://example.com/`"),
    *("https://localhost", "https://localhost:8443", "https://LOCALHOST", "https://a.localhost"),
    *("https://intranet", "https://metadata", "https://com", "https://[", "https://]"),
    "https://example.com/" + "a" * 2_048,
]


@pytest.mark.parametrize("url", FORMS)
def test_a_malformed_url_is_refused_and_not_called(
    url: str, names: Names, dialled: Dialled
) -> None:
    names.say("example.com", [PUBLIC])
    for check in (outbound.checked_url, outbound.check_host):
        with pytest.raises(BadInput, match=r"^target must ") as refused:
            check(url, field="target")
        assert refused.value.details == {"field": "target"}

    assert kind_of(url) == "address"
    assert names.asked == []
    assert dialled == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a.com", "must be an https URL"),
        ("https://u:p@a.com", "must not carry credentials"),
        ("https://a.com/#x", "must not have a fragment"),
        ("https://a.com:22", "must use port 443, or one from 1024 to 65535"),
        ("https://a.com.", "must name a host, without a dot at the end"),
        ("https://127.1", "must write an IPv4 address as four decimal numbers"),
        ("https://10.0.0.1", "must not lead to a private, reserved or own address"),
        ("https://localhost", "must name a host by its full name"),
        ("https://a.com/" + "a" * 2_048, "must have at most 2,048 characters"),
    ],
)
def test_a_refusal_names_what_to_change(url: str, reason: str) -> None:
    with pytest.raises(BadInput) as refused:
        outbound.checked_url(url, field="health_url")
    assert refused.value.message == f"health_url {reason}"


@pytest.mark.parametrize("mode", ["guarded", "local"])
@pytest.mark.parametrize("host", [*HOSTS, *map(written, FORBIDDEN)])
def test_a_forbidden_host_is_refused_and_not_called(
    host: str, mode: str, names: Names, dialled: Dialled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", mode)
    if mode == "local" and host in {"127.0.0.0", "127.0.0.1", "127.255.255.255", "[::1]"}:
        assert outbound.checked_url(f"https://{host}:8443") == f"https://{host}:8443"
        return
    for url in (f"https://{host}/", f"https://{host}:8443", f"https://{host}?a=b"):
        with pytest.raises(BadInput):
            outbound.checked_url(url)
        with pytest.raises(BadInput):
            outbound.check_host(url)
        assert kind_of(url) == "address"

    assert names.asked == []
    assert dialled == []


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM/Path?Q=%2F", "https://example.com/Path?Q=%2F"),
        ("https://example.com:443/", "https://example.com:443/"),
        ("https://example.com:1024?a", "https://example.com:1024?a"),
        ("https://example.com:65535//a//../b", "https://example.com:65535//a//../b"),
        (
            "https://hooks.example.com/a;b=(c)!*'$&+,=:@~",
            "https://hooks.example.com/a;b=(c)!*'$&+,=:@~",
        ),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://a_b.example.com/[x]{y}|^", "https://a_b.example.com/[x]{y}|^"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700:0::1111]:8443/", "https://[2606:4700::1111]:8443/"),
        ("https://example.com/" + "a" * 2_028, "https://example.com/" + "a" * 2_028),
    ],
)
def test_an_allowed_url_is_returned_in_normal_form(url: str, normal: str) -> None:
    assert outbound.checked_url(url) == normal
    assert outbound.checked_url(normal) == normal


@given(st.text(max_size=60) | st.from_regex(r"https?://[ -~]{0,40}", fullmatch=True))
def test_any_text_is_a_url_or_raises_bad_input(text: str) -> None:
    try:
        normal = outbound.checked_url(text)
    except BadInput:
        return
    assert outbound.checked_url(normal) == normal


def _as_address(host: str | None) -> object:
    """Return an address as a value, which several texts can have, and any other host unchanged."""
    try:
        return ip_address(host or "")
    except ValueError:
        return host


@settings(max_examples=at_most(400, quick=100))
@given(
    st.from_regex(
        r"[aA1x.:@%_\[\]-]{0,6}(\.[a-z]{1,3}|\[2606:[0-9a-f:]{1,8}\]|8\.8\.8\.[0-9]{1,3})?"
        r"(:[0-9]{1,5})?([/?][ -~]{0,9})?",
        fullmatch=True,
    ).map("https://{}".format)
)
def test_other_parsers_read_an_accepted_url_the_same_way(text: str) -> None:
    try:
        url = outbound.checked_url(text)
    except BadInput:
        return
    ours = urls.allowed(url)
    for theirs in (urlsplit(url), urlsplit(text)):
        assert theirs.username is theirs.password is None
        assert _as_address(theirs.hostname) == _as_address(ours.host.strip("[]"))
        assert (theirs.port or 443) == ours.port
    other = parse_url(url)
    assert (other.auth, other.host, other.port or 443) == (None, ours.host, ours.port)


# ---- Addresses of a host's name ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["guarded", "local"])
@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_with_a_forbidden_address_is_refused_and_not_called(
    address: str, mode: str, names: Names, dialled: Dialled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", mode)
    if mode == "local" and (address.startswith("127.") or address == "::1"):
        names.say("hooks.example.com", [address])
        outbound.check_host("https://hooks.example.com/")
        return
    for answer in ([address], [PUBLIC, address], [address, PUBLIC], [PUBLIC, PUBLIC, address]):
        names.say("hooks.example.com", answer)
        with pytest.raises(BadInput, match=r"^url must not lead to") as refused:
            outbound.check_host("https://hooks.example.com/")
        assert address not in refused.value.message
        assert kind_of("https://hooks.example.com/") == "address"

    assert dialled == []


@pytest.mark.parametrize("address", CALLABLE)
def test_a_name_with_a_public_address_is_called_there(
    address: str, names: Names, dialled: Dialled
) -> None:
    names.say("hooks.example.com", [address])

    outbound.check_host("https://hooks.example.com/")
    assert dialled == []
    assert kind_of("https://hooks.example.com:8443/") == "refused"
    assert dialled == [(address, 8443)]
    assert kind_of(f"https://{written(address)}/") == "refused"
    assert dialled[1:] == [(address, 443)]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "fd00::1"])
def test_a_name_that_resolves_elsewhere_after_the_check_is_harmless(
    address: str, names: Names, dialled: Dialled
) -> None:
    """Rebinding: public when saved, forbidden when called; and a change within one request."""
    names.say("rebind.example.com", [PUBLIC], [address])
    outbound.check_host("https://rebind.example.com/")
    assert kind_of("https://rebind.example.com/") == "address"
    assert dialled == []

    names.say("rebind.example.com", [PUBLIC], [address])
    names.asked.clear()
    assert kind_of("https://rebind.example.com/") == "refused"
    assert names.asked == ["rebind.example.com"]
    assert dialled == [(PUBLIC, 443)]


def test_up_to_four_addresses_are_tried(names: Names, dialled: Dialled) -> None:
    many = [f"8.8.8.{number}" for number in range(1, 9)]
    names.say("many.example.com", many)

    assert kind_of("https://many.example.com/") == "refused"
    assert [address for address, _ in dialled] == many[:4]


@pytest.mark.parametrize(
    "answer",
    [
        socket.gaierror(socket.EAI_NONAME, "unknown"),
        socket.gaierror(socket.EAI_AGAIN, "later"),
        UnicodeError("label too long"),
        OSError(5, "no resolver"),
        [],
    ],
    ids=repr,
)
def test_a_name_without_an_address_is_unresolvable(
    answer: Exception | list[str], names: Names, dialled: Dialled
) -> None:
    names.say("nowhere.example.com", answer)

    with pytest.raises(BadInput, match="can be resolved"):
        outbound.check_host("https://nowhere.example.com/")
    assert kind_of("https://nowhere.example.com/") == "unresolvable"
    assert dialled == []


def test_a_hanging_resolver_ends_at_the_deadline(
    dialled: Dialled, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    begun = time.monotonic()
    try:
        assert kind_of("https://slow.example.com/", timeout=0.2) == "timeout"
    finally:
        released.set()

    assert 0.2 <= time.monotonic() - begun < 10
    assert dialled == []


# ---- The local mode, and this API's own hosts --------------------------------------------------


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:3000/", "http://127.0.0.1:1024", "http://[::1]:8080/", "http://a.com"),
        *("https://localhost", "http://127.9.9.9:9999", "http://localhost:80", "https://a.com:80"),
        *("http://a.com:443", "http://receiver:8080/", "http://a.localhost:8080/"),
    ],
)
def test_local_mode_allows_http_and_loopback(url: str) -> None:
    assert outbound.checked_url(url) == url


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("url", ["http://localhost:22", "http://127.0.0.1:81", "ftp://localhost"])
def test_local_mode_restricts_ports_and_schemes_too(url: str) -> None:
    with pytest.raises(BadInput):
        outbound.checked_url(url)


@pytest.mark.usefixtures("local")
def test_local_mode_allows_names_of_loopback(names: Names, dialled: Dialled) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        names.say("here.example.com", ["127.0.0.1"])

        outbound.check_host(f"http://here.example.com:{port}/")
        assert kind_of(f"http://here.example.com:{port}/") == "refused"
        assert dialled == [("127.0.0.1", port)]


OWN = [
    *("https://api.example.com/emit", "https://API.example.com:8443/", "http://api.example.com"),
    *("http://localhost:8080/emit", "http://127.0.0.1:8080/", "https://localhost:8080/"),
    *("https://[2606:4700:0::1]:8443/", "http://127.0.0.2:8080/", "http://[::1]:8080/"),
]


@pytest.mark.usefixtures("local", "own")
@pytest.mark.parametrize("url", OWN)
def test_this_api_s_own_hosts_are_never_called(url: str, names: Names, dialled: Dialled) -> None:
    with pytest.raises(BadInput):
        outbound.checked_url(url)
    assert kind_of(url) == "address"
    assert (names.asked, dialled) == ([], [])


@pytest.mark.usefixtures("local", "own")
def test_another_name_of_an_own_host_is_refused_by_its_address(
    names: Names, dialled: Dialled
) -> None:
    names.say("door.example.com", ["127.0.0.1"])

    assert kind_of("http://door.example.com:8080/") == "address"
    assert dialled == []
    assert kind_of("http://door.example.com:1/", timeout=0.1) == "address"  # whatever the port


@pytest.mark.usefixtures("local", "own")
@pytest.mark.parametrize(
    "url", ["http://localhost:8081", "https://example.com", "https://[2606:4700::1]:8444/"]
)
def test_a_host_that_only_resembles_an_own_host_is_allowed(url: str) -> None:
    assert outbound.checked_url(url) == url


def test_a_caller_can_add_own_hosts() -> None:
    api = "abc123.execute-api.eu-west-1.amazonaws.com"
    for url in (f"https://{api}/live", "https://abc123.execute-api.eu-west-1.api.aws/live"):
        with pytest.raises(BadInput, match="must not lead back to this API"):
            outbound.checked_url(url, own=[api])
        with pytest.raises(BadInput, match="must not lead back to this API"):
            outbound.check_host(url, own=iter([api]))
        with pytest.raises(outbound.RequestFailed):
            outbound.send("GET", url, headers={}, own=iter([api]))
    other = "https://abc124.execute-api.eu-west-1.amazonaws.com/live"
    assert outbound.checked_url(other, own=[api]) == other


@pytest.mark.usefixtures("local")
def test_own_hosts_from_an_iterator_are_checked_at_every_step(
    names: Names, dialled: Dialled
) -> None:
    names.say("door.example.com", ["127.0.0.1"])
    url = "http://door.example.com:8080/"

    with pytest.raises(BadInput):
        outbound.check_host(url, own=iter(["localhost:8080"]))
    with pytest.raises(outbound.RequestFailed):
        outbound.send("GET", url, headers={}, own=iter(["localhost:8080"]))
    assert dialled == []


@pytest.mark.parametrize("entries", ["https://a.com", "a.com:x", "a.com:0", "1.2.3", "a/b", "[::1"])
def test_an_invalid_own_host_raises_a_setting_error(
    entries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OWN_HOSTS", f"fine.example.com,{entries}")

    with pytest.raises(SettingError, match="GATEHOUSE_OWN_HOSTS"):
        outbound.checked_url("https://example.com")


@pytest.mark.parametrize("mode", ["", "off", "LOCAL", "none"])
def test_an_unknown_mode_raises_a_setting_error(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", mode)

    with pytest.raises(SettingError, match="GATEHOUSE_OUTBOUND"):
        outbound.checked_url("https://example.com")

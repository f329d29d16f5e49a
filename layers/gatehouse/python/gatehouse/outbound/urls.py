"""Which URLs may be called: their form, this API's own hosts, and the stack's mode.

Mode `guarded`, of every stack on AWS, allows https to the public internet. Mode `local`, of the
engine on a developer's machine, also allows http and loopback.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from gatehouse.core import settings
from gatehouse.core.text import LONGEST_URL, is_plain
from gatehouse.outbound.addresses import LOOPBACK, Address, Unfit, host_of, purpose

_FIRST_FREE_PORT = 1_024
_LAST_PORT = 65_535
_API = ".execute-api."
_NOT_PUBLIC = "must not lead to a private, reserved or own address"

_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?]*)(?P<path>.*)")
_AUTHORITY = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
)


@dataclass(frozen=True, slots=True)
class Destination:
    """The parts of a URL: host in lower case, and as `literal` if it is an address.

    `path` is the path and query of the request line; `url` is the URL in normal form.
    """

    url: str
    scheme: str
    authority: str
    host: str
    port: int
    path: str
    literal: Address | None


def allowed(url: str, *, own: Collection[str] = ()) -> Destination:
    """Parse a URL and check everything that can be checked without the network.

    `own` adds hosts to GATEHOUSE_OWN_HOSTS.

    Raises:
        Unfit: It must not be called.

    """
    local = _is_local()
    target = _parsed(url, local=local)
    named = target.literal is None
    if named and not local and ("." not in target.host or target.host.endswith(".localhost")):
        raise Unfit("must name a host by its full name")
    if _is_own(target, own):
        raise Unfit("must not lead back to this API")
    if target.literal is not None and not may_be_called(target.literal, target.port, own=own):
        raise Unfit(_NOT_PUBLIC)
    return target


def may_be_called(address: Address, port: int, *, own: Collection[str] = ()) -> bool:
    """Check an address. Mode `local` may call loopback, but not this API's own ports."""
    special = purpose(address)
    if special != LOOPBACK:
        return special is None
    return _is_local() and not any(
        _is_loopback(host) and entry_port in {None, port} for host, entry_port in _own(own)
    )


def _is_local() -> bool:
    return settings.OUTBOUND.text() == "local"


def _parsed(url: str, *, local: bool) -> Destination:
    if len(url) > LONGEST_URL:
        raise Unfit(f"must have at most {LONGEST_URL:,} characters")
    if not url.isascii() or not is_plain(url) or set(url) & set(' "<>\\`'):
        raise Unfit('must be printable ASCII without spaces, backslashes and any of "<>`')
    if "#" in url:
        raise Unfit("must not have a fragment")
    match = _URL.fullmatch(url)
    scheme = match["scheme"].lower() if match else ""
    if match is None or scheme not in ({"https", "http"} if local else {"https"}):
        raise Unfit("must be an http or https URL" if local else "must be an https URL")
    if "@" in match["authority"]:
        raise Unfit("must not carry credentials")
    authority = _AUTHORITY.fullmatch(match["authority"])
    if authority is None:
        raise Unfit("must name a host, and a port in digits if any")
    host, literal = host_of(authority["host"])
    port = _port(authority["port"], scheme, local=local)
    shown = host if authority["port"] is None else f"{host}:{port}"
    path = match["path"]
    return Destination(
        url=f"{scheme}://{shown}{path}",
        scheme=scheme,
        authority=shown,
        host=host,
        port=port,
        path=path if path.startswith("/") else f"/{path}",
        literal=literal,
    )


def _port(text: str | None, scheme: str, *, local: bool) -> int:
    if text is None:
        return 443 if scheme == "https" else 80
    port = int(text)
    low = (80, 443) if local else (443,)
    if port in low or _FIRST_FREE_PORT <= port <= _LAST_PORT:
        return port
    named = ", ".join(map(str, low))
    raise Unfit(f"must use port {named}, or one from {_FIRST_FREE_PORT} to {_LAST_PORT}")


def _own(more: Collection[str]) -> list[tuple[str, int | None]]:
    """Return the hosts that are never called, each with its port, None for every port."""
    entries = []
    for entry in (*settings.OWN_HOSTS.entries(), *more):
        match = _AUTHORITY.fullmatch(entry)
        try:
            host = host_of(match["host"] if match else "")[0]
        except Unfit as error:
            raise settings.SettingError(
                f"{settings.OWN_HOSTS.name} must list hosts, each with or without a port"
            ) from error
        entries.append((host, int(match["port"]) if match and match["port"] else None))
    return entries


def _is_own(target: Destination, own: Collection[str]) -> bool:
    return any(
        port in {None, target.port} and (host == target.host or _same_api(host, target.host))
        for host, port in _own(own)
    )


def _same_api(own: str, host: str) -> bool:
    """Return whether both are names of one API, which start alike up to the region."""
    api, separator, _ = own.partition(_API)
    return bool(separator) and host.startswith(api + _API)


def _is_loopback(host: str) -> bool:
    literal = host_of(host)[1]
    return host == "localhost" if literal is None else purpose(literal) == LOOPBACK

"""Which requests the front door serves: those to its own names, and those of its own pages.

A page of any site can send requests to this machine. Where it only has a name that resolves to
loopback (DNS rebinding), the browser sends that name as `Host`, and would show it the answers.
Where it knows the port, the browser sends its site as `Origin`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.asgi import Scope

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"https?://(?P<host>[^/]*)(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)
_HTTP_PORT = 80
# These change nothing, and a page of another site cannot read the answer.
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_SHOWN = 100  # characters of a refused name


@dataclass(frozen=True)
class Refusal:
    """The status and the sentence with which a request is refused."""

    status: HTTPStatus
    reason: str


def own_names(ports: Iterable[int], hosts: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the values of `Host` that mean this stack, the best known first.

    `hosts` are further names, with a port or without. One without stands for itself with every
    port of the stack, and for itself alone, as a proxy on a usual port sends it.

    Raises:
        CommandError: One of `hosts` is not a host name with or without a port.

    """
    ports = tuple(ports)
    bare = [host.lower() for host in hosts]
    for host in bare:
        if not _NAME.fullmatch(host):
            raise CommandError(
                f"--host must be a name such as gatehouse.test or localhost:5173, not {host!r}."
            )
    alone = LOOPBACK_NAMES if _HTTP_PORT in ports else ()
    with_ports = [
        f"{name}:{port}"
        for port in ports
        for name in (*LOOPBACK_NAMES, *(host for host in bare if not _has_port(host)))
    ]
    return tuple(dict.fromkeys((*with_ports, *alone, *bare)))


def find_refusal(scope: Scope, names: tuple[str, ...]) -> Refusal | None:
    """Return why a request or a WebSocket must be refused, None when it may pass."""
    hosts = _values(scope, b"host")
    found = _ABSOLUTE.fullmatch(scope["raw_path"])
    # A request's target may be a whole URL, as a proxy is sent; its host counts as well.
    named = [*hosts, *([found["host"].decode("latin-1")] if found else [])]
    other = [host for host in named if host.lower() not in names]
    if len(hosts) != 1 or other:
        shown = (other or [""])[0][:_SHOWN]
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"This stack has no host {shown!r}: call http://{names[0]}, or start it with the option"
            " --host and that name",
        )
    if not found and not scope["raw_path"].startswith(b"/"):
        return Refusal(HTTPStatus.BAD_REQUEST, "The target of a request must be a path or a URL")
    if scope["type"] == "http" and scope["method"] in _READING:
        return None
    for origin in _values(scope, b"origin"):
        site = origin.lower().removeprefix("https://").removeprefix("http://")
        if site not in names:
            return Refusal(
                HTTPStatus.FORBIDDEN,
                f"Pages of {origin[:_SHOWN]!r} may not send this request: to allow it, start the"
                " stack with the option --host and the host and port of that site",
            )
    return None


def in_origin_form(scope: Scope) -> Scope:
    """Return a scope whose `raw_path` is a path alone, also if the target was a whole URL."""
    found = _ABSOLUTE.fullmatch(scope["raw_path"])
    return {**scope, "raw_path": found["path"] or b"/"} if found else scope


def _has_port(host: str) -> bool:
    return re.search(r":[0-9]+$", host) is not None and not host.endswith("]")


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]

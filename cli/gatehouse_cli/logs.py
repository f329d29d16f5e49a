"""`gatehouse logs`: a service's log lines as they are written, across cuts."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import click
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from gatehouse_cli.api_access import get_url_and_key
from gatehouse_cli.errors import CommandError

REMEMBERED = 20_000  # lines: as many as a resumed socket may bring again
_FINAL = {
    400: "what was asked for is out of bounds",
    401: "the key is not good",
    403: "the key may not look at logs, or is not good",
    404: "there is no such service, or it has no logs to watch",
    409: "too many look at it already",
}
_LONGEST_WAIT = 30.0


@click.command()
@click.argument("service")
@click.option("--lines", type=click.IntRange(0, 1000), default=100, show_default=True)
@click.option("--since", metavar="ID|TIMESTAMP", help="Instead of the last lines: all since then.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as JSON.")
def logs(*, service: str, lines: int, since: str | None, as_json: bool) -> None:
    """Print what a service logs until Ctrl-C.

    URL and key come from GATEHOUSE_URL and GATEHOUSE_API_KEY, else from .gatehouse/local.env. On
    AWS the URL is that of the front door (FrontDoorUrl), or SocketUrl of the stack's outputs. A
    socket that is cut is opened again where it ended.
    """
    url, key = get_url_and_key()
    try:
        for line in followed(url, key, service, lines=lines, since=since, say=_aside):
            click.echo(json.dumps(line) if as_json else f"{line['timestamp']}  {line['message']}")
    except KeyboardInterrupt:
        return


def followed(
    url: str, key: str, service: str, *, lines: int, since: str | None, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Give each line once, for ever; `say` gets what is told beside them.

    Raises:
        CommandError: The stack does not let this caller look, or cannot be reached at first.

    """
    seen: OrderedDict[str, None] = OrderedDict()
    reached, wait = False, 1.0
    while True:
        asked = {"since": since} if since else {"lines": str(lines)}
        try:
            for frame in _frames(address(url, service, asked), key):
                reached, wait = True, 1.0
                if frame["type"] in {"notice", "exit"}:
                    say(frame.get("message") or frame["reason"])
                for line in frame.get("lines", ()):
                    since = line["id"]
                    if _is_new(line["id"], seen):
                        yield line
        except InvalidStatus as refused:
            say(_reason(service, refused))
        except (InvalidHandshake, OSError) as error:
            if not reached:
                raise CommandError(f"{url} cannot be reached: {error}.") from error
        time.sleep(wait)
        wait = min(_LONGEST_WAIT, 2 * wait)


def _is_new(name: str, seen: OrderedDict[str, None]) -> bool:
    if name in seen:
        return False
    seen[name] = None
    if len(seen) > REMEMBERED:
        seen.popitem(last=False)
    return True


def _reason(service: str, refused: InvalidStatus) -> str:
    """Say why a socket was refused; raise CommandError where another try would be, too."""
    status = refused.response.status_code
    if status in _FINAL:
        raise CommandError(f"{service}: {_FINAL[status]} ({status}).") from refused
    return f"{service}: refused with {status}, trying again"


def address(url: str, service: str, asked: dict[str, str]) -> str:
    """Return the WebSocket's address under a base URL, or under the stack's own `SocketUrl`."""
    if url.startswith("wss://"):
        return f"{url}?{urlencode({**asked, 'service': service})}"
    base = url.replace("http", "ws", 1)
    return f"{base}/api/services/{quote(service, safe='')}/logs?{urlencode(asked)}"


def _frames(address: str, key: str) -> Iterator[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"}
    with connect(address, additional_headers=headers, open_timeout=40) as socket:
        try:
            for text in socket:
                yield json.loads(text)
        except ConnectionClosed:
            return


def _aside(message: str) -> None:
    click.echo(f"-- {message}", err=True)

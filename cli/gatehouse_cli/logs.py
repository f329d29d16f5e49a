"""`gatehouse logs`: print a service's log lines as they are written, and reconnect."""

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from gatehouse.core.errors import BadInput
from gatehouse.logs.line_rules import parse_backlog_request
from gatehouse_cli.errors import CommandError, OptionError
from gatehouse_cli.target import get_target, target_options
from gatehouse_cli.terminal import print_line

REMEMBERED = 20_000  # lines: as many as a reconnected socket can repeat
_FINAL = {
    400: "the stack refused the request; on this machine also where too many watch the service",
    401: "the key is not valid",
    403: "the key is not valid, or lacks the scope services:read",
    404: "there is no service with this name, or its log group cannot be watched",
    409: "it has the most viewers allowed; try again later",
}
_LONGEST_WAIT = 30.0


@click.command()
@click.argument("service")
@click.option(
    "--lines",
    type=click.IntRange(0, 1000),
    default=100,
    show_default=True,
    help="Last lines to print first.",
)
@click.option("--since", metavar="ID|TIMESTAMP", help="Print all lines since then first.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as JSON.")
@click.option("--raw", is_flag=True, help="Do not escape control characters in a pipe or file.")
@target_options
def logs(  # click passes one argument for each option.
    *,
    service: str,
    lines: int,
    since: str | None,
    as_json: bool,
    raw: bool,
    url: str | None,
    key_file: Path | None,
) -> None:
    r"""Print the log lines of SERVICE until Ctrl-C.

    URL and key come both from --url and --key-file, or both from GATEHOUSE_URL and
    GATEHOUSE_API_KEY, or both from .gatehouse/local.env. On AWS, the URL is the stack's output
    FrontDoorUrl or SocketUrl. After a disconnect the command reconnects and continues with the
    next line. Control characters are printed as \x1b and cannot reach the terminal.
    """
    try:
        parse_backlog_request(lines=None, since=since)
    except BadInput as error:
        raise OptionError(f"--{error}.") from error
    target = get_target(url, key_file)
    as_it_is = raw and not sys.stdout.isatty()
    found = follow(target.url, target.key, service, lines=lines, since=since, say=_print_notice)
    with suppress(KeyboardInterrupt), closing(found):
        for line in found:
            if as_json:  # JSON text is ASCII without control characters, save this one
                print_line(json.dumps(line).replace("\x7f", "\\u007f"), raw=True)
            else:
                print_line(f"{line['timestamp']}  {line['message']}", raw=as_it_is)


def follow(
    url: str, key: str, service: str, *, lines: int, since: str | None, say: Callable[[str], None]
) -> Generator[dict[str, Any]]:
    """Yield each line once and never end; `say` prints notices of the stack and of this command.

    Raises:
        CommandError: The stack refused the socket for good, or the first connection failed.

    """
    seen: OrderedDict[str, None] = OrderedDict()
    reached, wait = False, 1.0
    while True:
        query = {"since": since} if since else {"lines": str(lines)}
        try:
            for frame in _frames(address(url, service, query), key):
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
                raise CommandError(f"Cannot reach {url}: {error}. Check GATEHOUSE_URL.") from error
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
    """Return why a socket was refused; raise CommandError when a retry cannot succeed."""
    status = refused.response.status_code
    if status in _FINAL:
        raise CommandError(f"{service}: {_FINAL[status]} ({status}).") from refused
    return f"{service}: the stack answered {status}; reconnecting"


def address(url: str, service: str, query: dict[str, str]) -> str:
    """Return the WebSocket's address for a base URL or for the stack's `SocketUrl`."""
    if url.startswith("wss://"):
        return f"{url}?{urlencode({**query, 'service': service})}"
    base = url.replace("http", "ws", 1)
    return f"{base}/api/services/{quote(service, safe='')}/logs?{urlencode(query)}"


def _frames(address: str, key: str) -> Iterator[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"}
    with connect(address, additional_headers=headers, open_timeout=40) as socket:
        try:
            for text in socket:
                yield json.loads(text)
        except ConnectionClosed:
            return


def _print_notice(message: str) -> None:
    print_line(f"-- {message}", err=True)

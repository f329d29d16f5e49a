"""A stack that answers `GET /admin/audit`, and the command that reads it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner, Result

from gatehouse.audit import rules
from gatehouse.audit.model import GENESIS, Change, Event, Head, Origin
from gatehouse_cli.main import cli

KEY = "hk_" + "a1b2" * 18
NOW = 1_790_000_000_000_000
ORIGIN = Origin(actor="identity:boss", request_id="r", via="api_key:k")


def chain(length: int) -> tuple[list[Event], Head]:
    """Return a valid chain, oldest event first, and its head."""
    head, events = Head(), []
    for number in range(length):
        change = Change("webhook.update", f"webhook:{number}", after={"min_urgency": 0.5, "n": 1})
        event, head = rules.link(head, change, origin=ORIGIN, now=NOW + number)
        events.append(event)
    return events, head


def machine_chain(length: int) -> tuple[list[Event], Head]:
    """Return a valid chain of machines, as its events are published."""
    hashed, events = GENESIS, []
    for number in range(1, length + 1):
        event, _ = rules.link(Head(), Change("signal.receive", "signal:1"), origin=ORIGIN, now=NOW)
        event |= {"seq": number, "prev_hash": hashed, "chain": "machine"}
        hashed = event["hash"] = rules.hash_of(event)
        events.append(event)
    return events, Head(length, hashed)


EVENTS, HEAD = chain(5)
HEAD_TEXT = f"{HEAD.seq}:{HEAD.hash}"


class AuditStack(ThreadingHTTPServer):
    """Answers `GET /admin/audit` from `events`, newest first, in pages of two."""

    def __init__(self) -> None:
        stack = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                body = stack.page(query.get("after", [None])[0])
                self.send_response(200 if self.headers["Authorization"] == f"Bearer {KEY}" else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.events, self.head = EVENTS, HEAD
        self.machine_head: Head | None = None
        self.body: bytes | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def page(self, after: str | None) -> bytes:
        """Return the page after a cursor; `body` where it is set."""
        if self.body is not None:
            return self.body
        start = int(after or 0)
        newest = self.events[::-1]
        more = start + 2 < len(newest)
        data = {
            "events": newest[start : start + 2],
            "has_more": more,
            "cursor": str(start + 2) if more else None,
            "head": {"seq": self.head.seq, "hash": self.head.hash},
        }
        if self.machine_head is not None:
            data["machine_head"] = {"seq": self.machine_head.seq, "hash": self.machine_head.hash}
        return json.dumps({"data": data}).encode()


def audit(*words: str) -> Result:
    """Run `gatehouse audit`; fail on a traceback."""
    result = CliRunner().invoke(cli, ["audit", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines_of(events: list[Event]) -> list[str]:
    """Return the lines of an export."""
    return [json.dumps(event, separators=(",", ":")) for event in events]


GOOD = "\n".join(lines_of(EVENTS)) + "\n"

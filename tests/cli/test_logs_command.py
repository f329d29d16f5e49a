"""`gatehouse logs` against a server on loopback that answers as the stack does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from click.testing import CliRunner
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from gatehouse_cli import logs
from gatehouse_cli.errors import CommandError
from gatehouse_cli.main import cli

KEY = "hk_" + "a1b2" * 18


def line(number: int) -> dict[str, Any]:
    return {"id": f"{number}-x", "timestamp": f"T{number}", "message": f"line {number}"}


class Stack:
    """Answers one socket after the other with the next of `answers`; a number refuses."""

    def __init__(self) -> None:
        self.answers: list[list[dict[str, Any]] | int] = []
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.server: Server = serve(
            self._talk, "127.0.0.1", 0, process_request=self._refuse_or_accept, compression=None
        )
        port = self.server.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _refuse_or_accept(self, _: ServerConnection, request: Request) -> Response | None:
        address = urlsplit(request.path)
        query = dict(parse_qsl(address.query))
        self.asked.append((address.path, query, request.headers["Authorization"]))
        answer = self.answers[0]
        if isinstance(answer, int):
            self.answers.pop(0)
            return Response(answer, "Refused", Headers({"Content-Length": "0"}), b"")
        return None

    def _talk(self, socket: ServerConnection) -> None:
        answer = self.answers.pop(0)
        assert not isinstance(answer, int)
        for frame in answer:
            socket.send(json.dumps(frame))


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    made = Stack()
    monkeypatch.setattr(logs.time, "sleep", lambda _: None)
    yield made
    made.server.shutdown()


def follow(stack: Stack, say: Callable[[str], None] = print) -> Iterator[dict[str, Any]]:
    return logs.follow(stack.url, KEY, "orders", lines=7, since=None, say=say)


def test_after_a_disconnect_it_resumes_at_the_last_line(stack: Stack) -> None:
    stack.answers = [
        [{"type": "log", "lines": [line(1), line(2)]}, {"type": "ping"}],
        503,
        [{"type": "log", "lines": [line(2), line(3)]}],
    ]

    found = list(islice(follow(stack), 3))

    assert [one["message"] for one in found] == ["line 1", "line 2", "line 3"]
    path = "/api/services/orders/logs"
    assert stack.asked == [
        (path, {"lines": "7"}, f"Bearer {KEY}"),
        (path, {"since": "2-x"}, f"Bearer {KEY}"),
        (path, {"since": "2-x"}, f"Bearer {KEY}"),
    ]


def test_notices_of_the_stack_are_reported_beside_the_lines(stack: Stack) -> None:
    said: list[str] = []
    stack.answers = [
        [
            {"type": "notice", "message": "late"},
            {"type": "exit", "reason": "two hours"},
        ],
        [{"type": "log", "lines": [line(1)]}],
    ]

    assert next(follow(stack, said.append)) == line(1)
    assert said == ["late", "two hours"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_permanent_refusal_ends_the_command(stack: Stack, status: int) -> None:
    stack.answers = [status]

    with pytest.raises(CommandError, match=rf"^orders: .* \({status}\)\.$"):
        next(follow(stack))


def test_an_unreachable_stack_ends_the_command() -> None:
    lines = logs.follow("http://127.0.0.1:9", KEY, "orders", lines=1, since=None, say=print)
    with pytest.raises(CommandError, match="Cannot reach"):
        next(lines)


def test_lines_are_printed_with_their_timestamp_or_as_json(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_URL", stack.url)
    monkeypatch.setenv("GATEHOUSE_API_KEY", KEY)
    for words, printed in (
        ([], "T1  line 1\n"),
        (["--json"], json.dumps(line(1)) + "\n"),
    ):
        stack.answers = [[{"type": "log", "lines": [line(1)]}], 404]
        result = CliRunner().invoke(cli, ["logs", "orders", *words])
        assert (result.exit_code, result.stdout) == (1, printed)


def test_the_stacks_socket_url_takes_the_service_in_its_query() -> None:
    address = logs.address("wss://abc.example/live", "orders", {"lines": "5"})
    assert address == "wss://abc.example/live?lines=5&service=orders"
    assert logs.address("https://api.example", "a/b", {"since": "1-x"}) == (
        "wss://api.example/api/services/a%2Fb/logs?since=1-x"
    )

"""The command itself: its options, the first key, and the logs that it prints."""

import io
import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from click.testing import CliRunner

from gatehouse_cli.bootstrap import apply, file_from_environment, first_key
from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import template
from gatehouse_cli.local.logs import Follower
from gatehouse_cli.main import cli
from gatehouse_cli.stack_functions import RefusedError, functions
from gatehouse_cli.up import more_ports

PROJECT = Path(__file__).parents[2]
KEY = "hk_" + "ab" * 36


class Functions:
    """Answers one invocation, and records its arguments."""

    def __init__(self, answer: object, error: str | None = None) -> None:
        self.answer, self.error, self.calls = answer, error, list[dict[str, Any]]()

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.calls.append(call)
        body: dict[str, Any] = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        return {**body, "FunctionError": self.error} if self.error else body


def test_bootstrap_invokes_the_stacks_function_and_returns_the_key() -> None:
    functions: Any = Functions({"account": {}, "identity": {}, "api_key": {"id": "1", "key": KEY}})

    assert first_key(functions, "boot", action="create") == KEY
    assert functions.calls == [{"FunctionName": "boot", "Payload": b'{"action": "create"}'}]


def test_a_function_is_invoked_once_even_if_its_answer_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lambda runs the function for each request: what the first created would not be shown."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://{host}:{port}")
        connections, ended = [], threading.Event()

        def answer_nothing() -> None:
            server.settimeout(0.05)
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = server.accept()
                    connections.append(connection.recv(65536))
                    connection.close()

        thread = threading.Thread(target=answer_nothing)
        thread.start()
        session = boto3.Session("test", "test", region_name="us-east-1")
        with pytest.raises(CommandError, match=r"answer of the bootstrap function was lost: .*log"):
            first_key(functions(session), "boot", action="create")
        ended.set()
        thread.join()

    assert len(connections) == 1


def test_a_function_is_waited_for_as_long_as_it_can_run() -> None:
    timeouts = [
        resource["Properties"]["Timeout"]
        for name, resource in template.resources(PROJECT / "template.yaml").items()
        if name in {"BootstrapFunction", "RewrapFunction"}
    ]
    session = boto3.Session("test", "test", region_name="us-east-1")
    config = functions(session).meta.config

    assert timeouts == [900, 900]
    assert config.read_timeout > 900
    assert config.retries["total_max_attempts"] == 1
    assert config.tcp_keepalive is True


def test_a_second_bootstrap_raises_the_error_with_its_code() -> None:
    functions: Any = Functions({"error": {"code": "ALREADY_BOOTSTRAPPED", "message": "Has one"}})

    with pytest.raises(RefusedError, match="Has one") as refused:
        first_key(functions, "boot", action="create")

    assert refused.value.code == "ALREADY_BOOTSTRAPPED"


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ({"errorMessage": "no table\nmore"}, "Unhandled", "failed: no table. See its log group"),
        (None, "Unhandled", "failed: no reason given"),
        ({"other": 1}, None, "returned no key"),
        ([], None, "returned no key"),
    ],
)
def test_a_failed_bootstrap_reports_one_clear_sentence(
    answer: object, error: str | None, sentence: str
) -> None:
    functions: Any = Functions(answer, error)

    with pytest.raises(CommandError, match=sentence):
        first_key(functions, "boot", action="create")


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", ()), ("  ", ()), ("3000", (3000,)), ("3000, 20001", (3000, 20001)), ("1 2", (1, 2))],
)
def test_more_ports_are_separated_by_commas_or_spaces(text: str, ports: tuple[int, ...]) -> None:
    assert more_ports(text) == ports


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "3000,", "\u0663"])
def test_an_invalid_port_is_named_in_the_error(text: str) -> None:
    with pytest.raises(CommandError, match="is not a valid port"):
        more_ports(text)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("up --set Foo", "--set must be NAME=VALUE, not 'Foo'."),
        ("build --place nope", "samconfig.toml has no parameter set nope. It has local, dev, pr"),
        ("bootstrap --place nope", "samconfig.toml has no parameter set nope. It has local, d"),
        ("bootstrap --dry-run", "Use only one of --recover, --invite and --file; --dry-run"),
        ("audit verify --head foo", "--head must be a head as `gatehouse audit export` prints it."),
        ("audit verify --url http://a.example", "--key-file is missing: the options name only"),
        ("audit verify --url nope --key-file Makefile", "--url must be a URL"),
        ("audit verify --export a.jsonl --url b", "--export verifies a file: leave out --url and"),
        ("logs a --since yesterday", "--since must be the id of a line or an RFC 3339 timestamp."),
        ("invoke Nothing", "There is no function 'Nothing'. There are "),
        ("invoke KeysAdmin --event nothing", "There is no event 'nothing'. events has "),
    ],
)
def test_a_wrong_option_or_argument_ends_with_exit_code_2(command: str, sentence: str) -> None:
    result = CliRunner().invoke(cli, command.split())

    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {sentence}")


def test_every_command_describes_itself_in_its_help() -> None:
    assert set(cli.commands) >= {"up", "clean-state", "bootstrap", "build", "deploy"}
    for command in cli.commands.values():
        result = CliRunner().invoke(command, ["--help"])
        assert result.exit_code == 0
        assert command.help


def test_the_list_of_commands_fits_into_80_columns() -> None:
    groups = [cli, *(entry for entry in cli.commands.values() if isinstance(entry, click.Group))]

    for group in groups:
        result = CliRunner().invoke(group, ["--help"], terminal_width=78)  # click leaves two free
        assert "..." not in result.output.partition("Commands:")[2], result.output


class Logs:
    """Returns the same events at each read, as overlapping reads do."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.starts: list[int] = []

    def get_paginator(self, _operation: str) -> "Logs":
        return self

    def paginate(self, **call: Any) -> list[dict[str, Any]]:
        self.starts.append(call["startTime"])
        return [{"events": self.events}]

    def add(self, timestamp: int, message: str) -> None:
        self.events.append({"logStreamName": "s", "timestamp": timestamp, "message": message})


def test_each_log_line_is_returned_once_ordered_by_time() -> None:
    logs: Any = Logs()
    follower = Follower(logs, ["g"], since_ms=0)
    logs.add(2, "two\n")
    logs.add(1, "one\n")
    first = follower.new_lines()
    logs.add(1, "late\n")
    second = follower.new_lines()

    assert [line.message for line in first] == ["one", "two"]
    assert [line.message for line in second] == ["late"]


def test_equal_lines_of_one_millisecond_are_all_returned() -> None:
    logs: Any = Logs()
    follower = Follower(logs, ["g"], since_ms=0)
    logs.add(1, "same")
    logs.add(1, "same")

    assert len(follower.new_lines()) == 2
    logs.add(1, "same")
    assert len(follower.new_lines()) == 1


def test_lines_that_arrive_late_are_still_read() -> None:
    logs: Any = Logs()
    follower = Follower(logs, ["g"], since_ms=5)
    logs.add(60_000, "x")
    follower.new_lines()
    follower.new_lines()

    assert logs.starts == [5, 50_000]


HOOK = "whsec_" + "A" * 43 + "="
STEP = {"verb": "add", "kind": "webhook", "name": "a", "detail": {}, "shown": HOOK}
NAMED = "webhooks:\n  - {name: a, secret_env: HOOK_A}\n  - {name: b, secret_env: HOOK_B}\n"


def test_webhook_secrets_of_a_file_are_sent_and_never_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK_A", HOOK)
    monkeypatch.setenv("HOOK_B", f"{HOOK}2")
    functions: Any = Functions({"steps": [STEP | {"shown": None}]})
    file = tmp_path / "bootstrap.yaml"
    file.write_text(NAMED)

    apply(functions, "boot", file, dry_run=False)
    sent = json.loads(functions.calls[0]["Payload"])
    assert (sent["yaml"], sent["secrets"]) == (NAMED, {"HOOK_A": HOOK, "HOOK_B": f"{HOOK}2"})
    assert "whsec_" not in "".join(capsys.readouterr())


def test_a_generated_secret_is_printed_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    functions: Any = Functions({"steps": [STEP]})
    file = tmp_path / "bootstrap.yaml"
    file.write_text("webhooks: [{name: a}]")

    apply(functions, "boot", file, dry_run=False)
    assert capsys.readouterr().out == f"add webhook a secret {HOOK}\n1 of 1 changed\n"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "HOOK_B, which is not set"),
        ("", "HOOK_B, which is not set"),
        ("hunter2-hunter2", "HOOK_B must hold a webhook secret"),
    ],
)
def test_a_variable_without_a_secret_is_reported_before_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, sentence: str
) -> None:
    monkeypatch.setenv("HOOK_A", HOOK)
    monkeypatch.delenv("HOOK_B", raising=False)
    if value is not None:
        monkeypatch.setenv("HOOK_B", value)
    functions: Any = Functions({"steps": []})
    file = tmp_path / "bootstrap.yaml"
    file.write_text(NAMED)
    monkeypatch.setenv("CHORUS_BOOTSTRAP", str(file))

    for act in (lambda: apply(functions, "boot", file, dry_run=True), file_from_environment):
        with pytest.raises(CommandError, match=sentence) as refused:
            act()
        assert "hunter2" not in str(refused.value)
    assert functions.calls == []


@pytest.mark.parametrize(
    "text", ["webhooks: [", "- a", "webhooks: 5", "webhooks: [5, {secret_env: [x]}]", ""]
)
def test_other_faults_of_a_file_are_left_to_the_stack(tmp_path: Path, text: str) -> None:
    functions: Any = Functions({"error": {"code": "X", "message": "line 1: wrong"}})
    file = tmp_path / "bootstrap.yaml"
    file.write_text(text)

    with pytest.raises(RefusedError, match="line 1: wrong"):
        apply(functions, "boot", file, dry_run=False)
    assert json.loads(functions.calls[0]["Payload"])["secrets"] == {}

"""`gatehouse secrets`: its calls of the stack's functions, and its output."""

import io
import json
from typing import Any

import pytest
from click.testing import CliRunner

from gatehouse_cli.errors import CommandError
from gatehouse_cli.main import cli
from gatehouse_cli.secrets import rewrap_all
from gatehouse_cli.stack_functions import RefusedError

STACK_ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/gatehouse/1a2b"


class Functions:
    """Answers invocations one after the other, and records their payloads."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers, self.payloads = list(answers), list[dict[str, Any]]()

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.payloads.append(json.loads(call["Payload"]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def step(
    rewrapped: int = 0, left: int = 0, cursor: str | None = None, *, done: bool = False
) -> dict[str, Any]:
    return {"rewrapped": rewrapped, "left": left, "cursor": cursor, "done": done}


def test_a_rewrap_follows_the_cursor_and_repeats_until_done() -> None:
    functions: Any = Functions(step(100, cursor="a"), step(7), step(cursor="b"), step(done=True))

    assert rewrap_all(functions, "rewrap") == (107, 0)
    assert functions.payloads == [
        {"do": "rewrap", "cursor": cursor} for cursor in (None, "a", None, "b")
    ]


def test_a_rewrap_stops_when_no_remaining_secret_can_be_decrypted() -> None:
    functions: Any = Functions(step(5, left=2), step(left=2))

    assert rewrap_all(functions, "rewrap") == (5, 2)


def test_a_rewrap_that_never_finishes_reports_it() -> None:
    functions: Any = Functions(step(1))

    with pytest.raises(CommandError, match="run this again"):
        rewrap_all(functions, "rewrap")


def test_an_error_of_the_function_is_raised() -> None:
    functions: Any = Functions({"error": {"code": "SETTINGS_KEY_UNUSABLE", "message": "too short"}})

    with pytest.raises(RefusedError, match="too short"):
        rewrap_all(functions, "rewrap")


@pytest.mark.parametrize("command", [["get", "a", "provider/x"], ["rewrap"]])
@pytest.mark.parametrize(
    ("outputs", "answer", "code", "sentence"),
    [
        ({}, {}, 1, "name a Gatehouse stack"),
        (
            {"SecretsFunctionName": "f", "RewrapFunctionName": "f"},
            {"error": {"code": "X", "message": "Not today"}},
            1,
            "Error: Not today\n",
        ),
    ],
)
def test_a_failed_command_reports_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    outputs: dict[str, str],
    answer: dict[str, Any],
    code: int,
    sentence: str,
) -> None:
    result = run(monkeypatch, command, outputs, answer)

    assert result.exit_code == code
    assert sentence in result.output
    assert result.output.count("\n") == 2


def test_a_secret_is_printed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"SecretsFunctionName": "f"}
    result = run(monkeypatch, ["get", "a", "provider/x"], outputs, {"value": "the key"})

    assert (result.exit_code, result.stdout) == (0, "the key\n")
    assert result.stderr == "Stack gatehouse in eu-west-1, AWS account 123456789012\n"


def test_secrets_that_were_not_rewrapped_are_reported_as_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run(monkeypatch, ["rewrap"], {"RewrapFunctionName": "f"}, step(left=3))

    assert result.exit_code == 1
    assert result.stdout == "0 re-wrapped\n"
    assert "\nError: 3 secrets were not" in result.stderr


def run(
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    outputs: dict[str, str],
    answer: dict[str, Any],
) -> Any:
    """Run the command against a stack with these outputs, whose functions return this answer."""

    class Session:
        def client(self, service: str, **_: Any) -> Any:
            return Stacks() if service == "cloudformation" else Functions(answer)

    class Stacks:
        def describe_stacks(self, **_: Any) -> Any:
            listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
            return {"Stacks": [{"StackId": STACK_ID, "Outputs": listed}]}

    monkeypatch.setattr("gatehouse_cli.secrets.open_session", lambda _place: Session())
    return CliRunner().invoke(cli, ["secrets", *command, "--place", "prod"])

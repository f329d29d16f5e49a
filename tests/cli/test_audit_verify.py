"""`gatehouse audit verify`: what is not exactly an untouched chain is never a success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gatehouse.audit import rules
from gatehouse.audit.model import Change, Head
from gatehouse_cli.main import cli
from support.actors.audit_stack import (
    EVENTS,
    GOOD,
    HEAD,
    HEAD_TEXT,
    NOW,
    ORIGIN,
    AuditStack,
    audit,
    lines_of,
    machine_chain,
)

pytestmark = pytest.mark.usefixtures("folder")


def verify(text: str | bytes, *words: str) -> Result:
    Path("trail.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    return audit("verify", "--export", "trail.jsonl", *words)


def test_a_stack_is_verified_against_its_own_head_and_a_saved_one(audit_stack: AuditStack) -> None:
    assert audit("verify", "--head", HEAD_TEXT).stdout == (
        f"5 events, the chain is intact\nhead {HEAD_TEXT}\n"
    )
    audit_stack.events = EVENTS[:-1]
    cut = audit("verify")
    assert cut.exit_code == 1
    assert cut.stdout == "truncated: event 5: the chain ends at event 4, before the saved head 5\n"


@pytest.mark.usefixtures("audit_stack")
def test_without_a_saved_head_the_result_is_marked_as_unanchored() -> None:
    for words in ((), ("--export", "trail.jsonl")):
        Path("trail.jsonl").write_text(GOOD)
        result = audit("verify", *words)
        assert result.exit_code == 0
        assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [
            "5 events, the chain is intact",
            "unanchored",
            "head 5",
        ]


def test_a_trail_without_events_is_no_success(audit_stack: AuditStack) -> None:
    audit_stack.events, audit_stack.head = [], Head()

    for result in (audit("verify"), verify(""), verify("", "--head", HEAD_TEXT)):
        assert result.exit_code == 1
        assert "intact" not in result.stdout
    assert "nothing to verify" in verify("").stderr


@pytest.mark.parametrize(
    "head",
    [
        *("", "x", "5", "5:", f"{'9' * 5000}:a"),
        *(f"0:{'0' * 64}", f"5:{HEAD.hash}0", f"\u0665:{HEAD.hash}"),
    ],
    ids=range(8),  # hashes differ in each process
)
def test_a_malformed_head_is_never_taken_for_one(head: str) -> None:
    result = verify(GOOD, "--head", head)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "--head must be a head as" in result.stderr


MACHINE, MACHINE_HEAD = machine_chain(3)
MACHINE_TEXT = f"machine:{MACHINE_HEAD.seq}:{MACHINE_HEAD.hash}"


def test_each_chain_of_a_trail_is_verified_by_itself(audit_stack: AuditStack) -> None:
    audit_stack.events = [*EVENTS[:2], MACHINE[0], EVENTS[2], *MACHINE[1:], *EVENTS[3:]]
    audit_stack.machine_head = MACHINE_HEAD

    assert audit("export", "trail.jsonl").stdout == (
        f"8 events\nhead {MACHINE_TEXT}\nhead {HEAD_TEXT}\n"
    )
    heads = f"head {MACHINE_TEXT}\nhead {HEAD_TEXT}"
    for words in ((), ("--export", "trail.jsonl")):
        anchored = audit("verify", *words, "--head", heads)
        assert (anchored.exit_code, anchored.stdout) == (
            0,
            f"8 events, 2 chains are intact\n{heads}\n",
        )
        half = audit("verify", *words, "--head", HEAD_TEXT)
        assert "unanchored: no --head for machine;" in half.stdout


def test_a_chain_that_was_cut_or_left_out_is_found(audit_stack: AuditStack) -> None:
    audit_stack.machine_head = MACHINE_HEAD
    audit_stack.events = [*EVENTS, *MACHINE[:2]]
    found = audit("verify")
    assert found.exit_code == 1
    assert found.stdout == (
        "truncated: machine event 3: the chain ends at event 2, before the saved head 3\n"
    )
    left_out = verify(GOOD, "--head", HEAD_TEXT, "--head", MACHINE_TEXT)
    assert left_out.exit_code == 1
    assert left_out.stdout.startswith("truncated: machine event 3: the chain ends at event 0")
    edited = [*lines_of(EVENTS), *lines_of(MACHINE)]
    edited[6] = edited[6].replace("signal.receive", "signal.emit")
    assert verify("\n".join(edited)).stdout.startswith("edited: line 7: machine event 2 (")


def test_an_event_moved_to_another_chain_is_found() -> None:
    moved = [dict(event) for event in MACHINE]
    for event in moved:
        del event["chain"]
    assert "edited: line 1: event 1" in verify("\n".join(lines_of(moved))).stdout


FORGED = lines_of(EVENTS)[2]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (FORGED.replace('"actor":', '"actor":"forged","actor":', 1), "'actor' occurs twice"),
        (FORGED.replace('"n":', '"n":2,"n":', 1), "'n' occurs twice"),
        (FORGED.replace('"n":1', '"n":' + "[" * 100_000 + "]" * 100_000), "nested deeper than 32"),
        (FORGED.replace('"n":1', '"n":' + "[" * 500 + "]" * 500), "nested deeper than 32"),
        (FORGED.replace('"n":1', '"n":NaN'), "NaN is not a JSON number"),
        (FORGED.replace('"n":1', '"n":-Infinity'), "-Infinity is not a JSON number"),
        (FORGED.replace('"n":1', '"n":1e999'), "1e999 is out of range"),
        (FORGED.replace('"n":1', '"n":' + "9" * 5_000), "more than 64 digits"),
        (FORGED.replace('"seq":3', '"seq":true'), "seq has the wrong type"),
        (FORGED.replace('"seq":3', '"seq":3.0'), "seq has the wrong type"),
        (FORGED.replace('"seq":3', '"seq":0'), "seq must be 1 or more"),
        (FORGED.replace('"actor":"identity:boss"', '"actor":null'), "actor has the wrong type"),
        (FORGED.replace('"before":null', '"before":[]'), "before has the wrong type"),
        (FORGED.replace('"request_id":"r",', ""), "the field request_id is missing"),
        (FORGED.replace(EVENTS[2]["hash"], EVENTS[2]["hash"].upper()), "hash must be 64 hex"),
        (FORGED + FORGED, "not JSON"),
        (FORGED.replace('"actor":', '"chain":7,"actor":'), "chain has the wrong type"),
        ("[]", "not a JSON object"),
        ("3", "not a JSON object"),
        ("", "not JSON"),
        ("\ufeff" + FORGED, "not JSON"),
    ],
    ids=range(21),
)
def test_a_line_that_is_not_exactly_one_event_is_invalid(line: str, problem: str) -> None:
    lines = lines_of(EVENTS)
    lines[2] = line

    result = verify("\n".join(lines))

    assert result.exit_code == 1
    first = result.stdout.splitlines()[0]
    assert first.startswith("invalid: line 3: ")
    assert problem in first
    assert "Traceback" not in result.output


def test_a_line_that_is_no_utf8_is_invalid() -> None:
    result = verify(GOOD.encode().replace(b"identity:boss", b"identity:b\xf6ss", 1))

    assert result.stdout.splitlines()[0] == "invalid: line 1: the line is not UTF-8"


def test_an_edited_event_is_reported_with_its_line() -> None:
    lines = lines_of(EVENTS)
    lines[3] = lines[3].replace("webhook:3", "webhook:9")
    lines.insert(1, "{oops")

    result = verify("\n".join(lines))

    assert result.exit_code == 1
    assert result.stdout == (
        "invalid: line 2: the line is not JSON\n"
        f"edited: line 5: event 4 ({EVENTS[3]['id']}): the event does not match its hash\n"
    )
    assert "broken in 2 places" in result.stderr
    lines.pop(1)
    assert "broken in 1 place, " in verify("\n".join(lines)).stderr


def test_names_of_a_forged_event_cannot_steer_the_terminal() -> None:
    forged = EVENTS[0] | {"id": "audit:\x1b[2J\n5 events, the chain is intact"}

    result = verify("\n".join(lines_of([forged])))

    assert "\x1b" not in result.output
    assert not any(line.startswith("5 events") for line in result.stdout.splitlines())


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\u2029"])
def test_only_a_line_feed_ends_a_line(separator: str) -> None:
    change = Change("key.update", "key:1", after={"name": f"a{separator}b"})
    event, _ = rules.link(Head(), change, origin=ORIGIN, now=NOW)

    result = verify(json.dumps(event, ensure_ascii=False).replace("\\f", "\x0c") + "\n")

    # A form feed must be escaped in JSON; the other three may stand as they are.
    assert result.exit_code == (1 if separator == "\x0c" else 0), result.stdout


@pytest.mark.parametrize("levels", [30, 31])
def test_an_event_may_be_as_deep_as_the_table_allows(levels: int) -> None:
    inner: Any = 1
    for _ in range(levels):
        inner = [inner]
    change = Change("key.update", "key:1", after={"x": inner})
    event, _ = rules.link(Head(), change, origin=ORIGIN, now=NOW)

    assert verify(json.dumps(event)).exit_code == (0 if levels == 30 else 1)


def test_a_file_and_a_stack_cannot_be_verified_at_once() -> None:
    result = verify(GOOD, "--url", "https://a.example")

    assert result.exit_code == 2
    assert "leave out --url" in result.stderr


def test_a_missing_export_is_one_sentence() -> None:
    for name in ("none.jsonl", "."):
        result = audit("verify", "--export", name)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert "cannot be read: " in result.stderr
        assert "Errno" not in result.stderr


def test_an_export_is_verified_from_a_pipe() -> None:
    result = CliRunner().invoke(cli, ["audit", "verify", "--export", "-"], input=GOOD)

    assert result.exit_code == 0

"""`gatehouse audit export`: a file is replaced in one step, and nothing else is replaced."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatehouse_cli import export_file
from support.actors.audit_stack import GOOD, HEAD_TEXT, AuditStack, audit


def test_an_export_is_read_back_and_verified_with_its_head(audit_stack: AuditStack) -> None:
    exported = audit("export", "trail.jsonl")

    assert exported.stdout == f"5 events\nhead {HEAD_TEXT}\n"
    assert exported.stderr == f"Stack {audit_stack.url}, named by the environment\n"
    assert Path("trail.jsonl").read_text() == GOOD
    verified = audit("verify", "--export", "trail.jsonl", "--head", HEAD_TEXT)
    assert (verified.exit_code, verified.stdout) == (
        0,
        f"5 events, the chain is intact\nhead {HEAD_TEXT}\n",
    )
    assert list(Path().iterdir()) == [Path("trail.jsonl")]


@pytest.mark.usefixtures("audit_stack")
@pytest.mark.parametrize(
    ("before", "after"),
    [(None, 0o600), (0o644, 0o600), (0o600, 0o600), (0o400, 0o400), (0o777, 0o600)],
)
def test_only_the_owner_can_read_an_export(before: int | None, after: int) -> None:
    file = Path("trail.jsonl")
    if before is not None:
        file.write_text("old")
        file.chmod(before)

    assert audit("export", "trail.jsonl").exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == after


@pytest.mark.usefixtures("audit_stack")
def test_a_symbolic_link_stays_and_its_file_is_replaced() -> None:
    Path("there").mkdir()
    for name, target in (("link", "there/trail"), ("dangling", "there/new")):
        Path(name).symlink_to(target)
    Path("there/trail").write_text("old")

    for name in ("link", "dangling"):
        assert audit("export", name).exit_code == 0
        assert Path(name).is_symlink()
        assert Path(name).read_text() == GOOD
    assert sorted(path.name for path in Path("there").iterdir()) == ["new", "trail"]


@pytest.mark.usefixtures("audit_stack")
def test_a_pipe_gets_the_lines_and_stays_a_pipe() -> None:
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    for name in ("pipe", "link"):
        got: list[str] = []
        reader = threading.Thread(target=lambda got=got: got.append(Path("pipe").read_text()))
        reader.start()
        assert audit("export", name).exit_code == 0
        reader.join(10)
        assert got == [GOOD]
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


@pytest.mark.usefixtures("audit_stack")
def test_a_device_is_written_to_and_stays_a_device() -> None:
    assert audit("export", "/dev/null").exit_code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.usefixtures("audit_stack")
def test_a_dash_writes_the_lines_to_standard_output_alone() -> None:
    result = audit("export", "-")

    assert result.stdout == GOOD
    assert f"5 events\nhead {HEAD_TEXT}\n" in result.stderr
    assert list(Path().iterdir()) == []
    Path("trail.jsonl").write_bytes(result.stdout_bytes)
    assert audit("verify", "--export", "trail.jsonl").exit_code == 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (".", "is a folder: name a file"),
        ("none/trail.jsonl", "there is no folder"),
        ("loop", "cannot be written: Too many levels of symbolic links"),
        ("file/trail.jsonl", "cannot be written: Not a directory"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_before_any_request(
    audit_stack: AuditStack, name: str, sentence: str
) -> None:
    audit_stack.body = b"no request is expected"
    Path("loop").symlink_to("loop")
    Path("file").write_text("x")

    result = audit("export", name)

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 2
    assert {path.name for path in Path().iterdir()} == {"loop", "file"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_export_leaves_the_earlier_file_and_no_draft(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    Path("trail.jsonl").write_text("old")

    with pytest.raises((export_file.CommandError, KeyboardInterrupt)):
        export_file.write(Path("trail.jsonl"), GOOD)
    assert [path.read_text() for path in folder.iterdir()] == ["old"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"data": {"events": []}}',
        b'{"data": {"events": [], "events": [], "has_more": false, "head": {"seq":0,"hash":""}}}',
        b'{"data": {"events": [{}], "has_more": false, "head": {"seq": 0, "hash": ""}}}',
        b'{"data": {"events": [], "has_more": true, "cursor": null, "head": {"seq":0,"hash":""}}}',
    ],
)
def test_an_answer_that_is_no_trail_is_one_sentence(audit_stack: AuditStack, body: bytes) -> None:
    audit_stack.body = body

    result = audit("export", "trail.jsonl")

    assert result.exit_code == 1
    assert "did not answer with an audit trail" in result.stderr
    assert list(Path().iterdir()) == []


def test_a_refused_key_shows_what_the_stack_said(
    audit_stack: AuditStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit_stack.body = b'{"error": "\x1b[31mUnauthorized"}'
    monkeypatch.setenv("GATEHOUSE_API_KEY", "other")

    result = audit("verify")

    assert result.exit_code == 1
    assert "answered 401" in result.stderr
    assert "\\x1b[31mUnauthorized" in result.stderr


def test_a_key_that_may_not_read_the_trail_gets_the_stack_s_sentence(
    audit_stack: AuditStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"code": "POLICY_DENIED", "message": "Denied by admin_only", "more": "x" * 400}
    audit_stack.body = json.dumps({"error": error}).encode()
    monkeypatch.setenv("GATEHOUSE_API_KEY", "other")

    result = audit("verify")

    assert result.stderr.endswith("/admin/audit answered 401: Denied by admin_only\n")


def test_a_reader_that_leaves_ends_an_export_without_a_word(audit_stack: AuditStack) -> None:
    export = subprocess.Popen(
        [sys.executable, "-c", "from gatehouse_cli.main import cli; cli()", "audit", "export", "-"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert export.stdout is not None
    assert export.stderr is not None
    export.stdout.close()
    said = export.stderr.read().decode()
    export.stderr.close()

    assert export.wait(30) == 1
    assert said == f"Stack {audit_stack.url}, named by the environment\n"

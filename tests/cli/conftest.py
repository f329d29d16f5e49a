"""What several tests of the command share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.actors.audit_stack import KEY, AuditStack
from support.worlds.socket_stage import house, stage, url  # noqa: F401 - fixtures of two files


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Change into an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def audit_stack(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[AuditStack]:
    """Name a stack in the environment that has five audit events."""
    assert folder.is_dir()
    stack = AuditStack()
    monkeypatch.setenv("GATEHOUSE_URL", stack.url)
    monkeypatch.setenv("GATEHOUSE_API_KEY", KEY)
    yield stack
    stack.shutdown()
    stack.server_close()

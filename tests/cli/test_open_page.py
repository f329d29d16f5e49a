"""`gatehouse open`: which address it opens, and that the key stays behind."""

from __future__ import annotations

import webbrowser

import pytest
from click.testing import CliRunner

from gatehouse_cli.main import cli

KEY = "hk_" + "0" * 72


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked for."""
    asked: list[str] = []
    monkeypatch.setenv("GATEHOUSE_URL", "http://localhost:8081")
    monkeypatch.setenv("GATEHOUSE_API_KEY", KEY)
    monkeypatch.setattr(webbrowser, "open", lambda address: asked.append(address) or True)
    return asked


def test_the_page_of_the_stack_is_opened_without_the_key(opened: list[str]) -> None:
    done = CliRunner().invoke(cli, ["open"])
    assert done.exit_code == 0
    assert opened == ["http://localhost:8081/ui"]
    assert done.stdout == "http://localhost:8081/ui\n"
    assert KEY not in done.output


def test_without_a_browser_the_address_is_printed(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: bool(opened.clear()))
    done = CliRunner().invoke(cli, ["open"])
    assert done.exit_code == 1
    assert done.stdout == "http://localhost:8081/ui\n"
    assert "open the address yourself" in done.stderr

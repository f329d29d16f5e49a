"""Everything that names an address of the local stack follows its ports and its names."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from gatehouse_cli import samconfig
from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import engine_access
from gatehouse_cli.local.callers import own_names
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.stack import Plan, own_places

PROJECT = Path(__file__).parents[2]
ENGINE = EngineAccess(port=5001, key_id="GH1", secret="s", door="d")


def places(tmp_path: Path, *ports: int, hosts: tuple[str, ...] = ()) -> dict[str, set[str]]:
    plan = Plan(PROJECT, LocalFolder(tmp_path), ports=ports, hosts=hosts)
    return {name: set(value.split(",")) for name, value in own_places(plan, ENGINE).items()}


def of_loopback(*ports: int) -> set[str]:
    return {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]") for port in ports}


def test_one_port_moves_wallet_domains_and_own_hosts(tmp_path: Path) -> None:
    assert places(tmp_path, 8081) == {
        "BaseUrl": {"http://localhost:8081"},
        "WalletDomains": of_loopback(8081),
        "OwnHosts": of_loopback(8081, 5001),
    }


def test_more_ports_are_wallet_domains_and_own_hosts_too(tmp_path: Path) -> None:
    assert places(tmp_path, 8081, 3000, 20001) == {
        "BaseUrl": {"http://localhost:8081"},
        "WalletDomains": of_loopback(8081, 3000, 20001),
        "OwnHosts": of_loopback(8081, 3000, 20001, 5001),
    }


def test_a_site_in_development_signs_in_and_may_be_called(tmp_path: Path) -> None:
    named = places(tmp_path, 8081, hosts=("gatehouse.test", "localhost:5173"))

    own = {"gatehouse.test", "gatehouse.test:8081"}
    assert named["WalletDomains"] == of_loopback(8081) | own | {"localhost:5173"}
    assert named["OwnHosts"] == of_loopback(8081, 5001) | own


def test_on_port_80_a_host_without_a_port_is_known() -> None:
    assert "localhost" in own_names([80, 8080])
    assert "localhost" not in own_names([8080])


@pytest.mark.parametrize("host", ["", "http://a.test", "a test", "a.test/", "a,b", "-", "a:b"])
def test_a_host_option_that_names_no_host_is_refused(host: str) -> None:
    with pytest.raises(CommandError, match=r"^--host must be a name such as"):
        own_names([8080], [host])


def test_no_parameter_set_names_an_address_of_one_machine() -> None:
    assert (
        samconfig.read(PROJECT, "local").parameters.keys().isdisjoint({"WalletDomains", "OwnHosts"})
    )


def test_the_engine_keeps_its_port_and_yields_to_another_program(tmp_path: Path) -> None:
    """Deployed functions know the port, so a change costs a deployment."""
    file = tmp_path / "engine-access"
    first = engine_access.choose(file, port=None)
    assert engine_access.choose(file, port=None) == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        moved = engine_access.choose(file, port=None)

    assert moved.port != first.port
    assert engine_access.choose(file, port=None) == moved
    assert (moved.key_id, moved.secret, moved.door) == (first.key_id, first.secret, first.door)


def test_no_command_of_the_documentation_has_a_fixed_port() -> None:
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
    fixed = [
        f"{page.name}: {line}"
        for page in pages
        for block in re.findall(r"^```.*?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if re.search(r"\b(?:8080|4566)\b", line)
    ]

    assert fixed == []

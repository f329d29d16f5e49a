"""What `sam local` is given, so that every function answers from a container."""

from __future__ import annotations

import copy
import http.server
import ipaddress
import json
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import (
    answers,
    container_code,
    container_runs,
    container_template,
    containers,
)
from gatehouse_cli.local.containers import Bridge
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.sam import Sam
from gatehouse_cli.main import cli
from house import sources
from support.aws import resources

PROJECT = Path(__file__).parents[2]
TEMPLATE = resources.template()
TARGET = {"PythonRuntime": "python3.12", "Architecture": "x86_64"}
FUNCTIONS = container_template.functions(TEMPLATE)


def declared(function: str) -> dict[str, Any]:
    """Return what template.yaml declares for a function."""
    own = TEMPLATE["Resources"][function]["Properties"].get("Environment", {}).get("Variables", {})
    return {**TEMPLATE["Globals"]["Function"]["Environment"]["Variables"], **own}


@pytest.fixture(scope="module")
def copied() -> dict[str, Any]:
    """The copy for containers of a stack whose variables all have their name as value."""
    deployed = {name: {one: f"value of {one}" for one in declared(name)} for name in FUNCTIONS}
    deployed["SweeperFunction"]["GATEHOUSE_SOCKETS"] = "http://127.0.0.1:5001/_aws/x/live"
    return container_template.for_containers(TEMPLATE, deployed, port=5001, target=TARGET)


def variables(copied: dict[str, Any], function: str) -> dict[str, Any]:
    return dict(copied["Resources"][function]["Properties"]["Environment"]["Variables"])


def test_every_function_declares_all_that_it_has_in_the_engine(copied: dict[str, Any]) -> None:
    assert len(FUNCTIONS) == len(sources.lambdas())
    for function in FUNCTIONS:
        found = variables(copied, function)
        assert set(found) == {*declared(function), "AWS_ENDPOINT_URL"}, function
        assert all(isinstance(value, str) for value in found.values()), function
        assert found["GATEHOUSE_MAIN_TABLE"] == "value of GATEHOUSE_MAIN_TABLE"


def test_the_engine_has_the_name_that_containers_know(copied: dict[str, Any]) -> None:
    found = variables(copied, "SweeperFunction")

    assert found["AWS_ENDPOINT_URL"] == "http://host.docker.internal:5001"
    assert found["GATEHOUSE_SOCKETS"] == "http://host.docker.internal:5001/_aws/x/live"


def test_functions_run_in_the_runtime_that_was_built_for(copied: dict[str, Any]) -> None:
    shared = copied["Globals"]["Function"]

    assert (shared["Runtime"], shared["Architectures"]) == ("python3.12", ["x86_64"])
    assert "Environment" not in shared


def test_a_function_has_no_layers_so_that_sam_builds_no_image_for_each_call(
    copied: dict[str, Any],
) -> None:
    every = {function: copied["Resources"][function]["Properties"] for function in FUNCTIONS}

    assert "Layers" not in copied["Globals"]["Function"]
    assert not [function for function, properties in every.items() if "Layers" in properties]
    for function, properties in every.items():
        assert properties["CodeUri"] == f"containers-5001/{function}"


def test_a_function_s_folder_has_its_files_and_those_of_its_layers(tmp_path: Path) -> None:
    """As on Lambda, the function's own file is found first, then that of the last layer."""
    built = {
        "DepsLayer/python/a.py": "deps",
        "DepsLayer/python/b/c.py": "deps",
        "GatehouseLayer/python/a.py": "gatehouse",
        "GatehouseLayer/python/handler.py": "gatehouse",
        "WalletLayer/python/w.py": "wallet",
        "WalletsFunction/handler.py": "wallets",
        "PeopleFunction/handler.py": "people",
    }
    for name, text in built.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    template = copy.deepcopy(TEMPLATE)
    for name in {one.partition("/")[0] for one in built}:
        kind = "ContentUri" if name.endswith("Layer") else "CodeUri"
        template["Resources"][name]["Properties"][kind] = name

    functions = ["WalletsFunction", "PeopleFunction"]
    for _ in range(2):  # the second time over the first
        container_code.lay_out(template, tmp_path, port=5001, functions=functions)

    people = {"a.py": "gatehouse", "b/c.py": "deps", "handler.py": "people"}
    assert files(tmp_path / "containers-5001/PeopleFunction") == people
    wallets = people | {"w.py": "wallet", "handler.py": "wallets"}
    assert files(tmp_path / "containers-5001/WalletsFunction") == wallets
    assert (tmp_path / "GatehouseLayer/python/handler.py").read_text() == "gatehouse"


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_only_its_owner_reads_the_copy_which_may_hold_settings_keys(tmp_path: Path) -> None:
    built = tmp_path / "template.yaml"
    built.write_text(json.dumps(TEMPLATE))

    path = container_template.write(
        built, {name: {} for name in FUNCTIONS}, port=5001, target=TARGET
    )

    assert path == tmp_path / "containers-5001.yaml"
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_function_has_an_event_and_an_expected_answer() -> None:
    own = {container_runs.own_event(function) for function in FUNCTIONS}

    assert own == sources.lambdas()
    for function in FUNCTIONS:
        assert container_runs.find_event(PROJECT, container_runs.own_event(function)).is_file()
        assert container_runs.expected_answer(PROJECT, function) is not None


@pytest.mark.parametrize(
    "name", ["KeysAdminFunction", "KeysAdmin", "keys_admin", "keys-admin", "keysadmin"]
)
def test_a_function_has_several_names(name: str) -> None:
    assert container_runs.find_function(FUNCTIONS, name) == "KeysAdminFunction"


@pytest.mark.parametrize("name", ["", "Keys", "keys_admins", "Function"])
def test_an_unknown_function_is_answered_with_all_names(name: str) -> None:
    with pytest.raises(CommandError, match=r"There is no function .*KeysAdmin, "):
        container_runs.find_function(FUNCTIONS, name)


def test_an_event_is_a_name_or_a_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_text("{}")

    assert container_runs.find_event(PROJECT, "people") == PROJECT / "events" / "people.json"
    assert container_runs.find_event(PROJECT, str(own)) == own
    with pytest.raises(CommandError, match=r"There is no event 'mine'\. events has authorizer, "):
        container_runs.find_event(PROJECT, "mine")


# ---- Answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": "*"}, {"a": [1]}),
        ({"body": {"status": "ok"}}, {"body": '{"status": "ok", "more": 1}'}),
        ({"body": []}, {"body": "[]"}),
        ({"body": ""}, {"body": ""}),
        ([{"a": 1}], [{"a": 1, "b": 2}]),
        (None, None),
    ],
)
def test_an_answer_may_have_more_than_was_expected(expected: Any, actual: Any) -> None:
    assert answers.find_difference(expected, actual) is None


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ({"a": 1}, {"a": 2}, "answer.a is 2, not 1"),
        ({"a": 1}, {"a": True}, "answer.a is true, not 1"),
        ({"a": 1}, {"b": 1}, 'answer has no a: {"b": 1}'),
        ({"a": {"b": 1}}, {"a": None}, 'answer.a is null, not {"b": 1}'),
        ({"body": {"a": 1}}, {"body": "oops"}, "answer.body is not JSON: 'oops'"),
        ({"body": {"a": 1}}, {"body": '{"a": 2}'}, "answer.body.a is 2, not 1"),
        ([], [1], "answer is [1], not []"),
        ([1, 2], [1, 3], "answer[1] is 3, not 2"),
        ({"done": True}, {"errorMessage": "x"}, 'answer has no done: {"errorMessage": "x"}'),
    ],
)
def test_a_difference_is_named_with_its_place(expected: Any, actual: Any, difference: str) -> None:
    assert answers.find_difference(expected, actual) == difference


# ---- Docker ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["invoke", "Public"], ["invoke-all"], ["start-api"]])
def test_a_missing_docker_is_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")

    result = CliRunner().invoke(cli, [*command, "--home", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"Error: Docker does not answer at unix://{tmp_path}/docker.so")


class Docker(http.server.BaseHTTPRequestHandler):
    """Answers for the network of containers as Docker does."""

    config: dict[str, str]

    def do_GET(self) -> None:
        body = json.dumps({"IPAM": {"Config": [self.config]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = tmp_path / "docker.sock"
    Docker.config = {"Subnet": "172.17.0.0/16"}
    with socketserver.UnixStreamServer(str(path), Docker) as server:
        server.get_request = lambda: (server.socket.accept()[0], ("", 0))  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("docker")
def test_the_host_is_the_gateway_or_the_first_address_of_the_network() -> None:
    first = containers.find_bridge()
    Docker.config["Gateway"] = "172.17.0.9"
    named = containers.find_bridge()

    assert first == Bridge("172.17.0.1", ipaddress.ip_network("172.17.0.0/16"))
    assert named is not None
    assert named.gateway == "172.17.0.9"


@pytest.mark.usefixtures("docker")
def test_without_a_running_stack_the_command_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["invoke", "Public", "--home", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: No local stack runs from {tmp_path}: start one with")


def test_a_docker_on_another_machine_needs_no_forwarder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")

    assert containers.find_bridge() is None


@pytest.fixture
def echo() -> Iterator[int]:
    """A server on 127.0.0.1 that returns what it reads, once, and closes; yields its port."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(self.request.recv(1000))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def said(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.sendall(b"hello")
        try:
            return connection.recv(1000)
        except ConnectionResetError:
            return b""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address")
def test_containers_reach_the_engine_while_the_command_runs(echo: int) -> None:
    with containers.forwarded(Bridge("127.0.0.2", ipaddress.ip_network("127.0.0.0/8")), echo):
        assert said("127.0.0.2", echo) == b"hello"
        assert said("127.0.0.2", echo) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        said("127.0.0.2", echo)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address")
def test_who_is_no_container_does_not_reach_the_engine(echo: int) -> None:
    with containers.forwarded(Bridge("127.0.0.2", ipaddress.ip_network("172.17.0.0/16")), echo):
        assert said("127.0.0.2", echo) == b""


def test_an_address_of_another_machine_is_not_forwarded(echo: int) -> None:
    """Docker runs in a virtual machine, whose containers reach loopback by themselves."""
    with containers.forwarded(Bridge("192.0.2.77", ipaddress.ip_network("192.0.2.0/24")), echo):
        assert said("127.0.0.1", echo) == b"hello"


# ---- SAM ---------------------------------------------------------------------------------------


def test_no_variable_of_the_shell_replaces_one_of_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM prefers its own environment to what the template declares."""
    sam = tmp_path / ".gatehouse" / "tools" / "sam" / "bin" / "sam"
    sam.parent.mkdir(parents=True)
    sam.write_text('#!/bin/sh\necho "$@"\nenv\n')
    sam.chmod(0o700)
    for name in ("CHORUS_BOOTSTRAP", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.setenv(name, "mine")
    home = LocalFolder(tmp_path / "home")
    home.prepare()
    access = EngineAccess(port=5001, key_id="GH1", secret="s", door="d")
    seen = tmp_path / "seen"

    with seen.open("wb") as output:
        code = Sam(tmp_path, home, access).local(
            "invoke",
            "X",
            endpoint="http://host.docker.internal:5001",
            hidden={"CHORUS_BOOTSTRAP", "AWS_ENDPOINT_URL"},
            output=output,
            errors=None,
        )

    first, *lines = seen.read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert (code, first) == (0, "local invoke X")
    assert found["AWS_ENDPOINT_URL"] == "http://host.docker.internal:5001"
    assert found["AWS_ACCESS_KEY_ID"] == "GH1"
    assert "mine" not in found.values()


def test_an_interrupt_ends_sam_in_order(tmp_path: Path) -> None:
    """SAM removes its container when it gets SIGTERM."""
    sam = tmp_path / ".gatehouse" / "tools" / "sam" / "bin" / "sam"
    sam.parent.mkdir(parents=True)
    # The interrupt arrives while we wait for it.
    sam.write_text(
        "#!/bin/sh\ntrap 'echo removed; exit 0' TERM\nsleep 0.5\nkill -INT $PPID\nsleep 5 & wait\n"
    )
    sam.chmod(0o700)
    home = LocalFolder(tmp_path / "home")
    home.prepare()
    access = EngineAccess(port=5001, key_id="GH1", secret="s", door="d")
    seen = tmp_path / "seen"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with seen.open("wb") as output, pytest.raises(KeyboardInterrupt):
            Sam(tmp_path, home, access).local(
                "start-api", endpoint="http://x", hidden=(), output=output, errors=None
            )
    finally:
        signal.signal(signal.SIGINT, before)

    assert seen.read_text() == "removed\n"

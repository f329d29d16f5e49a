"""Listening on loopback: both addresses, and a clear error when a port is in use."""

import socket

import pytest

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.server import listen


def test_a_port_in_use_reports_one_clear_sentence_and_exit_code_1() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(CommandError) as error, listen([port]):
            pass

    assert error.value.message == (
        f"Port {port} is in use: stop the program that listens there, or choose another"
        " with --port."
    )
    assert error.value.exit_code == 1


def test_it_listens_on_loopback_only() -> None:
    with listen([0]) as sockets:
        addresses = {listener.getsockname()[0] for listener in sockets}

    assert addresses <= {"127.0.0.1", "::1"}
    assert "127.0.0.1" in addresses


def test_a_port_named_twice_is_opened_once() -> None:
    with listen([0]) as first:
        port = first[0].getsockname()[1]

    with listen([port, port]) as sockets:
        assert len(sockets) == len({listener.family for listener in sockets})


def test_a_port_is_free_again_immediately() -> None:
    with listen([0]) as first:
        port = first[0].getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass

    with listen([port]) as second:
        assert second[0].getsockname()[1] == port


def test_a_response_in_two_parts_arrives_without_a_delay() -> None:
    """asyncio switches off Nagle's algorithm only where the socket names its protocol."""
    with listen([0]) as sockets:
        assert {listener.proto for listener in sockets} == {socket.IPPROTO_TCP}

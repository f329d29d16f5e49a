"""Loopback ports: both addresses, ours before anything is started, and a clear word if not."""

import socket

import pytest

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.server import listen


def test_a_taken_port_is_one_clear_sentence_and_exit_code_1() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(CommandError) as trouble, listen([port]):
            pass

    assert trouble.value.message == (
        f"Port {port} is taken: end what listens there, or choose another with --port."
    )
    assert trouble.value.exit_code == 1


def test_only_loopback_is_listened_on() -> None:
    with listen([0]) as sockets:
        addresses = {listener.getsockname()[0] for listener in sockets}

    assert addresses <= {"127.0.0.1", "::1"}
    assert "127.0.0.1" in addresses


def test_a_port_named_twice_is_opened_once() -> None:
    with listen([0]) as first:
        port = first[0].getsockname()[1]

    with listen([port, port]) as sockets:
        assert len(sockets) == len({listener.family for listener in sockets})


def test_a_port_is_free_again_at_once() -> None:
    with listen([0]) as first:
        port = first[0].getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass

    with listen([port]) as second:
        assert second[0].getsockname()[1] == port


def test_an_answer_s_second_part_does_not_wait_for_the_first_one_s_acknowledgement() -> None:
    """Asyncio switches Nagle's algorithm off where the protocol is named, and nowhere else."""
    with listen([0]) as sockets:
        assert {listener.proto for listener in sockets} == {socket.IPPROTO_TCP}

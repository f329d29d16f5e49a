"""Listen on loopback, and serve the front door in a thread."""

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.asgi import Application

STARTED_WITHIN = 10.0


@contextmanager
def listen(ports: Iterable[int]) -> Iterator[list[socket.socket]]:
    """Listen on every port, on IPv4 and, where the host has it, IPv6 loopback.

    `localhost` can mean either address: a program on the other one would receive our requests.
    Call this before anything is started, so that a port in use is reported first.

    Raises:
        CommandError: A port is in use, or this user may not open it.

    """
    with ExitStack() as closing:
        sockets = []
        for port in dict.fromkeys(ports):
            for family, address in _addresses():
                # asyncio sets TCP_NODELAY only where the protocol is named; without it, the second
                # part of a response waits 40 ms for the acknowledgement of the first.
                listener = closing.enter_context(
                    socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                )
                # Otherwise a port stays in use for a minute after the last stack.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _listen(listener, address, port)
                sockets.append(listener)
        yield sockets


def _addresses() -> list[tuple[socket.AddressFamily, str]]:
    addresses = [(socket.AF_INET, "127.0.0.1")]
    if socket.has_ipv6:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                return addresses
        addresses.append((socket.AF_INET6, "::1"))
    return addresses


def _listen(listener: socket.socket, address: str, port: int) -> None:
    try:
        listener.bind((address, port))
        listener.listen(512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {port} is in use: stop the program that listens there, or choose another"
                " with --port."
            ) from error
        if error.errno == errno.EACCES:
            raise CommandError(
                f"Port {port} is not allowed for this user: choose another with --port."
            ) from error
        raise


@contextmanager
def serve_in_thread(door: Application, sockets: list[socket.socket]) -> Iterator[None]:
    """Serve an ASGI application in a thread during the block."""
    config = uvicorn.Config(
        door,
        log_config=None,
        access_log=False,
        # Only the stack's own headers.
        server_header=False,
        date_header=False,
        # No proxy is in front of the front door.
        proxy_headers=False,
        ws="websockets-sansio",
        # API Gateway's own limit for a message.
        ws_max_size=128 * 1024,
        # API Gateway answers pings and sends none.
        ws_ping_interval=None,
        ws_ping_timeout=None,
        timeout_graceful_shutdown=5,
    )
    # uvicorn logs an error for each WebSocket that is refused with a status.
    logging.getLogger("uvicorn.error").addFilter(_is_not_a_refusal)
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": sockets}, name="front-door", daemon=True
    )
    thread.start()
    try:
        _await_started(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join()


def _is_not_a_refusal(record: logging.LogRecord) -> bool:
    return "without completing handshake" not in record.getMessage()


def _await_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise CommandError(
                f"The front door was not ready within {STARTED_WITHIN:.0f} s: try again."
            )
        time.sleep(0.01)

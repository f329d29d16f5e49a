"""Loopback sockets, and the thread that serves the front door on them."""

import errno
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.front_door import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

STARTED_WITHIN = 10.0


@contextmanager
def listen(ports: Iterable[int]) -> Iterator[list[socket.socket]]:
    """Listen on every port, on both loopback addresses where the host has both.

    `localhost` means either, so that another program on one of them would answer in our place.
    Listening at once, before anything is started, makes a taken port known at once.

    Raises:
        CommandError: A port is taken, or is not ours to take.

    """
    with ExitStack() as closing:
        sockets = []
        for port in dict.fromkeys(ports):
            for family, address in _addresses():
                # With its protocol named: asyncio sends at once on no other socket, and an answer's
                # second part would wait 40 ms for the first one's acknowledgement.
                listener = closing.enter_context(
                    socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                )
                # Else a port stays taken for a minute after the last stack used it.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _listen(listener, address, port)
                sockets.append(listener)
        yield sockets


def _addresses() -> list[tuple[socket.AddressFamily, str]]:
    found = [(socket.AF_INET, "127.0.0.1")]
    if socket.has_ipv6:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                return found
        found.append((socket.AF_INET6, "::1"))
    return found


def _listen(listener: socket.socket, address: str, port: int) -> None:
    try:
        listener.bind((address, port))
        listener.listen(512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {port} is taken: end what listens there, or choose another with --port."
            ) from error
        if error.errno == errno.EACCES:
            raise CommandError(
                f"Port {port} may not be opened by this user: choose another with --port."
            ) from error
        raise


@contextmanager
def serve_in_thread(door: Application, sockets: list[socket.socket]) -> Iterator[None]:
    """Serve an ASGI application in a thread while the block runs."""
    config = uvicorn.Config(
        door,
        log_config=None,
        access_log=False,
        # The stack's own headers and no others.
        server_header=False,
        date_header=False,
        # Believed from a proxy only, and there is none before the front door.
        proxy_headers=False,
        ws="websockets-sansio",
        # Far more than a viewer has to say, and API Gateway's own bound on a message.
        ws_max_size=128 * 1024,
        # API Gateway answers a viewer's pings and sends none of its own.
        ws_ping_interval=None,
        ws_ping_timeout=None,
        timeout_graceful_shutdown=5,
    )
    # A WebSocket that is refused with a status is taken for one that was forgotten.
    logging.getLogger("uvicorn.error").addFilter(_is_no_refusal)
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


def _is_no_refusal(record: logging.LogRecord) -> bool:
    return "without completing handshake" not in record.getMessage()


def _await_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise CommandError("The front door did not start.")
        time.sleep(0.01)

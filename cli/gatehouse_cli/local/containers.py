"""What `sam local` needs of Docker: that it runs, and a way from a container to the engine.

The engine listens on loopback, where a container on Linux cannot reach it. While a command runs, a
forwarder listens on the address that containers know as their host, and passes connections of
containers on to the engine. No other machine can reach it, and the engine asks for a signature.
"""

import asyncio
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.engine_access import LOOPBACK

# What containers call the machine they run on.
HOST = "host.docker.internal"
_SOCKET = "unix:///var/run/docker.sock"
_MISSING = (
    "Docker does not answer at {address}, and `sam local` runs functions in its containers: start"
    " Docker, or set DOCKER_HOST. `make run` needs no Docker."
)


@dataclass(frozen=True)
class Bridge:
    """The network of containers: the address of their host, and their own addresses."""

    gateway: str
    subnet: ipaddress.IPv4Network | ipaddress.IPv6Network


def find_bridge() -> Bridge | None:
    """Return Docker's default network, None when Docker runs on another machine.

    Raises:
        CommandError: Docker does not answer.

    """
    address = os.environ.get("DOCKER_HOST") or _SOCKET
    if not address.startswith("unix://"):
        return None
    path = address.removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX) as probe:  # httpx leaves a refused one open.
            probe.connect(path)
        transport = httpx.HTTPTransport(uds=path)
        with httpx.Client(transport=transport, base_url="http://docker", timeout=20) as docker:
            answer = docker.get("/networks/bridge").raise_for_status().json()
    except (OSError, httpx.HTTPError, ValueError) as error:
        raise CommandError(_MISSING.format(address=address)) from error
    config = answer["IPAM"]["Config"][0]
    subnet = ipaddress.ip_network(config["Subnet"])
    return Bridge(config.get("Gateway") or str(next(subnet.hosts())), subnet)


@contextmanager
def forwarded(bridge: Bridge | None, port: int) -> Iterator[None]:
    """Let containers reach a port of this machine's loopback interface during the block.

    Where Docker runs in a virtual machine of its own, its containers can reach loopback already,
    and the bridge's address is not one of this machine: then nothing is forwarded.
    """
    if bridge is None:
        yield
        return
    forwarder = _Forwarder(bridge, port)
    thread = threading.Thread(target=asyncio.run, args=(forwarder.run(),), name="forwarder")
    thread.start()
    forwarder.started.wait()
    try:
        yield
    finally:
        forwarder.stop()
        thread.join()


class _Forwarder:
    """Passes the bytes of connections on, in both directions."""

    def __init__(self, bridge: Bridge, port: int) -> None:
        self.started = threading.Event()
        self._bridge = bridge
        self._port = port
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Forward until `stop`, or not at all where the bridge's address is another machine's."""
        self._loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(self._serve, self._bridge.gateway, self._port)
        except OSError:
            return
        finally:
            self.started.set()
        await self._stopping.wait()
        server.close()

    def stop(self) -> None:
        """End `run` from another thread, with the connections that are open."""
        assert self._loop is not None  # noqa: S101  # Set before `started`.
        with suppress(RuntimeError):  # It has ended already.
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; refuse it when it comes from no container."""
        peer = ipaddress.ip_address(writer.get_extra_info("peername")[0])
        if peer not in self._bridge.subnet:
            writer.close()
            return
        try:
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

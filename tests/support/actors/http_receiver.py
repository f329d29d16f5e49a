"""Receivers on loopback: real servers that record each request and answer as a test says.

with Receiver() as receiver:
    receiver.on("/hook", Answer(500), Answer(503, {"Retry-After": "2"}), Answer())
    ...  # a webhook to receiver.url("/hook")
    first, *_ = receiver.wait_for(3, path="/hook")
    signal = check_delivery(first, secret)
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Self

from support.actors.certificates import Certificate
from support.actors.http_receiver_server import Answer, Behaviour, Received, Server

WITHIN = 60.0

Step = Behaviour | Callable[[Received], Behaviour]


class Receiver:
    """A server on 127.0.0.1 for the length of its block; it answers 204 unless told otherwise.

    With a certificate it speaks TLS. `silent` accepts connections and sends nothing at all, not
    even within TLS. `connections` counts accepted connections, `handshakes_failed` the clients
    that refused the certificate, `most_at_once` how many requests were open at the same time.
    """

    def __init__(self, *, certificate: Certificate | None = None, silent: bool = False) -> None:
        self.certificate = certificate
        self.connections = 0
        self.handshakes_failed = 0
        self.most_at_once = 0
        self.closing = threading.Event()
        self.changed = threading.Condition()
        self._at_once = 0
        self._released = False
        self._requests: list[Received] = []
        self._steps: dict[str, list[Step]] = {}
        self._errors: list[BaseException] = []
        self._server = Server(self, certificate=certificate, silent=silent)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection, answered or not; raise an error of the receiver itself."""
        with self.changed:
            self.closing.set()
            self.changed.notify_all()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        if self._errors:
            raise self._errors[0]

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook") -> str:
        """Return the URL of a path of this receiver."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def on(self, path: str, *steps: Step) -> None:
        """Answer requests to a path with these steps in order; the last one repeats.

        A step may be a function of the request. The path is compared without its query.
        """
        with self.changed:
            self._steps[path] = list(steps)

    def release(self) -> None:
        """Answer the requests that are held, and hold none from now on."""
        with self.changed:
            self._released = True
            self.changed.notify_all()

    def requests(self, path: str | None = None) -> list[Received]:
        """List the requests so far, in order: those to one path, or all."""
        with self.changed:
            return self._of(path)

    def wait_for(
        self, count: int, timeout: float = WITHIN, *, path: str | None = None
    ) -> list[Received]:
        """Return all requests once there are so many; fail after the timeout."""
        with self.changed:
            met = self.changed.wait_for(lambda: len(self._of(path)) >= count, timeout)
            found = self._of(path)
        assert met, f"{len(found)} of {count} requests came in {timeout} s: {_lines(found)}"
        return found

    def stays_at(self, count: int, seconds: float, *, path: str | None = None) -> None:
        """Fail as soon as there are more requests than these, or at the end if there are fewer."""
        with self.changed:
            self.changed.wait_for(lambda: len(self._of(path)) > count, seconds)
            found = self._of(path)
        assert len(found) == count, f"{len(found)} requests, not {count}: {_lines(found)}"

    def _of(self, path: str | None) -> list[Received]:
        return [one for one in self._requests if path in {None, one.path.partition("?")[0]}]

    # The server's threads call the following.

    def began(self, received: Received) -> Behaviour:
        """Record a request and return the behaviour for it."""
        with self.changed:
            steps = self._steps.get(received.path.partition("?")[0], [Answer()])
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._requests.append(received)
            self.changed.notify_all()
        return step(received) if callable(step) else step

    def ended(self) -> None:
        """Count a request that was answered or given up."""
        with self.changed:
            self._at_once -= 1

    def held(self) -> bool:
        """Wait for the release; return False when the receiver closes instead."""
        with self.changed:
            self.changed.wait_for(lambda: self._released or self.closing.is_set())
            return self._released

    def accepted(self) -> None:
        """Count a connection."""
        with self.changed:
            self.connections += 1
            self.changed.notify_all()

    def failed(self, error: BaseException) -> None:
        """Count a client that refused the certificate; record an error of the receiver itself."""
        with self.changed:
            left = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
            if isinstance(error, ssl.SSLError) and not left:
                self.handshakes_failed += 1
            elif not isinstance(error, OSError):
                self._errors.append(error)
            self.changed.notify_all()


def _lines(found: list[Received]) -> str:
    return "; ".join(f"{one.method} {one.path}" for one in found) or "none"

"""Receivers on loopback: real servers that keep every request and answer as a test tells them.

with Receiver() as receiver:
    receiver.on("/hook", Answer(500), Answer(503, {"Retry-After": "2"}), Answer())
    ...  # a webhook to receiver.url("/hook")
    first, *_ = receiver.wait_for(3, path="/hook")
    signal = genuine(first, secret)
"""

import hashlib
import hmac
import json
import re
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self

from standardwebhooks.webhooks import Webhook

from e2e.certificates import Certificate, self_signed
from e2e.receiver_server import Answer, Behaviour, Close, Hold, Raw, Received, Server

__all__ = [
    "Answer",
    "Certificate",
    "Close",
    "Hold",
    "Raw",
    "Received",
    "Receiver",
    "genuine",
    "self_signed",
]

WITHIN = 30.0
_DELIVERY = re.compile(r"delivery:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Step = Behaviour | Callable[[Received], Behaviour]


class Receiver:
    """A server on 127.0.0.1 while its block lasts; everything is answered 204 unless said.

    With a certificate it speaks TLS. `silent` accepts connections and says nothing at all, not
    even within TLS. `connections` counts what was accepted, `handshakes_failed` the clients that
    did not take the certificate, `most_at_once` how many requests were being answered together.
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
        """End every connection, answered or not; raise what went wrong in the receiver itself."""
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
        """Give the address of a path here."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def on(self, path: str, *steps: Step) -> None:
        """Answer requests to a path with these, one after the other; the last stays.

        A step may be a function of the request. The path is compared without its query.
        """
        with self.changed:
            self._steps[path] = list(steps)

    def release(self) -> None:
        """Answer what is held, and from now on hold nothing."""
        with self.changed:
            self._released = True
            self.changed.notify_all()

    def requests(self, path: str | None = None) -> list[Received]:
        """List what has come so far, in order; of one path, or of all."""
        with self.changed:
            return self._of(path)

    def wait_for(
        self, count: int, timeout: float = WITHIN, *, path: str | None = None
    ) -> list[Received]:
        """Return once there are so many requests; all there are then. Fails after the timeout."""
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

    # What the server's threads tell and ask.

    def began(self, received: Received) -> Behaviour:
        """Keep a request and say what to do with it."""
        with self.changed:
            steps = self._steps.get(received.path.partition("?")[0], [Answer()])
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._requests.append(received)
            self.changed.notify_all()
        return step(received) if callable(step) else step

    def ended(self) -> None:
        """Count a request that was answered, or given up."""
        with self.changed:
            self._at_once -= 1

    def held(self) -> bool:
        """Wait for the release; False when the receiver closes instead."""
        with self.changed:
            self.changed.wait_for(lambda: self._released or self.closing.is_set())
            return self._released

    def accepted(self) -> None:
        """Count a connection."""
        with self.changed:
            self.connections += 1
            self.changed.notify_all()

    def failed(self, error: BaseException) -> None:
        """Count a client that went away or did not like us; keep what is our own fault."""
        with self.changed:
            left = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
            if isinstance(error, ssl.SSLError) and not left:
                self.handshakes_failed += 1
            elif not isinstance(error, OSError):
                self._errors.append(error)
            self.changed.notify_all()


def _lines(found: list[Received]) -> str:
    return "; ".join(f"{one.method} {one.path}" for one in found) or "none"


# ---- What a delivery must be -------------------------------------------------------------------


def genuine(received: Received, *secrets: str, event: str | None = None) -> dict[str, Any]:
    """Check a fresh delivery as documented, in both families, and give its signal.

    `secrets` are the live ones, the old one first: all of them must have signed, and no other.
    The published library does the one half, and nothing here uses our own signing.
    """
    signatures = received.header("webhook-signature").split(" ")
    assert len(signatures) == len(secrets), signatures
    for secret, signature in zip(secrets, signatures, strict=True):
        alone = {**dict(received.headers), "webhook-signature": signature}
        Webhook(secret).verify(received.body, alone)
    assert received.header("X-Chorus-Signature") == _over_body(secrets[0], received.body)
    following = [_over_body(secrets[-1], received.body)] if len(secrets) > 1 else []
    assert received.all("X-Chorus-Signature-Next") == following
    assert received.method == "POST"
    assert received.header("Content-Type") == "application/json"
    assert received.header("User-Agent") == "Chorus-Webhook/1.0"
    assert received.header("webhook-id") == received.header("X-Chorus-Delivery")
    assert _DELIVERY.fullmatch(received.header("webhook-id"))
    signal = json.loads(received.body)
    if event is not None:
        assert received.header("X-Chorus-Event") == event
    return dict(signal)


def _over_body(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

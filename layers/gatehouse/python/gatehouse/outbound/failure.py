"""Why a request out got no answer, or only the beginning of one.

RequestFailed.kind
├── address       the URL, or an address of its host, must not be called
├── unresolvable  the name has no address
├── refused       the host refused the connection
├── timeout       the deadline passed
├── tls           no TLS handshake, or a certificate that is not valid for the host
├── connection    the host cannot be reached, or the connection broke
└── protocol      the answer is not valid HTTP, or the request cannot be sent
"""

from __future__ import annotations

_SENTENCES = {
    "address": "The URL leads to an address that must not be called.",
    "unresolvable": "The host's name has no address.",
    "refused": "The host refused the connection.",
    "timeout": "The host did not answer in time.",
    "tls": "There is no TLS connection with a certificate that is valid for the host.",
    "connection": "The connection failed or broke.",
    "protocol": "The answer is not valid HTTP.",
}


class BadAnswer(Exception):
    """What a host sent is not valid HTTP, is incomplete, or is longer than an answer needs."""


class ClosedUnanswered(ConnectionError):
    """The host closed the connection before it sent any byte of an answer."""


class Unheard(ClosedUnanswered):
    """The host closed the connection before any byte of the request reached it."""


class RequestFailed(Exception):
    """A request got no answer. `kind` is one of those above; the message is safe to show."""

    def __init__(self, kind: str, sentence: str | None = None) -> None:
        super().__init__(sentence or _SENTENCES[kind])
        self.kind = kind

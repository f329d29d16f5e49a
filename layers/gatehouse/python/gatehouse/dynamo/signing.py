"""AWS Signature Version 4 for DynamoDB: one path, no query, the headers always the same."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

_ALGORITHM = "AWS4-HMAC-SHA256"
_CONTENT_TYPE = "application/x-amz-json-1.0"
_TARGET = "DynamoDB_20120810."
_SERVICE = "dynamodb"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key. `token` is empty for a key that is not of a session."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


class Signer:
    """Signs requests to one endpoint. Threads may share it."""

    def __init__(self, host: str, region: str, credentials: Credentials) -> None:
        token = credentials.token
        self._secret = credentials.secret
        self._key = ("", b"")  # the day, and its signing key
        self._region = region
        self._key_id = credentials.key_id
        self._names = (
            "content-type;host;x-amz-date"
            + (";x-amz-security-token" if token else "")
            + ";x-amz-target"
        )
        # What does not change from one request to the next: before the date, between date and
        # operation. A canonical request has its headers in the order of their names.
        self._canonical = (
            f"POST\n/\n\ncontent-type:{_CONTENT_TYPE}\nhost:{host}\nx-amz-date:",
            (f"\nx-amz-security-token:{token}" if token else "") + f"\nx-amz-target:{_TARGET}",
        )
        self._head = (
            f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: {_CONTENT_TYPE}\r\nX-Amz-Date: ",
            (f"\r\nX-Amz-Security-Token: {token}" if token else "")
            + f"\r\nX-Amz-Target: {_TARGET}",
        )

    def request(self, operation: str, body: bytes, *, at: str) -> bytes:
        """Return the whole HTTP request. `at` is the time as `20261130T120000Z`."""
        day = at[:8]
        scope = f"{day}/{self._region}/{_SERVICE}/aws4_request"
        before, between = self._canonical
        digest = sha256(body).hexdigest()
        canonical = f"{before}{at}{between}{operation}\n\n{self._names}\n{digest}"
        text = f"{_ALGORITHM}\n{at}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(day), text.encode(), "sha256").hex()
        before, between = self._head
        head = (
            f"{before}{at}{between}{operation}\r\nAuthorization: {_ALGORITHM} "
            f"Credential={self._key_id}/{scope}, SignedHeaders={self._names}, "
            f"Signature={signature}\r\nContent-Length: {len(body)}\r\n"
            "Accept-Encoding: identity\r\n\r\n"
        )
        return head.encode("latin-1") + body

    def _key_of(self, day: str) -> bytes:
        kept, key = self._key
        if kept == day:
            return key
        key = f"AWS4{self._secret}".encode()
        for part in (day, self._region, _SERVICE, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = (day, key)
        return key

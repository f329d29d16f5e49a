"""DynamoDB's JSON: requests as bytes, answers as botocore's client returns them, and its errors.

CallFailed            what `transactions.call` catches
  CallRefused         DynamoDB answered with an error
  CallUnanswered      it did not answer, or not in full: whether it wrote is unknown
"""

from __future__ import annotations

import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

_OK = 200
_SERVER_ERROR = 500


class CallFailed(Exception):
    """A request to DynamoDB failed."""


class CallUnanswered(CallFailed):
    """DynamoDB did not answer in full. Whether a write was done is unknown."""


class CallRefused(CallFailed):
    """DynamoDB answered with an error; `response` has the shape of botocore's.

    That is the answer's own fields, such as `Item` and `CancellationReasons`, and `Error` with
    `Code` and `Message`.
    """

    def __init__(self, response: Mapping[str, Any], operation_name: str) -> None:
        error = response["Error"]
        super().__init__(f"{operation_name}: {error['Code']}: {error.get('Message', '')}")
        self.response = response
        self.operation_name = operation_name

    @property
    def code(self) -> str:
        """The error's code, such as ThrottlingException."""
        return str(self.response["Error"]["Code"])


def encode(request: Mapping[str, Any]) -> bytes:
    """Return a request's body. Bytes become base64."""
    return _JSON.encode(request).encode()


def decode(operation: str, status: int, body: bytes, *, crc32: bytes | None) -> dict[str, Any]:
    """Return an answer. `crc32` is the checksum that came with the body, in decimal.

    Raises CallRefused for an error. Raises CallUnanswered for a body that is damaged, and for a
    server error that names no code.
    """
    if crc32 is not None and crc32 != b"%d" % zlib.crc32(body):
        raise CallUnanswered(f"{operation}: the answer does not match its checksum")
    try:
        # Only a binary value has this name: the rest is parsed without a call for each object.
        hook = _with_bytes if b'"B"' in body else None
        answer = json.loads(body, object_hook=hook)
    except ValueError as error:
        if status == _OK or status >= _SERVER_ERROR:
            raise CallUnanswered(
                f"{operation}: status {status} with a body that is not JSON"
            ) from error
        answer = {}
    if not isinstance(answer, dict):
        raise CallUnanswered(f"{operation}: status {status} with a body that is not an object")
    if status == _OK:
        return answer
    raise _refused(operation, status, answer)


def _refused(operation: str, status: int, answer: dict[str, Any]) -> CallFailed:
    named = str(answer.get("__type", "")).rpartition("#")[2]
    if not named and status >= _SERVER_ERROR:
        return CallUnanswered(f"{operation}: status {status} without an error code")
    message = str(answer.get("message", answer.get("Message", "")))
    error = {"Code": named or str(status), "Message": message}
    parsed = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return CallRefused(answer | parsed, operation)


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return binascii.b2a_base64(value, newline=False).decode()
    raise TypeError(f"cannot send a {type(value).__name__} to DynamoDB")


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    # An attribute that is called B holds a value, which is an object and no string.
    if len(value) == 1 and isinstance(value.get("B"), str):
        return {"B": binascii.a2b_base64(value["B"])}
    return value


_JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=_base64)

"""A client of DynamoDB with the operations that tables use: botocore's names, requests and answers.

It exists because botocore takes four fifths of the time of a request, and most of a cold start.
"""

from __future__ import annotations

import os
import time
from typing import Any

from gatehouse.core.retry import Backoff
from gatehouse.dynamo.answers import CallFailed, CallRefused, CallUnanswered, decode, encode
from gatehouse.dynamo.endpoint import find_credentials, read_endpoint, read_region
from gatehouse.dynamo.kept_connections import BrokenAnswer, KeptConnections
from gatehouse.dynamo.signing import Signer

# A caller of the API is waiting: after two attempts it gets 503. The waits are botocore's.
_FAILED = Backoff(2, first=0.025)
_THROTTLED = Backoff(2, first=1.0)

_THROTTLING_CODES = frozenset(
    {
        *("LimitExceededException", "ProvisionedThroughputExceededException"),
        *("RequestLimitExceeded", "ThrottlingException", "TransactionInProgressException"),
    }
)
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


class DynamoClient:
    """Calls DynamoDB at the endpoint, and as the caller, that the environment names.

    Each operation raises CallRefused or CallUnanswered (both CallFailed). It is tried twice, as a
    whole: as with botocore, a write whose answer was lost may be done twice, unless its condition
    prevents that. A transaction is done once. Threads may share a client.
    """

    def __init__(self) -> None:
        region = read_region()
        endpoint = read_endpoint(region)
        credentials = find_credentials()
        self._signer = None
        if credentials is not None:
            self._signer = Signer(endpoint.authority, region, credentials)
        self._connections = KeptConnections(endpoint)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._connections.close()

    def get_item(self, **request: Any) -> dict[str, Any]:
        """Read an item."""
        return self._call("GetItem", request)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Read items by key."""
        return self._call("BatchGetItem", request)

    def query(self, **request: Any) -> dict[str, Any]:
        """Read a partition of a table or of an index."""
        return self._call("Query", request)

    def scan(self, **request: Any) -> dict[str, Any]:
        """Read a table or an index."""
        return self._call("Scan", request)

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Write an item."""
        return self._call("PutItem", request)

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Change an item."""
        return self._call("UpdateItem", request)

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Delete an item."""
        return self._call("DeleteItem", request)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Write items together or not at all, once for both attempts."""
        return self._call("TransactWriteItems", {"ClientRequestToken": _token(), **request})

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        body = encode(request)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._send(operation, body)
            except CallFailed as error:
                retry = _find_retry(error)
                if retry is None or attempt == retry.attempts:
                    raise
            retry.wait(attempt)

    def _send(self, operation: str, body: bytes) -> dict[str, Any]:
        if self._signer is None:
            raise CallUnanswered("the environment has no credentials of AWS")
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        request = self._signer.request(operation, body, at=at)
        try:
            answer = self._connections.exchange(request)
        except (OSError, BrokenAnswer) as error:
            raise CallUnanswered(f"{operation}: {type(error).__name__}") from error
        checksum = answer.headers.get(b"x-amz-crc32")
        return decode(operation, answer.status, answer.body, crc32=checksum)


def _find_retry(error: CallFailed) -> Backoff | None:
    """Return how to try again; None where another attempt would fail alike."""
    if not isinstance(error, CallRefused):
        return _FAILED
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if error.code in _THROTTLING_CODES or status == _TOO_MANY_REQUESTS:
        return _THROTTLED
    return _FAILED if status >= _SERVER_ERROR else None


def _token() -> str:
    """Return a token by which DynamoDB recognizes the second attempt of a transaction."""
    return os.urandom(16).hex()

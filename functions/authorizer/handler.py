"""Decide about the key of every request: Allow with the principal, Deny, or raise for a 503."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from gatehouse.core import clock
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import log_failure, logger
from gatehouse.core.principal import SOCKET_SCOPE
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code, Verdict
from gatehouse.dynamo import connection
from gatehouse.sessions import lookup as sessions

TABLE = connection.keys_table()
MEMORY = credentials.Memory()

_NO_KEY = Verdict(Code.NOT_FOUND)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a REQUEST authorizer event.

    Every refusal is the same Deny, which the gateway answers with 401, or 403 on a WebSocket. A
    key over its rate limit is an Allow whose context says so: the handler answers 429 in its
    surface's format. If the table does not answer this raises, and the gateway answers 503.
    """
    del context
    started = time.perf_counter()
    on_socket = _is_connect(event)
    try:
        verdict, session = _admit(event, on_socket=on_socket)
    except GatehouseError as error:
        log_failure(error, request_id=event["requestContext"].get("requestId"), code=error.code)
        raise
    answer = _answer(event["methodArn"], verdict, session=session, on_socket=on_socket)
    logger.info(
        "authorized" if verdict.code is Code.VALID else "refused",
        request_id=event["requestContext"].get("requestId"),  # missing on the local engine
        code=verdict.code.value,
        key_id=verdict.credential.key_id if verdict.credential else None,
        duration_ms=round((time.perf_counter() - started) * 1000, 2),
    )
    return answer


def _admit(event: dict[str, Any], *, on_socket: bool) -> tuple[Verdict, str | None]:
    """Decide about the key of a request, and return the digest of its session if it has one.

    A key that is sent decides, right or wrong. Otherwise the cookie of the page names the key, or
    on a socket a ticket does: one table call more.
    """
    now = clock.now()
    find = credentials.find_on_socket if on_socket else credentials.find_in_headers
    key = find(event)
    if key is not None:
        return credentials.admit(TABLE, key, MEMORY, now), None
    token = sessions.find_ticket(event) if on_socket else sessions.find_token(event)
    if token is None:
        return _NO_KEY, None
    read = sessions.take_ticket if on_socket else sessions.find_key
    digest = read(TABLE, token, now=now)
    if digest is None:
        return _NO_KEY, None
    verdict = credentials.admit_digest(TABLE, digest, MEMORY, now)
    return verdict, None if on_socket else sessions.digest_of(token)


def _is_connect(event: dict[str, Any]) -> bool:
    return bool(event["requestContext"].get("eventType") == "CONNECT")


def _answer(
    method_arn: str, verdict: Verdict, *, session: str | None, on_socket: bool
) -> dict[str, Any]:
    # Allow the whole stage. From the event's own ARN, whose partition is right in every region.
    stage_arn = "/".join(method_arn.split("/")[:2])
    admitted = verdict.code in {Code.VALID, Code.RATE_LIMITED}
    principal = replace(verdict.principal(), session=session) if admitted else None
    if principal and on_socket:
        principal = principal.narrowed_to(SOCKET_SCOPE)
    return {
        "principalId": principal.key_id if principal else "nobody",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if principal else "Deny",
                    "Resource": f"{stage_arn}/*",
                }
            ],
        },
        "context": principal.to_context() if principal else {},
    }

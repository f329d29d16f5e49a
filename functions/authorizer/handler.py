"""Judge the credential of every request: Allow with the principal, Deny, or a raise for 503."""

from __future__ import annotations

import time
from typing import Any

from gatehouse.core import clock
from gatehouse.core.observe import logger
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code, Verdict
from gatehouse.dynamo import connection

TABLE = connection.keys_table()
MEMORY = credentials.Memory()

_NOBODY = Verdict(Code.NOT_FOUND)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a REQUEST authorizer event.

    Whatever is wrong with a credential gets the same Deny, which the gateway answers 401, or 403
    where a WebSocket was asked for. Over the limit is an Allow that says so: the handler answers
    429 in its surface's dialect. A table that cannot be asked raises, which the gateway answers
    503.
    """
    del context
    started = time.perf_counter()
    presented = _presented(event)
    verdict = _NOBODY
    if presented is not None:
        verdict = credentials.admit(TABLE, presented, MEMORY, clock.now())
    answer = _answer(event["methodArn"], verdict)
    logger.info(
        "authorized" if verdict.code is Code.VALID else "refused",
        request_id=event["requestContext"].get("requestId"),  # the local engine leaves it out
        code=verdict.code.value,
        key_id=verdict.credential.key_id if verdict.credential else None,
        duration_ms=round((time.perf_counter() - started) * 1000, 2),
    )
    return answer


def _presented(event: dict[str, Any]) -> str | None:
    if event["requestContext"].get("eventType") == "CONNECT":
        return credentials.presented_on_socket(event)
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return credentials.presented(headers)


def _answer(method_arn: str, verdict: Verdict) -> dict[str, Any]:
    # The whole stage, from the event's own ARN: its partition is right in every region.
    stage_arn = "/".join(method_arn.split("/")[:2])
    admitted = verdict.code in {Code.VALID, Code.RATE_LIMITED}
    principal = verdict.principal() if admitted else None
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

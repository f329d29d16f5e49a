"""Wrap all secrets anew after a change of the settings key. Invoked by IAM only.

A function of its own, since it may use the KMS key for every purpose: none that answers requests
may do that.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.audit.model import Origin
from gatehouse.core import clock
from gatehouse.core.errors import BadInput, GatehouseError
from gatehouse.core.observe import logger
from gatehouse.dynamo import connection
from gatehouse.secrets import actions as vaults
from gatehouse.secrets import rewrap

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer `{"do": "rewrap", "cursor"?}` with `{rewrapped, left, cursor, done}`, one step.

    Go on with the cursor until it is null, then begin again until `done`. What is refused answers
    `{"error": {code, message}}`.
    """
    origin = Origin(actor="system:rewrap", request_id=str(context.aws_request_id))
    try:
        answer = _act(event, origin)
    except GatehouseError as error:
        logger.warning("rewrap refused", code=error.code, reason=error.message)
        return {"error": {"code": error.code, "message": error.message}}
    logger.info("rewrap", **{name: answer[name] for name in ("rewrapped", "left", "done")})
    return answer


def _act(event: dict[str, Any], origin: Origin) -> dict[str, Any]:
    cursor = event.get("cursor")
    if event.get("do") != "rewrap" or not isinstance(cursor, str | None):
        raise BadInput("do must be rewrap, and cursor a text or null")
    step = rewrap.step(
        TABLES.main,
        # Made anew each time: the settings are what may just have changed.
        vaults.vault(TABLES.main),
        cursor=cursor,
        home=accounts.find_operator_id(TABLES.main),
        origin=origin,
        now=clock.now(),
    )
    return asdict(step)

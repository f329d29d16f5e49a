"""Rewrap all secrets after the settings key was changed. Invoked by IAM only.

This is a separate function because it may use the KMS key for every purpose. No function that
answers requests may do that.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.audit.model import Chain, Origin
from gatehouse.core import clock
from gatehouse.core.errors import BadInput, GatehouseError
from gatehouse.core.observe import logger
from gatehouse.dynamo import connection
from gatehouse.secrets import actions as vaults
from gatehouse.secrets import rewrap

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run one step: `{"do": "rewrap", "cursor"?}` returns `{rewrapped, left, cursor, done}`.

    The caller passes `cursor` on until it is null, then starts again, until `done`. An error
    returns `{"error": {code, message}}`.
    """
    origin = Origin(
        actor="system:rewrap", request_id=str(context.aws_request_id), chain=Chain.MACHINE
    )
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
        raise BadInput('do must be "rewrap", and cursor must be a string or null')
    step = rewrap.run_step(
        TABLES.main,
        # Not cached: the settings may have changed since the last invocation.
        vaults.vault(TABLES.main),
        cursor=cursor,
        operator_id=accounts.find_operator_id(TABLES.main),
        origin=origin,
        now=clock.now(),
    )
    return asdict(step)

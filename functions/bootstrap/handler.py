"""Create the operator's account, recover access to it, fill it from a file. IAM only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.accounts.model import OpenedAccount
from gatehouse.audit.model import Origin
from gatehouse.bootstrap import actions as bootstrap
from gatehouse.core import clock
from gatehouse.core.errors import BadInput, GatehouseError
from gatehouse.core.observe import logger
from gatehouse.credentials.model import ADMIN_PREFIX
from gatehouse.dynamo import connection
from gatehouse.invites import actions as invites
from gatehouse.secrets import actions as vaults

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do `{"action": ..., "name"?}`.

    `create` and `recover` return `{account, identity, api_key: {id, key}}`; the key is shown only
    here. `invite` creates the operator's account without members and returns
    `{account, invite: {id, code, expires_at}}`. `apply` takes `{yaml, dry_run?, secrets?}`, where
    `secrets` has the values of the variables that the file names, and returns
    `{steps: [{verb, kind, name, detail, shown}]}`. An error returns `{"error": {code, message}}`:
    ALREADY_BOOTSTRAPPED, NOT_BOOTSTRAPPED, VALIDATION_....
    """
    action = event.get("action")
    origin = Origin(actor="system:bootstrap", request_id=str(context.aws_request_id))
    try:
        answer = _act(action, event, origin)
    except GatehouseError as error:
        logger.warning("bootstrap refused", action=str(action), code=error.code)
        return {"error": {"code": error.code, "message": error.message}}
    logger.info("bootstrap done", action=action)
    return answer


def _act(action: Any, event: dict[str, Any], origin: Origin) -> dict[str, Any]:
    now, name = clock.now(), str(event.get("name") or "operator")
    if action == "create":
        return _shown(
            accounts.bootstrap(TABLES, name=name, prefix=ADMIN_PREFIX, origin=origin, now=now)
        )
    if action == "recover":
        return _shown(accounts.recover(TABLES, prefix=ADMIN_PREFIX, origin=origin, now=now))
    if action == "invite":
        invite = invites.open_operator(TABLES, name=name, origin=origin, now=now)
        return {
            "account": {"id": invite.account_id, "name": name},
            "invite": {
                "id": invite.id,
                "code": invite.code,
                "expires_at": clock.rfc3339(invite.expires_at),
            },
        }
    if action == "apply":
        steps = bootstrap.apply(
            TABLES,
            vaults.vault(TABLES.main),
            str(event.get("yaml", "")),
            secrets={str(name): str(value) for name, value in (event.get("secrets") or {}).items()},
            dry_run=event.get("dry_run") is True,
            origin=origin,
            now=now,
        )
        return {"steps": [asdict(step) for step in steps]}
    raise BadInput("action must be create, invite, recover or apply")


def _shown(opened: OpenedAccount) -> dict[str, Any]:
    return {
        "account": {"id": opened.account.id, "name": opened.account.name},
        "identity": {"id": opened.identity.id, "name": opened.identity.name},
        "api_key": {"id": opened.minted.key.id, "key": opened.minted.secret},
    }

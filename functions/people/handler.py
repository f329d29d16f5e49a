"""Invites, identities and the policy, on the admin surface."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Response
from pydantic import Field

from gatehouse.core.clock import HOUR, rfc3339
from gatehouse.core.grants import MEMORY_OPERATIONS, SIGNAL_TYPES
from gatehouse.core.unset import UNSET
from gatehouse.dynamo import connection
from gatehouse.identities import actions as identities
from gatehouse.identities import model
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership
from gatehouse.invites import actions as invites
from gatehouse.invites.model import LIFE, MOST_USES, Invite, InviteRequest
from gatehouse.keys import actions as keys
from gatehouse.memberships import actions as memberships
from gatehouse.policy import actions as policy
from gatehouse.policy.model import ACTIONS, MANAGE
from gatehouse.verification import actions as verification
from gatehouse.verification.model import PolicyQuestion
from gatehouse.web import bodies
from gatehouse.web.door import Caller, Door, next_cursor, position
from gatehouse.web.envelopes import Answer, Body, Patch, PermissionLists, answer, exactly_one
from gatehouse.web.fields import (
    After,
    AskedLabel,
    Between,
    Limit,
    Moment,
    Name,
    Scopes,
    id_in_path,
    id_of,
    one_of,
    read_id,
)
from gatehouse.web.people_views import (
    DecisionView,
    IdentityView,
    InviteView,
    MadeView,
    PolicyView,
    RuleView,
)
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()
INVITE_LISTING = "admin:invites"
IDENTITY_LISTING = "admin:identities"
IDENTITY = "identity:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"

door = Door(ADMIN, title="People")
handler = door.handler
manage = policy.require(MANAGE)


class NewInvite(Body):
    """An invite to create, for people or agents."""

    name: Name = Field(examples=["new colleague"])
    type: Annotated[str, one_of(IdentityType)] = Field(description="human or agent")
    scopes: Scopes | None = Field(None, description="Default: everything.")
    permissions: PermissionLists = PermissionLists()
    max_uses: Annotated[int, Between(1, MOST_USES)] = Field(1, description=f"1 to {MOST_USES}.")
    expires_at: Moment | None = Field(None, description=f"Default: {LIFE // HOUR} hours from now.")
    long: bool = Field(default=False, description="A code of 32 digits instead of 8.")


class ChangedIdentity(IdentityView):
    """The identity after a change.

    `waiting` is present if it is no longer an active admin, or its ceiling allows less than it
    made: that is switched off until it could make it again. `resumed` is what goes on then.
    `live_keys` are the keys of other members that it created while it was an active admin, and that
    go on; left out if there is none, and while it is one.
    """

    waiting: MadeView | None = None
    resumed: MadeView | None = None
    live_keys: list[str] = Field(default_factory=list)


class IdentityPatch(Patch):
    """What to change; fields that are left out stay as they are."""

    name: Name = ""
    is_admin: bool = False
    claw_type: Annotated[str, one_of(ClawType)] = Field(
        "", description="central, employee or service"
    )
    status: Annotated[str, one_of(Membership)] = Field(
        "", description="active, suspended or removed"
    )
    scopes: Scopes = Field(default_factory=list)
    permissions: PermissionLists = PermissionLists()


class ResourceNames(Body):
    """The object of the action, as far as permission lists concern it."""

    signal_type: Annotated[str, one_of(SIGNAL_TYPES)] | None = None
    task_type: AskedLabel | None = None
    ring: AskedLabel | None = None
    memory_op: Annotated[str, one_of(MEMORY_OPERATIONS)] | None = None


class Evaluation(Body):
    """A question to the policy: an identity or one of its keys, and an action."""

    model_config = exactly_one("identity", "key_id")

    identity: Annotated[str, id_of("identity")] | None = Field(None, examples=[IDENTITY])
    key_id: Annotated[str, id_of("api_key")] | None = None
    action: Annotated[str, one_of(ACTIONS)]
    resource: ResourceNames = ResourceNames()


@door.route("POST", "/invite/create", needs=manage, status=201, response_model_exclude_unset=True)
async def create_invite(call: Caller, body: NewInvite) -> Answer[InviteView]:
    """Create an invite. Redeeming it creates a key with the invite's scopes and permissions."""
    invite = invites.create(
        TABLES,
        call,
        InviteRequest(
            name=body.name,
            type=body.type,
            scopes=body.scopes,
            permissions=body.permissions.named(),
            max_uses=body.max_uses,
            expires_at=bodies.moment(body.expires_at, field="expires_at"),
            long=body.long,
        ),
    )
    return answer(call, _invite(invite))


@door.route("GET", "/admin/invites", needs=manage, response_model_exclude_unset=True)
async def list_invites(
    call: Caller,
    response: Response,
    limit: Limit = 100,
    after: After = None,
) -> Answer[list[InviteView]]:
    """List the account's invites, newest first."""
    page, next_position = invites.page(
        TABLES.main,
        call.caller.account_id,
        limit=limit,
        after=position(call, INVITE_LISTING, after),
    )
    cursor = next_cursor(response, call, INVITE_LISTING, following=next_position)
    views = [_invite(one, shown=invites.may_see_code(one, call.caller, call.now)) for one in page]
    return answer(call, views, cursor)


@door.route("GET", "/admin/identities", needs=manage, response_model_exclude_unset=True)
async def list_identities(
    call: Caller,
    response: Response,
    limit: Limit = 100,
    after: After = None,
) -> Answer[list[IdentityView]]:
    """List the account's identities, oldest first."""
    page, next_position = identities.page(
        TABLES.main,
        call.caller.account_id,
        limit=limit,
        after=position(call, IDENTITY_LISTING, after),
    )
    cursor = next_cursor(response, call, IDENTITY_LISTING, following=next_position)
    return answer(call, [_identity(identity) for identity in page], cursor)


@door.route("GET", "/admin/identities/{id}", needs=manage, response_model_exclude_unset=True)
async def get_identity(
    call: Caller, id: Annotated[str, id_in_path("identity")]
) -> Answer[IdentityView]:
    """Show one identity."""
    identity = identities.get(TABLES.main, call.caller.account_id, read_id(id, "identity"))
    return answer(call, _identity(identity))


@door.route("PATCH", "/admin/identities/{id}", needs=manage, response_model_exclude_unset=True)
async def patch_identity(
    call: Caller, id: Annotated[str, id_in_path("identity")], body: IdentityPatch
) -> Answer[ChangedIdentity]:
    """Change an identity. The change applies to the very next request of each of its keys."""
    identity_id = read_id(id, "identity")
    sent = body.model_fields_set
    # The half of the ceiling that was not sent stays as it is.
    grants = keys.checked_grants(body.scopes, body.permissions.named())
    patch = model.IdentityPatch(
        name=keys.checked_name(body.name) if "name" in sent else UNSET,
        is_admin=body.is_admin if "is_admin" in sent else UNSET,
        claw_type=body.claw_type if "claw_type" in sent else UNSET,
        status=body.status if "status" in sent else UNSET,
        scopes=grants.scopes if "scopes" in sent else UNSET,
        permissions=grants.permissions if "permissions" in sent else UNSET,
    )
    changed = memberships.change(TABLES, call, identity_id, patch)
    shown = ChangedIdentity(**_identity(changed.identity).model_dump())
    if changed.waiting is not None:
        shown.waiting = MadeView(**asdict(changed.waiting))
    if changed.resumed is not None:
        shown.resumed = MadeView(**asdict(changed.resumed))
    if changed.live_keys:
        shown.live_keys = list(changed.live_keys)
    return answer(call, shown)


@door.route("GET", "/admin/policy", needs=manage, response_model_exclude_unset=True)
async def rules(call: Caller) -> Answer[PolicyView]:
    """List the rules in the order of evaluation."""
    views = [
        RuleView(name=rule.name, order=rule.order, effect=rule.effect, description=rule.description)
        for rule in policy.list_rules()
    ]
    return answer(call, PolicyView(rules=views))


@door.route("POST", "/admin/policy/evaluate", needs=manage, response_model_exclude_unset=True)
async def evaluate(call: Caller, body: Evaluation) -> Answer[DecisionView]:
    """Ask the policy about an identity or a key. Nothing is changed."""
    decision = verification.evaluate(
        TABLES,
        call,
        PolicyQuestion(
            identity=body.identity,
            key_id=body.key_id,
            action=body.action,
            resource=body.resource.model_dump(exclude_none=True),
        ),
    )
    return answer(
        call,
        DecisionView(
            allowed=decision.allowed,
            rule=decision.rule.value,
            reasons=list(decision.reasons),
            would_allow=dict(decision.would_allow),
        ),
    )


def _invite(invite: Invite, *, shown: bool = True) -> InviteView:
    return InviteView(
        id=f"invite:{invite.id}",
        code=invite.code if shown else None,
        name=invite.name,
        type=invite.type,
        scopes=list(invite.grants.scopes),
        permissions=invite.grants.permissions.to_dict(),
        max_uses=invite.max_uses,
        uses=invite.uses,
        redeemed=invite.is_used_up,
        redeemed_by=invite.redeemed_by,
        created_by=invite.created_by,
        created_by_key=invite.created_by_key,
        created_at=rfc3339(invite.created_at),
        redeemed_at=rfc3339(invite.redeemed_at),
        expires_at=rfc3339(invite.expires_at),
    )


def _identity(identity: Identity) -> IdentityView:
    return IdentityView(
        id=f"identity:{identity.id}",
        name=identity.name,
        type=identity.type,
        is_admin=identity.is_admin,
        claw_type=identity.claw_type,
        status=identity.membership,
        wallet_address=identity.wallet_address,
        scopes=list(identity.ceiling.scopes),
        permissions=identity.ceiling.permissions.to_dict(),
        created_at=rfc3339(identity.created_at),
    )

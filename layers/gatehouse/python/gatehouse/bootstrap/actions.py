"""Fill the operator's account from a file: add and update, never delete.

The file is checked whole before anything is written. Each thing is then one transaction with its
audit event and the note of what the entry became, so a run that died is simply run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.audit.model import Change, Origin
from gatehouse.bootstrap import rules, store, webhooks
from gatehouse.bootstrap.adapters import yaml_document
from gatehouse.bootstrap.model import Seed, SeedIdentity, SeedInvite, SeedName, Step
from gatehouse.bootstrap.run import Planned, Run
from gatehouse.core import ids
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BoundReached, NotFound
from gatehouse.core.grants import audit_view
from gatehouse.dynamo.table import Tables
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import Identity, IdentityPatch, Membership
from gatehouse.invites import actions as invites
from gatehouse.invites import writes as invite_writes
from gatehouse.invites.model import InviteRequest
from gatehouse.memberships import actions as memberships
from gatehouse.secrets.actions import Vault


def apply(
    tables: Tables,
    vault: Vault,
    text: str,
    *,
    secrets: Mapping[str, str],
    dry_run: bool,
    origin: Origin,
    now: Micros,
) -> list[Step]:
    """Apply a file to the operator's account, or only say what that would do.

    `secrets` has the values of the variables that webhooks name. Raises BadInput that names line
    and field, before anything is written, and NotFound before there is an operator's account.
    Applied twice, the second time keeps everything.
    """
    seed = rules.parse(yaml_document.read(text))
    account_id = accounts.find_operator_id(tables.main)
    if account_id is None or not identities.has_had_admins(tables.main, account_id):
        # Before the first admin came in by their invite, nobody else may come in by a file's.
        raise NotFound("The operator's account has no admin yet", code="NOT_BOOTSTRAPPED")
    run = Run(tables, account_id, origin, now)
    planned = _plan(run, vault, seed, secrets=secrets)
    new_invites = sum(step.kind == "invite" and step.verb == "add" for step, _ in planned)
    if new_invites > invites.room_left(tables.main, account_id, now):
        raise BoundReached("The file has more invites than the account may have open")
    steps = []
    for step, act in planned:
        shown = None if dry_run or step.verb == "keep" else act()
        steps.append(Step(step.verb, step.kind, step.name, step.detail, shown))
    return steps


def _plan(run: Run, vault: Vault, seed: Seed, *, secrets: Mapping[str, str]) -> list[Planned]:
    known = store.known(run.tables.main, run.account_id)
    planned = [
        _identity(run, entry, known.get(("identity", entry.name))) for entry in seed.identities
    ]
    planned += [_name(run, entry, known.get((entry.kind, entry.name))) for entry in seed.names]
    planned += [_invite(run, entry, known.get(("invite", entry.name))) for entry in seed.invites]
    planned += webhooks.plan(run, vault, seed.webhooks, known=known, secrets=secrets)
    return planned


def _identity(run: Run, wanted: SeedIdentity, made: str | None) -> Planned:
    main = run.tables.main
    if made is None:
        new = Identity(
            id=ids.new(run.now),
            account_id=run.account_id,
            name=wanted.name,
            type=wanted.type,
            is_admin=wanted.is_admin,
            claw_type=wanted.claw_type,
            membership=Membership.ACTIVE,
            created_at=run.now,
            ceiling=wanted.ceiling,
        )

        def add() -> None:
            run.commit(
                identity_writes.join(main, new),
                identity_writes.creation(new),
                kind="identity",
                name=wanted.name,
                made=new.id,
            )

        return Step("add", "identity", wanted.name, new.audit_view()), add
    there = identities.get(main, run.account_id, made)
    patch = IdentityPatch()
    detail: dict[str, Any] = {}
    if there.is_admin != wanted.is_admin:
        patch = replace(patch, is_admin=wanted.is_admin)
        detail["is_admin"] = [there.is_admin, wanted.is_admin]
    if there.claw_type is not wanted.claw_type:
        patch = replace(patch, claw_type=wanted.claw_type.value)
        detail["claw_type"] = [there.claw_type.value, wanted.claw_type.value]
    if there.ceiling != wanted.ceiling:
        patch = replace(patch, scopes=wanted.ceiling.scopes, permissions=wanted.ceiling.permissions)
        detail["ceiling"] = [audit_view(there.ceiling), audit_view(wanted.ceiling)]

    def update() -> None:
        memberships.apply(
            run.tables,
            run.account_id,
            made,
            patch=patch,
            origin=run.origin,
            now=run.now,
        )

    return Step("update" if detail else "keep", "identity", wanted.name, detail), update


def _name(run: Run, wanted: SeedName, made: str | None) -> Planned:
    main = run.tables.main
    there = (
        None if made is None else store.read_name(main, run.account_id, kind=wanted.kind, made=made)
    )
    after = {"name": wanted.name, "description": wanted.description}
    if made is None or there is None:
        new = ids.new(run.now)

        def add() -> None:
            run.commit(
                {"name": store.put_name(main, run.account_id, wanted, made=new)},
                Change(f"{wanted.kind}.create", f"{wanted.kind}:{new}", after=after),
                kind=wanted.kind,
                name=wanted.name,
                made=new,
            )

        return Step("add", wanted.kind, wanted.name, after), add

    def update() -> None:
        run.keep(
            {"name": store.replace_name(main, run.account_id, wanted, made=made)},
            Change(
                f"{wanted.kind}.update",
                f"{wanted.kind}:{made}",
                before={"name": there.name, "description": there.description},
                after=after,
            ),
        )

    changed = there.description != wanted.description
    detail = {"description": [there.description, wanted.description]} if changed else {}
    return Step("update" if changed else "keep", wanted.kind, wanted.name, detail), update


def _invite(run: Run, wanted: SeedInvite, made: str | None) -> Planned:
    if made is not None:
        return Step("keep", "invite", wanted.name, {}), lambda: None
    request = InviteRequest(wanted.name, wanted.type.value, max_uses=wanted.max_uses, long=True)
    new = invites.prepare_for_operator(run.account_id, request, grants=wanted.grants, now=run.now)

    def add() -> str:
        run.commit(
            invite_writes.create(run.tables.main, new),
            invites.creation(new),
            kind="invite",
            name=wanted.name,
            made=new.id,
        )
        return new.code

    detail = {"type": wanted.type.value, "max_uses": wanted.max_uses}
    return Step("add", "invite", wanted.name, detail | audit_view(wanted.grants)), add

"""Fill the operator's account from a file: add and update, never delete.

The whole file is checked before anything is written. Each entry is then one transaction with its
audit event and the record of what the entry created, so an interrupted run can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.audit.model import Change, Origin
from gatehouse.bootstrap import rules, store, webhooks
from gatehouse.bootstrap.adapters import file_schema, yaml_document
from gatehouse.bootstrap.model import PlannedStep, Seed, SeedIdentity, SeedInvite, SeedName
from gatehouse.bootstrap.run import Run, Task
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


def parse(text: str) -> Seed:
    """Read and check a file. Raises BadInput that names line and field."""
    root = yaml_document.read(text)
    seed = file_schema.check(root)
    rules.check_unique_names(root)
    return seed


def apply(
    tables: Tables,
    vault: Vault,
    text: str,
    *,
    secrets: Mapping[str, str],
    dry_run: bool,
    origin: Origin,
    now: Micros,
) -> list[PlannedStep]:
    """Apply a file to the operator's account, or with `dry_run` only return the plan.

    `secrets` has the values of the variables that webhooks name. Raises BadInput that names line
    and field, BoundReached, and NotFound where the operator's account has no admin yet; all
    before anything is written. Applying the same file again keeps everything.
    """
    seed = parse(text)
    account_id = accounts.find_operator_id(tables.main)
    if account_id is None or not identities.has_had_admins(tables.main, account_id):
        # The first member becomes admin, and that must be the one whom the operator invited.
        raise NotFound("The operator's account has no admin yet", code="NOT_BOOTSTRAPPED")
    run = Run(tables, account_id, origin, now)
    tasks = _plan(run, vault, seed, secrets=secrets)
    new_invites = sum(task.step.kind == "invite" and task.step.verb == "add" for task in tasks)
    if new_invites > invites.room_left(tables.main, account_id, now):
        raise BoundReached("The file has more invites than the account may have open")
    steps = []
    for task in tasks:
        shown = None if dry_run or task.step.verb == "keep" else task.act()
        steps.append(replace(task.step, shown=shown))
    return steps


def _plan(run: Run, vault: Vault, seed: Seed, *, secrets: Mapping[str, str]) -> list[Task]:
    created = store.list_created(run.tables.main, run.account_id)
    tasks = [
        _identity(run, entry, created.get(("identity", entry.name))) for entry in seed.identities
    ]
    tasks += [_name(run, entry, created.get((entry.kind, entry.name))) for entry in seed.names]
    tasks += [_invite(run, entry, created.get(("invite", entry.name))) for entry in seed.invites]
    tasks += webhooks.plan(run, vault, seed.webhooks, created=created, secrets=secrets)
    return tasks


def _identity(run: Run, wanted: SeedIdentity, created: str | None) -> Task:
    main = run.tables.main
    if created is None:
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
            run.commit_new(
                identity_writes.join(main, new),
                identity_writes.creation(new),
                kind="identity",
                name=wanted.name,
                created=new.id,
            )

        return Task(PlannedStep("add", "identity", wanted.name, new.audit_view()), add)
    current = identities.get(main, run.account_id, created)
    patch = IdentityPatch()
    detail: dict[str, Any] = {}
    if current.is_admin != wanted.is_admin:
        patch = replace(patch, is_admin=wanted.is_admin)
        detail["is_admin"] = [current.is_admin, wanted.is_admin]
    if current.claw_type is not wanted.claw_type:
        patch = replace(patch, claw_type=wanted.claw_type.value)
        detail["claw_type"] = [current.claw_type.value, wanted.claw_type.value]
    if current.ceiling != wanted.ceiling:
        patch = replace(patch, scopes=wanted.ceiling.scopes, permissions=wanted.ceiling.permissions)
        detail["ceiling"] = [audit_view(current.ceiling), audit_view(wanted.ceiling)]

    def update() -> None:
        memberships.apply(
            run.tables,
            run.account_id,
            created,
            patch=patch,
            origin=run.origin,
            now=run.now,
        )

    verb = "update" if detail else "keep"
    return Task(PlannedStep(verb, "identity", wanted.name, detail), update)


def _name(run: Run, wanted: SeedName, created: str | None) -> Task:
    main = run.tables.main
    current = (
        None
        if created is None
        else store.read_name(main, run.account_id, kind=wanted.kind, thing_id=created)
    )
    after = {"name": wanted.name, "description": wanted.description}
    if created is None or current is None:
        new_id = ids.new(run.now)

        def add() -> None:
            run.commit_new(
                {"name": store.put_name(main, run.account_id, wanted, thing_id=new_id)},
                Change(f"{wanted.kind}.create", f"{wanted.kind}:{new_id}", after=after),
                kind=wanted.kind,
                name=wanted.name,
                created=new_id,
            )

        return Task(PlannedStep("add", wanted.kind, wanted.name, after), add)

    def update() -> None:
        run.commit(
            {"name": store.replace_name(main, run.account_id, wanted, thing_id=created)},
            Change(
                f"{wanted.kind}.update",
                f"{wanted.kind}:{created}",
                before={"name": current.name, "description": current.description},
                after=after,
            ),
        )

    changed = current.description != wanted.description
    detail = {"description": [current.description, wanted.description]} if changed else {}
    verb = "update" if changed else "keep"
    return Task(PlannedStep(verb, wanted.kind, wanted.name, detail), update)


def _invite(run: Run, wanted: SeedInvite, created: str | None) -> Task:
    if created is not None:
        return Task(PlannedStep("keep", "invite", wanted.name, {}), lambda: None)
    request = InviteRequest(wanted.name, wanted.type.value, max_uses=wanted.max_uses, long=True)
    new = invites.prepare_for_operator(run.account_id, request, grants=wanted.grants, now=run.now)

    def add() -> str:
        run.commit_new(
            invite_writes.create(run.tables.main, new),
            invites.creation(new),
            kind="invite",
            name=wanted.name,
            created=new.id,
        )
        return new.code

    detail = {"type": wanted.type.value, "max_uses": wanted.max_uses} | audit_view(wanted.grants)
    return Task(PlannedStep("add", "invite", wanted.name, detail), add)

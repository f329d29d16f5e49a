"""Create and update the webhooks of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gatehouse.bootstrap.model import Located, PlannedStep, SeedWebhook
from gatehouse.bootstrap.run import Run, Task
from gatehouse.core.errors import BadInput, BoundReached, FieldRequired
from gatehouse.core.unset import UNSET, set_fields
from gatehouse.deliveries.writes import unpark_marker
from gatehouse.outbound import client as outbound
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import rotation
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import (
    MOST_WEBHOOKS,
    CheckedFields,
    Webhook,
    WebhookFields,
)


def plan(
    run: Run,
    vault: Vault,
    entries: Sequence[SeedWebhook],
    *,
    created: Mapping[tuple[str, str], str],
    secrets: Mapping[str, str],
) -> list[Task]:
    """Return a task for each entry. `created` has the ids of what earlier files created.

    Raises BadInput that names line and field, and BoundReached.
    """
    if not entries:
        return []
    existing = {one.id: one for one in webhooks.list_all(run.tables.main, run.account_id)}
    tasks = []
    for entry in entries:
        wanted = _wanted(entry, secrets)
        previous_id = created.get(("webhook", entry.name))
        webhook = None if previous_id is None else existing.get(previous_id)
        if webhook is None or webhook.url != wanted.url:
            # An unchanged URL is not resolved again: its host may be unresolvable today.
            with _at(entry):
                outbound.check_host(wanted.url)
        if webhook is None:
            tasks.append(_addition(run, vault, wanted, replaced=previous_id))
        else:
            tasks.append(_change(run, vault, wanted, current=webhook))
    new = sum(task.step.verb == "add" for task in tasks)
    if len(existing) + new > MOST_WEBHOOKS:
        raise BoundReached("The file has more webhooks than the account may have")
    return tasks


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An entry, its checked fields and its secret."""

    entry: SeedWebhook
    checked: CheckedFields
    url: str
    secret: str | None = field(repr=False)


def _wanted(entry: SeedWebhook, secrets: Mapping[str, str]) -> _Wanted:
    with _at(entry):
        checked = webhooks.check_fields(entry.fields)
        if checked.url is UNSET:
            raise FieldRequired("url")
        return _Wanted(entry, checked, checked.url, _secret(entry, secrets))


def _secret(entry: SeedWebhook, secrets: Mapping[str, str]) -> str | None:
    if entry.secret_env is None:
        return None
    details = {"field": "secret_env"}
    secret = secrets.get(entry.secret_env)
    if secret is None:
        raise BadInput(f"names {entry.secret_env}, but its value was not sent", details=details)
    try:
        return rotation.check_secret(secret)
    except BadInput as refused:
        # Not `from refused`: that error is about a secret.
        raise BadInput(
            f"names {entry.secret_env}, whose {refused.message}", details=details
        ) from None


def _addition(run: Run, vault: Vault, wanted: _Wanted, *, replaced: str | None) -> Task:
    new = webhooks.new_webhook(run.account_id, wanted.checked, now=run.now)
    creation = webhook_writes.creation(new)

    def add() -> str | None:
        text = wanted.secret or webhooks.new_secret()
        run.commit_new(
            webhook_writes.create(
                run.tables.main, vault, new, secret=text, seeded=wanted.secret is not None
            ),
            creation,
            kind="webhook",
            name=wanted.entry.name,
            created=new.id,
            replaced=replaced,
        )
        return None if wanted.secret else text

    return Task(PlannedStep("add", "webhook", wanted.entry.name, creation.after or {}), add)


def _change(run: Run, vault: Vault, wanted: _Wanted, *, current: Webhook) -> Task:
    main, secret = run.tables.main, wanted.secret
    detail: dict[str, Any] = webhooks.difference(current, wanted.checked)
    changed = {
        name: value for name, value in set_fields(wanted.entry.fields).items() if name in detail
    }
    if secret is not None and not rotation.was_seeded(main, vault, current, secret=secret):
        detail["secret"] = ["the previous value", f"the value of {wanted.entry.secret_env}"]

    def update() -> None:
        if changed:
            # A webhook that becomes active again gets its parked deliveries.
            activates = changed.get("active") is True
            webhooks.update_as(
                main,
                vault,
                run.account_id,
                webhook_id=current.id,
                fields=WebhookFields(**changed),
                origin=run.origin,
                now=run.now,
                also=unpark_marker(main, run.account_id, current.id, now=run.now)
                if activates
                else webhooks.NO_WRITES,
            )
        if secret is not None and "secret" in detail:
            rotation.seed_secret(
                main,
                vault,
                run.account_id,
                webhook_id=current.id,
                secret=secret,
                origin=run.origin,
                now=run.now,
            )

    verb = "update" if detail else "keep"
    return Task(PlannedStep(verb, "webhook", wanted.entry.name, detail), update)


@contextmanager
def _at(entry: SeedWebhook) -> Iterator[None]:
    """Add line and field to a BadInput about one field of an entry."""
    try:
        yield
    except BadInput as refused:
        name = str(refused.details["field"])
        line, where = entry.lines.get(name, entry.line), f"{entry.where}.{name}"
        what = refused.message.removeprefix(name).strip()
        raise Located(None, line).error(where, what) from refused

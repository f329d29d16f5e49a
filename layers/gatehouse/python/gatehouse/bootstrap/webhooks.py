"""Create and update the webhooks of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gatehouse.bootstrap.model import Located, PlannedStep, SeedWebhook
from gatehouse.bootstrap.run import Run, Task
from gatehouse.core import ids
from gatehouse.core.errors import BadInput, BoundReached
from gatehouse.deliveries.writes import waking
from gatehouse.outbound import client as outbound
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import MOST_WEBHOOKS, Webhook

_NO_FILTERS = {"rings": (), "types": (), "min_urgency": 0}
# What an entry does not say is as if it were never said. Not so whether the webhook is active:
# that is decided day by day, by admins and by receivers that are gone.
_DEFAULTS = {"filters": _NO_FILTERS, "description": None, "retry_schedule": None}


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
    there = {one.id: one for one in webhooks.all_of(run.tables.main, run.account_id)}
    tasks = []
    for entry in entries:
        wanted = _wanted(entry, secrets)
        made = created.get(("webhook", entry.name))
        webhook = None if made is None else there.get(made)
        if webhook is None or webhook.url != wanted.checked["url"]:
            # A name that cannot be resolved today is no reason to refuse what stands unchanged.
            with _at(entry):
                outbound.check_host(wanted.checked["url"])
        if webhook is None:
            tasks.append(_addition(run, vault, wanted, made=made))
        else:
            tasks.append(_change(run, vault, wanted, there=webhook))
    new = sum(task.step.verb == "add" for task in tasks)
    if len(there) + new > MOST_WEBHOOKS:
        raise BoundReached("The file has more webhooks than the account may have")
    return tasks


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An entry, what it says with the defaults filled in, the same checked, and its secret."""

    entry: SeedWebhook
    said: Mapping[str, Any]
    checked: Mapping[str, Any]
    secret: str | None = field(repr=False)


def _wanted(entry: SeedWebhook, secrets: Mapping[str, str]) -> _Wanted:
    said = {**_DEFAULTS, **entry.fields}
    with _at(entry):
        said["filters"] = webhooks.filters_of(**{**_NO_FILTERS, **said["filters"]})
        return _Wanted(entry, said, webhooks.checked(said)[0], _secret(entry, secrets))


def _secret(entry: SeedWebhook, secrets: Mapping[str, str]) -> str | None:
    if entry.secret_env is None:
        return None
    said = {"field": "secret_env"}
    secret = secrets.get(entry.secret_env)
    if secret is None:
        raise BadInput(f"names {entry.secret_env}, but its value was not sent", details=said)
    try:
        return webhooks.secret_of(secret)
    except BadInput as refused:
        # Not `from refused`: that error is about a secret.
        raise BadInput(f"names {entry.secret_env}, whose {refused.message}", details=said) from None


def _addition(run: Run, vault: Vault, wanted: _Wanted, *, made: str | None) -> Task:
    new = Webhook(
        id=ids.new(run.now), account_id=run.account_id, created_at=run.now, **wanted.checked
    )

    def add() -> str | None:
        text = wanted.secret or webhooks.new_secret()
        run.commit_new(
            webhooks.creating(
                run.tables.main, vault, new, secret=text, seeded=wanted.secret is not None
            ),
            webhooks.creation(new),
            kind="webhook",
            name=wanted.entry.name,
            created=new.id,
            replaced=made,
        )
        return None if wanted.secret else text

    return Task(PlannedStep("add", "webhook", wanted.entry.name, webhooks.audit_view(new)), add)


def _change(run: Run, vault: Vault, wanted: _Wanted, *, there: Webhook) -> Task:
    main, secret = run.tables.main, wanted.secret
    detail: dict[str, Any] = webhooks.difference(there, wanted.checked)
    changed = {name: wanted.said[name] for name in detail}
    if secret is not None and not webhooks.was_seeded(main, vault, there, secret=secret):
        detail["secret"] = ["the one before", f"the one in {wanted.entry.secret_env}"]

    def update() -> None:
        if changed:
            # A webhook that becomes active again gets its parked deliveries.
            wakes = changed.get("active") is True
            webhooks.apply(
                main,
                vault,
                run.account_id,
                webhook_id=there.id,
                fields=changed,
                origin=run.origin,
                now=run.now,
                also=waking(main, run.account_id, there.id, now=run.now)
                if wakes
                else webhooks.NOTHING,
            )
        if secret is not None and "secret" in detail:
            webhooks.seed_secret(
                main,
                vault,
                run.account_id,
                webhook_id=there.id,
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

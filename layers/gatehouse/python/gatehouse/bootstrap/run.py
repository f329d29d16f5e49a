"""The context of applying a file, and how each change is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.bootstrap import store
from gatehouse.bootstrap.model import PlannedStep
from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Tables, Write


@dataclass(frozen=True, slots=True)
class Task:
    """A planned step and the function that does it.

    `act` returns the text to show once, or None. It is not called for a step that keeps.
    """

    step: PlannedStep
    act: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Run:
    """One application of a file: the operator's account, the origin and the time."""

    tables: Tables
    account_id: str
    origin: Origin
    now: Micros

    def commit_new(
        self,
        writes: dict[str, Write],
        change: Change,
        *,
        kind: str,
        name: str,
        created: str,
        replaced: str | None = None,
    ) -> None:
        """Write a new thing, its audit event, and the record that the entry created it.

        `created` is its id. `replaced` is the id that the entry had created before, where that
        thing was deleted since.
        """
        main, account_id = self.tables.main, self.account_id
        writes["seed"] = store.record(
            main, account_id, kind=kind, name=name, created=created, replaced=replaced
        )
        self.commit(writes, change)

    def commit(self, writes: dict[str, Write], change: Change) -> None:
        """Write a change and its audit event."""
        audit.commit(
            self.tables.main,
            self.account_id,
            writes=writes,
            changes=[change],
            origin=self.origin,
            now=self.now,
        )

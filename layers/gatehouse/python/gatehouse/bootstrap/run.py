"""One application of a file: for whom, when, and how each of its changes is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.bootstrap import store
from gatehouse.bootstrap.model import Step
from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Tables, Write

Planned = tuple[Step, Callable[[], str | None]]
"""What is to be done, and doing it: gives what is shown once, None for nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """The operator's account and who fills it."""

    tables: Tables
    account_id: str
    origin: Origin
    now: Micros

    def commit(
        self,
        writes: dict[str, Write],
        change: Change,
        *,
        kind: str,
        name: str,
        made: str,
        before: str | None = None,
    ) -> None:
        """Write a new thing together with the note of what the entry became.

        `before` is what it had become, where that is gone.
        """
        main, account_id = self.tables.main, self.account_id
        if before is None:
            writes["seed"] = store.note(main, account_id, kind=kind, name=name, made=made)
        else:
            writes["seed"] = store.note_again(
                main, account_id, kind=kind, name=name, made=made, before=before
            )
        self.keep(writes, change)

    def keep(self, writes: dict[str, Write], change: Change) -> None:
        """Write a changed thing."""
        audit.commit(
            self.tables.main,
            self.account_id,
            writes=writes,
            changes=[change],
            origin=self.origin,
            now=self.now,
        )

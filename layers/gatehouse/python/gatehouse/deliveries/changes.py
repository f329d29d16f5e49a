"""Writes many changed deliveries side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatehouse.core.errors import Unavailable
from gatehouse.dynamo import lanes
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict, Write


@dataclass(frozen=True, slots=True)
class Written:
    """Which of the writes were done; `error` is the first of those for which the table failed."""

    written: Sequence[bool]
    error: Unavailable | None

    def check(self) -> None:
        """Raise the error."""
        if self.error is not None:
            raise self.error


def write_all(table: Table, writes: Sequence[Write]) -> Written:
    """Do each write by itself. One is not done if another process changed the item first."""

    def write(one: Write) -> bool | Unavailable:
        try:
            table.write(one)
        except (ConditionFailed, TransactionConflict):
            return False
        except Unavailable as error:
            return error
        return True

    results = lanes.each(write, writes)
    error = next((one for one in results if isinstance(one, Unavailable)), None)
    return Written([one is True for one in results], error)

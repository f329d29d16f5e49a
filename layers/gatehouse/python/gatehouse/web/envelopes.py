"""What surrounds an answer in the account and the admin dialect, and what several bodies share."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from gatehouse.core.errors import BadInput
from gatehouse.core.request import Answered, Call

T = TypeVar("T")


class Body(BaseModel):
    """A request's body: unknown fields are ignored, types are not guessed."""

    model_config = ConfigDict(strict=True)


class Data(BaseModel, Generic[T]):
    """What an answer of the account surface carries."""

    data: T


class Page(Data[T], Generic[T]):
    """One page of a list; `cursor` is there when more follows, for `?after=`."""

    cursor: str | None = None


class Meta(BaseModel):
    """About an answer of the admin surface; `cursor` is there on lists with more behind them."""

    request_id: str
    cursor: str | None = None


class Answer(BaseModel, Generic[T]):
    """What every answer of the admin surface looks like."""

    data: T
    meta: Meta


class PermissionLists(Body):
    """Four lists; an empty one is unrestricted. `rings` is another name of `ring_scopes`."""

    signal_types: list[str] = []
    task_types: list[str] = []
    ring_scopes: list[str] = []
    rings: list[str] = []
    memory_scopes: list[str] = []

    def named(self) -> dict[str, list[str]]:
        """Give the four lists by their own names."""
        lists = self.model_dump()
        rings = lists.pop("rings")
        if rings and self.ring_scopes:
            raise BadInput(
                "Give permissions.ring_scopes or permissions.rings, not both",
                details={"field": "permissions.rings"},
            )
        lists["ring_scopes"] = self.ring_scopes or rings
        return lists


def answer(call: Call, data: T, cursor: str | None = None) -> Answer[T]:
    """Wrap an answer of the admin surface. Routes leave unset fields out."""
    if cursor is None:
        return Answer(data=data, meta=Meta(request_id=call.request_id))
    return Answer(data=data, meta=Meta(request_id=call.request_id, cursor=cursor))


def written(value: BaseModel, *, status: int) -> Answered:
    """Write out an answer without a secret, to be kept for a repeat. Unset fields are left out."""
    return Answered(status, value.model_dump_json(exclude_unset=True))

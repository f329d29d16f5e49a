"""Envelopes of the account and admin surfaces' answers, and parts that several bodies share."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from gatehouse.core.errors import BadInput
from gatehouse.core.request import Answered, Call
from gatehouse.web.bodies import UnknownName

T = TypeVar("T")


class Body(BaseModel):
    """A request body, or an object in one: unknown fields are refused, types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, value: Any) -> Any:
        # Pydantic would report each of them, a hundred thousand in one body.
        if isinstance(value, dict):
            for name in value:
                if name not in cls.model_fields:
                    raise UnknownName(name, cls.model_fields)
        return value


class Data(BaseModel, Generic[T]):
    """An answer of the account surface."""

    data: T


class Page(Data[T], Generic[T]):
    """One page of a list; `cursor`, for `?after=`, is set if there may be more."""

    cursor: str | None = None


class Meta(BaseModel):
    """Metadata of an admin answer; `cursor` is set on lists if there may be more."""

    request_id: str
    cursor: str | None = None


class Answer(BaseModel, Generic[T]):
    """An answer of the admin surface."""

    data: T
    meta: Meta


class PermissionLists(Body):
    """Four lists; an empty list is unrestricted. `rings` is another name of `ring_scopes`."""

    signal_types: list[str] = []
    task_types: list[str] = []
    ring_scopes: list[str] = []
    rings: list[str] = []
    memory_scopes: list[str] = []

    def named(self) -> dict[str, list[str]]:
        """Return the four lists, `rings` as `ring_scopes`. Raises BadInput for both."""
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
    """Return data in the admin surface's envelope. Routes leave unset fields out."""
    if cursor is None:
        return Answer(data=data, meta=Meta(request_id=call.shown_id))
    return Answer(data=data, meta=Meta(request_id=call.shown_id, cursor=cursor))


def written(value: BaseModel, *, status: int) -> Answered:
    """Return an answer without a secret, to be stored for repeats. Unset fields are left out."""
    return Answered(status, value.model_dump_json(exclude_unset=True))

"""Envelopes of the account and admin surfaces' answers, and parts that several bodies share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from gatehouse.core.errors import BadInput
from gatehouse.core.grants import MEMORY_OPERATIONS, MOST_ENTRIES, SIGNAL_TYPES
from gatehouse.core.request import Answered, Call
from gatehouse.web.bodies import UnknownName
from gatehouse.web.exact import restored
from gatehouse.web.fields import AtMost, Labels, one_of

T = TypeVar("T")
# Parts of a field's schema that stay outside when null is added to it.
_OUTER = ("default", "description", "examples", "title")


class Body(BaseModel):
    """A request body, or an object in one: unknown fields are refused, types are not converted.

    A field that is null counts as left out, unless its type has a null of its own.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    null_is_left_out: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            # FastAPI lets pydantic read attributes, and a number as it was written has some.
            raise PydanticCustomError("model_type", "must be an object")
        # Pydantic would report each unknown name, a hundred thousand in one body.
        for name in value:
            if name not in cls.model_fields:
                raise UnknownName(name, cls.model_fields)
        if not cls.null_is_left_out:
            return value
        return {name: one for name, one in value.items() if one is not None or cls._null(name)}

    @classmethod
    def _null(cls, name: str) -> bool:
        """Return whether a field's type has null."""
        return type(None) in get_args(cls.model_fields[name].annotation)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core)
        shown = handler.resolve_ref_schema(schema)
        for name, field in shown.get("properties", {}).items():
            optional = cls.null_is_left_out and name not in shown.get("required", ())
            if optional and not cls._null(name):
                outer = {one: field.pop(one) for one in _OUTER if one in field}
                shown["properties"][name] = {"anyOf": [field, {"type": "null"}], **outer}
        return schema


def exactly_one(*names: str) -> ConfigDict:
    """Document that a body has one of these fields, which are texts. The room checks it."""
    text: dict[str, Any] = {"type": "string"}
    given = [{"required": [name], "properties": {name: text}} for name in names]
    shown: dict[str, Any] = {"oneOf": given}
    return ConfigDict(json_schema_extra=shown)


class Patch(Body):
    """A change: fields that are left out stay as they are, null takes a value away.

    A field whose type has no null cannot be taken away: null there is refused.
    """

    null_is_left_out: ClassVar[bool] = False


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

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "required": ["ring_scopes", "rings"],
                "properties": {
                    name: {"type": "array", "minItems": 1} for name in ("ring_scopes", "rings")
                },
            }
        }
    )

    signal_types: Annotated[list[Annotated[str, one_of(SIGNAL_TYPES)]], AtMost(MOST_ENTRIES)] = []
    task_types: Labels = []
    ring_scopes: Labels = []
    rings: Labels = []
    memory_scopes: Annotated[
        list[Annotated[str, one_of(MEMORY_OPERATIONS)]], AtMost(MOST_ENTRIES)
    ] = []

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
    text = restored(value.model_dump_json(exclude_unset=True).encode()).decode()
    return Answered(status, text)

"""The schema of a bootstrap file, checked by pydantic. Each error names the line and the field."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from gatehouse.bootstrap.model import Located, Seed, SeedIdentity, SeedInvite, SeedName, SeedWebhook
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import KNOWN_SCOPES, MEMORY_OPERATIONS, SIGNAL_TYPES, Grants, Permissions
from gatehouse.core.nearest import did_you_mean, find_nearest
from gatehouse.core.text import is_plain
from gatehouse.core.unset import UNSET
from gatehouse.identities.model import ClawType, IdentityType
from gatehouse.webhooks.model import FILTER_TYPES, NewFilters, WebhookFields

MOST_ENTRIES = 200  # of a section
MOST_WORDS = 50  # of a list
_LONGEST_WORD = 64
_LONGEST_TEXT = 200
_MOST_USES = 1_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)

# Our words for pydantic's errors, by its names for them.
_MESSAGES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "missing": "is required",
    "model_type": "must be a mapping",
    "string_type": "must be a text",
    "too_long": "must have at most {max_length} entries",
}


def _printable(most: int) -> AfterValidator:
    def check(value: str) -> str:
        text = value.strip()
        if not text:
            raise PydanticCustomError("empty_text", "must not be empty")
        if len(text) > most or not is_plain(value):
            raise PydanticCustomError(
                "bad_text", "must be at most {most} printable characters", {"most": most}
            )
        return text

    return AfterValidator(check)


def _check_variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise PydanticCustomError("bad_variable", "must be the name of an environment variable")
    return value


def _one_of(*allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in allowed:
            raise PydanticCustomError(
                "not_allowed",
                "must be one of {allowed}{hint}",
                {"allowed": ", ".join(allowed), "hint": did_you_mean(value, allowed)},
            )
        return value

    return AfterValidator(check)


Value = TypeVar("Value")
_Text = Annotated[str, _printable(_LONGEST_TEXT)]
_Word = Annotated[str, _printable(_LONGEST_WORD)]
_Words = Annotated[list[Value], Field(max_length=MOST_WORDS)]
_FILTER_TYPES = {list: list[str], float: float}
_Entries = Annotated[list[Value], Field(max_length=MOST_ENTRIES)]


class _Mapping(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Permissions(_Mapping):
    signal_types: _Words[Annotated[_Word, _one_of(*SIGNAL_TYPES)]] = []
    task_types: _Words[_Word] = []
    ring_scopes: _Words[_Word] = []
    memory_scopes: _Words[Annotated[_Word, _one_of(*MEMORY_OPERATIONS)]] = []


class _Granted(_Mapping):
    scopes: _Words[Annotated[_Word, _one_of(*KNOWN_SCOPES)]] = ["*"]
    permissions: _Permissions = _Permissions()

    def grants(self) -> Grants:
        lists = {name: _unique(words) for name, words in self.permissions}
        return Grants(_unique(self.scopes), Permissions.from_dict(lists))


class _Identity(_Granted):
    name: _Text
    type: Annotated[str, _one_of(*IdentityType)] = IdentityType.AGENT.value
    claw_type: Annotated[str, _one_of(*ClawType)] = ClawType.EMPLOYEE.value
    is_admin: bool = False


class _Name(_Mapping):
    name: _Text
    description: _Text | None = None


class _Invite(_Granted):
    name: _Text
    type: Annotated[str, _one_of(*IdentityType)] = IdentityType.HUMAN.value
    max_uses: Annotated[int, Field(ge=1, le=_MOST_USES)] = 1


# Made from the webhooks' own filters, so that a new filter needs no change here.
if TYPE_CHECKING:
    _Filters = _Mapping
else:
    _Filters = create_model(
        "_Filters",
        __base__=_Mapping,
        **{name: (_FILTER_TYPES[kind], kind()) for name, kind in FILTER_TYPES.items()},
    )


class _Webhook(_Mapping):
    """Only the types are checked here: the bounds are those of the API, in the webhooks' room."""

    name: _Text
    url: str
    filters: _Filters | None = None
    description: str | None = None
    retry_schedule: list[int] | None = None
    active: bool | None = None
    secret_env: Annotated[str | None, BeforeValidator(_check_variable)] = None


class _File(_Mapping):
    identities: _Entries[_Identity] | None = None
    roles: _Entries[_Name] | None = None
    rings: _Entries[_Name] | None = None
    invites: _Entries[_Invite] | None = None
    webhooks: _Entries[_Webhook] | None = None


def check(root: Located) -> Seed:
    """Check the types and bounds of a whole file. Raises BadInput about its first error."""
    try:
        file = _File.model_validate(root.plain())
    except ValidationError as error:
        # The cause would bring values of the file into tracebacks.
        raise _first_error(root, error.errors(include_url=False)) from None
    return Seed(
        identities=tuple(
            SeedIdentity(
                name=entry.name,
                type=IdentityType(entry.type),
                claw_type=ClawType(entry.claw_type),
                is_admin=entry.is_admin,
                ceiling=entry.grants(),
            )
            for entry in file.identities or ()
        ),
        names=tuple(
            SeedName(kind, entry.name, entry.description or "")
            for kind, entries in (("role", file.roles), ("ring", file.rings))
            for entry in entries or ()
        ),
        invites=tuple(
            SeedInvite(entry.name, IdentityType(entry.type), entry.max_uses, entry.grants())
            for entry in file.invites or ()
        ),
        webhooks=tuple(
            _webhook(entry, number, root.at("webhooks", number))
            for number, entry in enumerate(file.webhooks or ())
        ),
    )


def _webhook(entry: _Webhook, number: int, located: Located) -> SeedWebhook:
    filters = entry.filters
    return SeedWebhook(
        name=entry.name,
        where=f"webhooks[{number}]",
        line=located.line,
        fields=WebhookFields(
            url=entry.url,
            filters=None
            if filters is None
            else NewFilters(**filters.model_dump(exclude_unset=True)),
            active=UNSET if entry.active is None else entry.active,
            description=entry.description,
            retry_schedule=entry.retry_schedule,
        ),
        lines={name: value.line for name, value in _fields_within(located)},
        secret_env=entry.secret_env,
    )


def _fields_within(located: Located, prefix: str = "") -> Iterator[tuple[str, Located]]:
    for name, value in located.value.items():
        yield prefix + name, value
        if isinstance(value.value, dict):
            yield from _fields_within(value, f"{prefix}{name}.")


def _unique(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _first_error(root: Located, errors: Sequence[ErrorDetails]) -> BadInput:
    def position(error: ErrorDetails) -> tuple[int, bool]:
        # A field name with a typing error is reported before the field that is missing for it.
        return root.at(*error["loc"]).line, error["type"] != "extra_forbidden"

    error = min(errors, key=position)
    loc = error["loc"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return root.at(*loc).error(where.removeprefix(".") or "the file", _message(error))


def _message(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        *within, name = error["loc"]
        known = sorted(_model_at(within).model_fields)
        nearest = find_nearest(str(name), known)
        if nearest is not None:
            return f"is not a known field: did you mean {nearest}?"
        return f"is not a known field; known are {', '.join(known)}"
    template = _MESSAGES.get(error["type"])
    return error["msg"] if template is None else template.format(**error.get("ctx", {}))


def _model_at(loc: Sequence[int | str]) -> type[BaseModel]:
    model: type[BaseModel] = _File
    for part in loc:
        if isinstance(part, str):
            model = next(_models_in(model.model_fields[part].annotation))
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)

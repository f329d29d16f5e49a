"""Query parameters and ids in paths are read as they are documented, and in no other spelling."""

from __future__ import annotations

from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.aws.invocation import Answer
from support.checks import described_routes
from support.checks.described_routes import Operation

# Each is a 5 for Python's `int` or for pydantic, or could be one for somebody.
NOT_DIGITS = (
    "+5",
    " 5",
    "5 ",
    "\t5",
    "5\n",
    "\uff10\uff15",
    "\u0665",
    "1_0",
    "5.0",
    "5e0",
    "0x5",
    "",
)
# Each is a boolean for pydantic.
NOT_FLAGS = ("1", "0", "yes", "no", "on", "off", "t", "f", "True", "FALSE", " true", "true\n", "")


@pytest.fixture(scope="module")
def admin(people: People, settings_key: str, delivery_queue: str) -> Holder:
    del settings_key, delivery_queue
    return people.tenant()


def of_type(name: str) -> list[tuple[Operation, str]]:
    return [
        (operation, parameter)
        for operation in described_routes.operations()
        for parameter in operation.query
        if operation.parameters[parameter].get("type") == name
    ]


def ask(front: Front, admin: Holder, operation: Operation, query: dict[str, Any]) -> Answer:
    path = operation.path.replace("{id}", admin.account_id).replace("{name}", "billing")
    return front(operation.method, path, key=admin.key, query=query)


def test_a_number_in_a_query_is_digits_and_nothing_else(front: Front, admin: Holder) -> None:
    numbers = of_type("integer")
    wrong = []
    for operation, name in numbers:
        for value in NOT_DIGITS:
            answer = ask(front, admin, operation, {name: value})
            expected = (400, f"{name} must be a whole number")
            if (answer.status, error_text(answer)) != expected:
                wrong.append((str(operation), name, value, answer.text))
        read = [ask(front, admin, operation, {name: value}).status for value in ("5", "05", "100")]
        if 400 in read:
            wrong.append((str(operation), name, "digits", str(read)))
    assert not wrong
    assert len(numbers) > 5


def test_a_boolean_in_a_query_is_true_or_false_and_nothing_else(
    front: Front, admin: Holder
) -> None:
    flags = of_type("boolean")
    wrong = []
    for operation, name in flags:
        for value in NOT_FLAGS:
            answer = ask(front, admin, operation, {name: value})
            expected = (400, f"{name} must be true or false")
            if (answer.status, error_text(answer)) != expected:
                wrong.append((str(operation), name, value, answer.text))
        if ask(front, admin, operation, {name: "true"}).status != 404:
            wrong.append((str(operation), name, "true", "refused"))
    assert not wrong
    assert len(flags) == 2


def test_an_id_in_a_path_is_a_uuid_in_one_spelling(front: Front, admin: Holder) -> None:
    unknown = admin.account_id  # of another kind
    spellings = (
        *(f"{{{unknown}}}", unknown.replace("-", ""), f"urn:uuid:{unknown}", f" {unknown}"),
        *(f"{unknown}\n", unknown.replace("0", "\uff10"), f"identity:identity:{unknown}"),
    )
    operations = [
        one
        for one in described_routes.operations()
        if "{id}" in one.path and not (one.body or {}).get("required")
    ]
    wrong = []
    for operation in operations:
        for spelled in spellings:
            path = operation.path.replace("{id}", spelled)
            answer = front(operation.method, path, key=admin.key)
            if answer.status != 400 or "id" not in error_text(answer).lower():
                wrong.append((str(operation), spelled, answer.text))
    assert not wrong
    assert len(operations) > 10

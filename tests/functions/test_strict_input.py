"""What a request may hold: only fields and query parameters that its route knows, each once."""

from __future__ import annotations

from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, said
from support.aws.invocation import Answer
from support.checks import described_routes
from support.checks.described_routes import Operation


@pytest.fixture(scope="module")
def admin(people: People, settings_key: str, delivery_queue: str) -> Holder:
    del settings_key, delivery_queue
    return people.tenant()


@pytest.fixture(scope="module")
def call(front: Front, admin: Holder):  # noqa: ANN201
    def ask(operation: Operation, body: Any = None, query: Any = None) -> Answer:
        path = operation.path.replace("{id}", admin.key_id).replace("{name}", "billing")
        key = None if operation.public else admin.key
        return front(operation.method, path, key=key, body=body, query=query)

    return ask


def _details(answer: Answer) -> dict[str, Any]:
    error = answer.json()["error"]
    return error["details"] if isinstance(error, dict) else {}


def test_every_object_of_every_body_refuses_a_field_that_it_does_not_know(call) -> None:  # noqa: ANN001
    wrong = []
    for operation in described_routes.with_body():
        for at, _ in described_routes.objects(operation.body or {}):
            answer = call(operation, described_routes.nested(at, {"zzqx": 1}))
            path = ".".join((*at, "zzqx")).replace("[]", "0")
            if answer.status != 400 or f"Unknown field {path}. Known: " not in said(answer):
                wrong.append((str(operation), path, answer.text))
    assert not wrong


def test_every_misspelled_field_is_named_with_the_field_that_was_meant(call) -> None:  # noqa: ANN001
    wrong, seen = [], 0
    for operation in described_routes.with_body():
        for at, schema in described_routes.objects(operation.body or {}):
            for name in schema["properties"]:
                seen += 1
                answer = call(operation, described_routes.nested(at, {name + "x": None}))
                path = ".".join((*at, name + "x"))
                expected = f"Unknown field {path}: did you mean {name}?"
                details = _details(answer) or {"field": path, "did_you_mean": name}
                if (answer.status, said(answer), details) != (
                    *(400, expected),
                    {"field": path, "did_you_mean": name},
                ):
                    wrong.append((str(operation), path, answer.text))
    assert not wrong
    assert seen > 80


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/api-keys", {"name": "x", "scope": []}, "scope: did you mean scopes?"),
        ("/api/auth/keys", {"name": "x", "expires_at": ""}, "expires_at: did you mean expiresAt?"),
        ("/v1/api-keys", {"expiresAt": ""}, "expiresAt: did you mean expires_at?"),
        (
            "/v1/api-keys",
            {"permissions": {"signal_type": ["pulse"]}},
            "permissions.signal_type: did you mean signal_types?",
        ),
        (
            "/admin/webhooks",
            {"url": "https://a.example", "filters": {"type": []}},
            "filters.type: did you mean types?",
        ),
        ("/emit", {"content": "x", "toRing": "red"}, "toRing: did you mean to_ring?"),
    ],
)
def test_a_misspelled_restriction_is_refused(
    front: Front, admin: Holder, path: str, body: dict, error: str
) -> None:
    answer = front("POST", path, key=admin.key, body=body)
    assert (answer.status, said(answer)) == (400, f"Unknown field {error}")


@pytest.mark.parametrize("name", ["x" * 100_000, "\n\u202e", "", "é" * 65])
def test_an_unknown_name_is_repeated_in_part_only(front: Front, admin: Holder, name: str) -> None:
    answer = front("POST", "/v1/api-keys", key=admin.key, body={"name": "x", name: 1})
    assert answer.status == 400
    assert said(answer).isascii()
    assert said(answer).isprintable()
    assert len(said(answer)) < 200


def test_a_route_without_a_body_refuses_fields(call) -> None:  # noqa: ANN001
    without = [one for one in described_routes.operations() if one.body is None]
    wrong = []
    for operation in without:
        answer = call(operation, {"descendants": True})
        if (answer.status, said(answer)) != (400, "Unknown field descendants"):
            wrong.append((str(operation), answer.text))
    assert not wrong
    assert len(without) > 30


def test_a_route_without_a_body_accepts_an_empty_object(front: Front, admin: Holder) -> None:
    for body in ({}, None, "", " {} "):
        assert front("GET", "/v1/whoami", key=admin.key, body=body).status == 200


def test_every_route_refuses_query_parameters_that_it_does_not_know(call) -> None:  # noqa: ANN001
    wrong = []
    for operation in described_routes.operations():
        for name, hint in [
            ("zzqx", f". Known: {', '.join(operation.query)}" if operation.query else ""),
            *((name + "x", f": did you mean {name}?") for name in operation.query),
        ]:
            answer = call(operation, query={name: "1"})
            if (answer.status, said(answer)) != (400, f"Unknown query parameter {name}{hint}"):
                wrong.append((str(operation), name, answer.text))
    assert not wrong


def test_every_query_parameter_is_refused_where_it_is_given_twice(call) -> None:  # noqa: ANN001
    wrong = []
    for operation in described_routes.operations():
        for name in operation.query:
            for values in (["1", "2"], ["1", "1"]):
                answer = call(operation, query={name: values})
                expected = f"Query parameter {name} is given twice"
                if (answer.status, said(answer)) != (400, expected):
                    wrong.append((str(operation), name, answer.text))
    assert not wrong

"""The authorizer: where it reads a key, and what it answers to invalid ones."""

from __future__ import annotations

import json

import pytest

from gatehouse.core.errors import Unavailable
from gatehouse.credentials import rules
from support.actors.people import Holder, People
from support.aws.api_gateway import ARN, Front
from support.aws.faults import Wire, error, first, no_answer
from support.aws.invocation import Context, load
from support.worlds.held_clock import HeldClock

UNKNOWN = rules.format_key("hk", b"\x07" * 32)


def _upper(key: str) -> str:
    prefix, _, rest = key.partition("_")
    return f"{prefix}_{rest.upper()}"


BROKEN = {
    "empty": lambda key: key[:0],
    "no prefix": lambda key: key.removeprefix("hk"),
    "another surface's prefix": lambda key: key.replace("hk_", "hb_"),
    "an unknown prefix": lambda key: key.replace("hk_", "sk_"),
    "one digit short": lambda key: key[:-1],
    "one digit more": lambda key: key + "0",
    "upper case": _upper,
    "prefix in upper case": lambda key: key.replace("hk", "HK"),
    "a wrong checksum": lambda key: key[:-8] + f"{int(key[-8:], 16) ^ 1:08x}",
    "two digits swapped": lambda key: (
        key[:10] + key[11] + key[10] + key[12:]
        if key[10] != key[11]
        else key[:-2] + ("00" if key[-2:] != "00" else "11")
    ),
    "full-width digits": lambda key: key[:-1] + "\uff11",
    "a kelvin sign": lambda key: key.replace("k", "\u212a", 1),
    "a line feed within": lambda key: f"{key[:20]}\n{key[20:]}",
    "far too long": lambda key: key * 200,
    "two of them": lambda key: f"{key}, {key}",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_malformed_key_is_refused_without_a_table_call(
    front: Front, admin: Holder, line: Wire, how: str
) -> None:
    broken = BROKEN[how](admin.key)
    for headers in (
        {"Authorization": f"Bearer {broken}"},
        {"X-Hammurabi-Api-Key": broken},
        {"X-Api-Key": broken},
    ):
        line.clear()
        answer = front("GET", "/v1/whoami", headers=headers)
        assert answer.status == 401
        assert line.calls == []


def test_all_invalid_credentials_get_the_same_answer(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    revoked, expired, disabled = (people.key(admin) for _ in range(3))
    for key, body in (
        (expired, {"expires_at": held.text(seconds=1)}),
        (disabled, {"enabled": False}),
    ):
        front("PATCH", f"/v1/api-keys/{key.key_id}", key=admin.key, body=body)
    front("DELETE", f"/v1/api-keys/{revoked.key_id}", key=admin.key)
    held.advance(seconds=2)
    answers = [
        front("GET", "/v1/whoami", key=key)
        for key in (None, "", "x", UNKNOWN, revoked.key, expired.key, disabled.key)
    ]
    for answer in answers:
        assert answer.status == 401
        assert answer.headers == {
            "x-request-id": answer.request_id,
            "www-authenticate": "Bearer",
        }
        assert answer.json() == {
            "error": "Unauthorized",
            "status": 401,
            "request_id": answer.request_id,
            "code": "AUTH_INVALID_KEY",
            "message": "Unauthorized",
            "detail": "The credential is missing or invalid.",
        }


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer KEY"},
        {"authorization": "bearer KEY"},
        {"AUTHORIZATION": "BEARER   KEY "},
        {"X-Hammurabi-Api-Key": "KEY"},
        {"x-hammurabi-api-key": " KEY "},
        {"X-Api-Key": "KEY"},
        {"x-API-key": "KEY"},
        {"Authorization": "Bearer KEY", "X-Hammurabi-Api-Key": "bad", "X-Api-Key": "bad"},
        {"X-Hammurabi-Api-Key": "KEY", "X-Api-Key": "bad"},
    ],
)
def test_a_key_is_read_from_each_place_and_the_first_decides(
    front: Front, admin: Holder, headers: dict[str, str]
) -> None:
    filled = {name: value.replace("KEY", admin.key) for name, value in headers.items()}
    assert front("GET", "/v1/whoami", headers=filled).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "KEY"},
        {"Authorization": "Basic KEY"},
        {"Authorization": "Bearer", "X-Api-Key": "KEY"},
        {"Authorization": "", "X-Api-Key": "KEY"},
        {"Authorization": "Bearer bad", "X-Api-Key": "KEY"},
        {"X-Hammurabi-Api-Key": "", "X-Api-Key": "KEY"},
        {"X-Hammurabi-Api-Key": "bad", "X-Api-Key": "KEY"},
        {"Cookie": "api_key=KEY"},
        {},
    ],
)
def test_a_wrong_first_credential_is_not_replaced_by_a_later_one(
    front: Front, admin: Holder, headers: dict[str, str]
) -> None:
    filled = {name: value.replace("KEY", admin.key) for name, value in headers.items()}
    assert front("GET", "/v1/whoami", headers=filled).status == 401


def test_a_key_in_the_query_is_not_read(front: Front, admin: Holder) -> None:
    for name in ("token", "access_token", "api_key"):
        assert front("GET", "/v1/whoami", query={name: admin.key}).status == 401


@pytest.mark.parametrize("headers", [None, {}, {"Authorization": None}, {"X-Api-Key": None}])
def test_an_event_without_headers_is_refused(headers: dict | None, front: Front) -> None:
    answer = front.function("authorizer").handler(
        {
            "methodArn": f"{ARN}/GET/v1/whoami",
            "headers": headers,
            "requestContext": {"requestId": "r"},
        },
        Context(),
    )
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Deny"


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_the_policy_allows_the_whole_stage_in_its_own_partition(
    front: Front, admin: Holder, partition: str
) -> None:
    stage = f"arn:{partition}:execute-api:cn-north-1:1:api/live"
    answer = front.function("authorizer").handler(
        {
            "methodArn": f"{stage}/GET/v1/whoami",
            "headers": {"x-api-key": admin.key},
            "requestContext": {"requestId": "r"},
        },
        Context(),
    )
    statement = answer["policyDocument"]["Statement"][0]
    assert statement == {
        "Action": "execute-api:Invoke",
        "Effect": "Allow",
        "Resource": f"{stage}/*",
    }
    assert answer["principalId"] == admin.key_id
    assert admin.key not in json.dumps(answer)


@pytest.mark.parametrize(
    "fault",
    [
        no_answer,
        lambda: error("ProvisionedThroughputExceededException"),
        lambda: error("ThrottlingException"),
        lambda: error("InternalServerError", 500),
        lambda: error("AccessDeniedException"),
        lambda: error("ResourceNotFoundException"),
    ],
)
def test_nobody_is_let_through_while_the_table_fails(
    front: Front, admin: Holder, line: Wire, fault: object
) -> None:
    line.before = first(1, fault, "UpdateItem")
    answer = front("GET", "/v1/whoami", key=admin.key)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "Service Unavailable"
    assert front("GET", "/v1/whoami", key=admin.key).status == 200


def test_a_conflict_is_retried_four_times_within_60_ms(
    front: Front, admin: Holder, line: Wire, sleeps: list[float]
) -> None:
    conflict = lambda: error("TransactionConflictException")  # noqa: E731
    line.before = first(4, conflict, "UpdateItem")
    assert front("GET", "/v1/whoami", key=admin.key).status == 200
    assert len(sleeps) == 4
    assert sum(sleeps) <= 0.060

    line.before = first(5, conflict, "UpdateItem")
    refused = front("GET", "/v1/whoami", key=admin.key)
    assert refused.status == 503
    assert isinstance(refused.cause, Unavailable)


def test_a_key_seen_before_costs_one_table_call(
    front: Front, people: People, admin: Holder, line: Wire, held: HeldClock
) -> None:
    key = people.key(admin, rate_limit=60)
    event = {
        "methodArn": f"{ARN}/GET/x",
        "headers": {"x-api-key": key.key},
        "requestContext": {"requestId": "r"},
    }
    authorizer = load("authorizer")
    for gap in (0, 0.1, 0.5, 1, 30, 61, 0, 3600):
        held.advance(seconds=gap)
        line.clear()
        authorizer.handler(event, Context())
        assert line.calls == ["UpdateItem"]
    del front


def test_a_refused_request_costs_no_extra_table_call(
    people: People, admin: Holder, line: Wire, held: HeldClock
) -> None:
    del held
    key = people.key(admin, rate_limit=1)
    event = {
        "methodArn": f"{ARN}/GET/x",
        "headers": {"x-api-key": key.key},
        "requestContext": {"requestId": "r"},
    }
    authorizer = load("authorizer")
    authorizer.handler(event, Context())
    line.clear()
    for _ in range(3):
        answer = authorizer.handler(event, Context())
        assert answer["context"]["limit_state"] == "1 0 60 60"
    assert line.calls == ["UpdateItem"] * 3

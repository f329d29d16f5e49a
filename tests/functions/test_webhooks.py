"""The routes of webhooks: create, list, change, rotate, delete; errors name the field."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import DOMAIN, Front
from support.aws.faults import Wire, error, unreachable, wire
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.checks.invariants import kind
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "held", "loopback_allowed")

URL = "http://127.0.0.1:9000/in"
PATH = "/admin/webhooks"
VIEW = {
    *("id", "url", "filters", "active", "failing", "failure_count", "last_success_at"),
    *("last_failure_at", "disabled_reason", "description", "retry_schedule", "header_names"),
    *("created_by", "created_by_key", "created_at"),
}


@pytest.fixture
def kms(settings_key: str) -> Iterator[Wire]:
    del settings_key
    with wire(clients.kms(), service="kms") as watching:
        yield watching


def post_webhook(front: Front, admin: Holder, **fields: Any) -> Answer:
    body = {"url": URL, **fields}
    headers = body.pop("sent", None)
    return front("POST", PATH, key=admin.key, body=body, headers=headers)


def created(front: Front, admin: Holder, **fields: Any) -> dict[str, Any]:
    answer = post_webhook(front, admin, **fields)
    assert answer.status == 201, answer.text
    return answer.json()["data"]


def patch(front: Front, admin: Holder, webhook: dict[str, Any], **fields: Any) -> Answer:
    return front("PATCH", f"{PATH}/{webhook['id']}", key=admin.key, body=fields)


def rotate(front: Front, admin: Holder, webhook: dict[str, Any], **fields: Any) -> Answer:
    return front("POST", f"{PATH}/{webhook['id']}/rotate-secret", key=admin.key, body=fields)


def events(front: Front, admin: Holder) -> list[dict[str, Any]]:
    return front("GET", "/admin/audit", key=admin.key).json()["data"]["events"]


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_webhook_is_created_shown_listed_and_deleted(
    front: Front, admin: Holder, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    webhook = created(
        front,
        admin,
        filters={"rings": ["inner"], "types": ["task", "alert"], "min_urgency": 0.25},
        description="for the team",
        retry_schedule=[1, 60],
        headers={"X-Token": "a b", "authorization": "Basic c"},
    )
    front.shape = "aws"
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret[6:], validate=True)) == 32
    assert webhook == {
        "id": webhook["id"],
        "url": URL,
        "filters": {"rings": ["inner"], "types": ["task", "alert"], "min_urgency": 0.25},
        "active": True,
        "failing": False,
        "failure_count": 0,
        "last_success_at": None,
        "last_failure_at": None,
        "disabled_reason": None,
        "description": "for the team",
        "retry_schedule": [1, 60],
        "header_names": ["authorization", "X-Token"],
        "created_by": f"identity:{admin.identity_id}",
        "created_by_key": f"api_key:{admin.key_id}",
        "created_at": held.text(),
    }
    assert set(webhook) == VIEW
    second = created(front, admin, active=False)
    second.pop("secret")
    assert (second["active"], second["retry_schedule"]) == (False, [5, 30, 300])
    assert second["filters"] == {"rings": [], "types": [], "min_urgency": 0}
    listed = front("GET", PATH, key=admin.key)
    assert sorted(listed.json()["data"], key=lambda one: one["id"]) == sorted(
        [webhook, second], key=lambda one: one["id"]
    )
    for shown in (webhook["id"], webhook["id"].removeprefix("webhook:")):
        assert front("GET", f"{PATH}/{shown}", key=admin.key).json()["data"] == webhook
    removed = front("DELETE", f"{PATH}/{webhook['id']}", key=admin.key)
    assert removed.json()["data"] == {"id": webhook["id"], "deleted": True}
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {}),
    ):
        gone = front(method, f"{PATH}/{webhook['id']}{path}", key=admin.key, body=body)
        assert (gone.status, gone.json()["error"]["code"]) == (404, "WEBHOOK_NOT_FOUND")
        odd = front(method, f"{PATH}/x{path}", key=admin.key, body=body)
        assert (odd.status, odd.json()["error"]["code"]) == (400, "VALIDATION_INVALID_ID")


def test_absent_fields_of_a_patch_stay_and_null_sets_the_default(
    front: Front, admin: Holder
) -> None:
    webhook = created(
        front,
        admin,
        filters={"rings": ["inner"], "types": ["task"], "min_urgency": 1},
        description="d",
        retry_schedule=[9],
        headers={"X-A": "1", "X-B": "2"},
    )
    webhook.pop("secret")
    assert patch(front, admin, webhook).json()["data"] == webhook
    assert patch(front, admin, webhook, active=False).json()["data"] == {
        **webhook, "active": False,
    }  # fmt: skip
    for change, shown in (
        ({"filters": {"types": ["alert"]}}, {"rings": [], "types": ["alert"], "min_urgency": 0}),
        ({"filters": None}, {"rings": [], "types": [], "min_urgency": 0}),
    ):
        assert patch(front, admin, webhook, **change).json()["data"]["filters"] == shown
    changed = patch(
        front,
        admin,
        webhook,
        url="http://LOCALHOST:9001/other?token=x",
        description=None,
        retry_schedule=None,
        headers={"X-C": "3"},
        active=True,
    ).json()["data"]
    assert changed["url"] == "http://localhost:9001/other?token=x"
    assert (changed["description"], changed["retry_schedule"]) == ("", [5, 30, 300])
    assert (changed["header_names"], changed["active"]) == (["X-C"], True)
    assert patch(front, admin, webhook, headers={}).json()["data"]["header_names"] == []
    assert front("GET", f"{PATH}/{webhook['id']}", key=admin.key).json()["data"] == {
        **changed, "header_names": [],
    }  # fmt: skip


def test_a_patch_without_a_difference_writes_no_audit_event(
    front: Front, admin: Holder, stack: Tables
) -> None:
    webhook = created(front, admin, headers={"X-A": "1"}, filters={"min_urgency": 0.5})
    before = State(stack).main
    again = patch(
        front, admin, webhook, url=URL, headers={"X-A": "1"}, filters={"min_urgency": 0.50}
    )
    assert again.status == 200
    assert State(stack).main == before


def test_a_rotated_secret_is_shown_once_with_the_expiry_of_the_old_one(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    webhook = created(front, admin)
    secrets = {webhook["secret"]}
    for asked, seconds in (({}, 86_400), ({"grace_seconds": 604_800}, 604_800), (None, 86_400)):
        body = {} if asked is None else asked
        rotated = rotate(front, admin, webhook, **body)
        assert rotated.status == 200, rotated.text
        data = rotated.json()["data"]
        assert set(data) == {"id", "secret", "old_secret_ends_at"}
        assert (data["id"], data["old_secret_ends_at"]) == (
            webhook["id"],
            held.text(seconds=seconds),
        )
        secrets.add(data["secret"])
    assert (
        rotate(front, admin, webhook, grace_seconds=0).json()["data"]["old_secret_ends_at"]
        == held.text()
    )
    assert len(secrets) == 4
    for wrong in (-1, 604_801, "60", 1.5, 10**30):
        refused = rotate(front, admin, webhook, grace_seconds=wrong)
        assert (refused.status, refused.json()["error"]["details"]) == (
            400,
            {"field": "grace_seconds"},
        )


LONG = "x" * 4_000


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"url": 1}, "url", "VALIDATION_INVALID_TYPE"),
        ({"url": ""}, "url", "VALIDATION_FIELD_REQUIRED"),
        ({"url": "nonsense"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://u:p@127.0.0.1:9000"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://127.0.0.1:9000/#x"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://127.0.0.1:9000/\r\nX: y"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://10.0.0.1:9000/"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://169.254.169.254/"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://localhost:8080/emit"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": f"https://{DOMAIN}/live/emit"}, "url", "VALIDATION_INVALID_VALUE"),
        ({"url": "http://127.0.0.1:9000/" + LONG}, "url", "VALIDATION_INVALID_VALUE"),
        ({"filters": []}, "filters", "VALIDATION_INVALID_TYPE"),
        ({"filters": {"rings": "inner"}}, "filters.rings", "VALIDATION_INVALID_TYPE"),
        ({"filters": {"rings": [""]}}, "filters.rings", "VALIDATION_INVALID_VALUE"),
        ({"filters": {"rings": ["a\nb"]}}, "filters.rings", "VALIDATION_INVALID_VALUE"),
        ({"filters": {"rings": ["r" * 65]}}, "filters.rings.0", "VALIDATION_INVALID_VALUE"),
        (
            {"filters": {"rings": [f"r{n}" for n in range(51)]}},
            "filters.rings",
            "VALIDATION_INVALID_VALUE",
        ),
        ({"filters": {"types": ["ping"]}}, "filters.types", "VALIDATION_INVALID_VALUE"),
        ({"filters": {"types": [1]}}, "filters.types.0", "VALIDATION_INVALID_TYPE"),
        ({"filters": {"min_urgency": 1.01}}, "filters.min_urgency", "VALIDATION_INVALID_VALUE"),
        ({"filters": {"min_urgency": -0.1}}, "filters.min_urgency", "VALIDATION_INVALID_VALUE"),
        ({"filters": {"min_urgency": True}}, "filters.min_urgency", "VALIDATION_INVALID_TYPE"),
        ({"filters": {"min_urgency": "1"}}, "filters.min_urgency", "VALIDATION_INVALID_TYPE"),
        ({"filters": {"min_urgency": 10**400}}, "filters.min_urgency", "VALIDATION_INVALID_TYPE"),
        ({"description": "d" * 501}, "description", "VALIDATION_INVALID_VALUE"),
        ({"description": "a\x00b"}, "description", "VALIDATION_INVALID_VALUE"),
        ({"description": 5}, "description", "VALIDATION_INVALID_TYPE"),
        ({"retry_schedule": []}, "retry_schedule", "VALIDATION_INVALID_VALUE"),
        ({"retry_schedule": [0]}, "retry_schedule.0", "VALIDATION_INVALID_VALUE"),
        ({"retry_schedule": [1] * 21}, "retry_schedule", "VALIDATION_INVALID_VALUE"),
        ({"retry_schedule": [432_000, 1]}, "retry_schedule", "VALIDATION_INVALID_VALUE"),
        ({"retry_schedule": [1.5]}, "retry_schedule.0", "VALIDATION_INVALID_TYPE"),
        ({"retry_schedule": [True]}, "retry_schedule.0", "VALIDATION_INVALID_TYPE"),
        ({"retry_schedule": 5}, "retry_schedule", "VALIDATION_INVALID_TYPE"),
        ({"headers": {"X-A": 1}}, "headers.X-A", "VALIDATION_INVALID_TYPE"),
        ({"headers": {LONG: 1}}, f"headers.{LONG[:64]}", "VALIDATION_INVALID_VALUE"),
        ({"headers": {"Host": "x"}}, "headers", "VALIDATION_INVALID_VALUE"),
        ({"headers": {"": "x"}}, "headers", "VALIDATION_INVALID_VALUE"),
        ({"headers": {"X-A": "a\r\nX-B: c"}}, "headers", "VALIDATION_INVALID_VALUE"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers", "VALIDATION_INVALID_VALUE"),
        ({"headers": ["X-A"]}, "headers", "VALIDATION_INVALID_TYPE"),
        ({"active": "yes"}, "active", "VALIDATION_INVALID_TYPE"),
    ],
)
def test_a_bad_field_is_named_on_create_and_on_patch(
    front: Front, admin: Holder, stack: Tables, fields: dict[str, Any], field: str, code: str
) -> None:
    webhook = created(front, admin)
    before = State(stack).main
    for refused in (post_webhook(front, admin, **fields), patch(front, admin, webhook, **fields)):
        error = refused.json()["error"]
        assert (refused.status, error["details"], error["code"]) == (400, {"field": field}, code)
        assert len(refused.text) < 1_000
    assert State(stack).main == before


def test_a_webhook_needs_a_url(front: Front, admin: Holder) -> None:
    refused = front("POST", PATH, key=admin.key, body={})
    error = refused.json()["error"]
    assert (refused.status, error["code"]) == (400, "VALIDATION_FIELD_REQUIRED")
    assert error["details"] == {"field": "url"}


@pytest.mark.parametrize(
    "url",
    [
        *("http://93.184.216.34/", "https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/"),
        *("https://169.254.169.254/", "https://localhost/", "https://93.184.216.34:25/"),
        f"https://{DOMAIN}/live",
    ],
)
def test_on_aws_a_url_must_be_https_public_and_not_this_api(
    front: Front, admin: Holder, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "guarded")
    refused = post_webhook(front, admin, url=url)
    assert (refused.status, refused.json()["error"]["details"]) == (400, {"field": "url"})
    assert created(front, admin, url="https://93.184.216.34:8443/in")["active"]


def test_every_signal_type_is_accepted_as_a_filter(front: Front, admin: Holder) -> None:
    webhook = created(front, admin, filters={"types": [*SIGNAL_TYPES, "task"]})
    assert webhook["filters"]["types"] == list(SIGNAL_TYPES)


def test_webhooks_need_admin_manage_and_belong_to_their_account(
    front: Front, people: People, admin: Holder
) -> None:
    webhook, stranger = created(front, admin), people.tenant()
    employee = people.employee(admin)
    path = f"{PATH}/{webhook['id']}"
    never = f"{PATH}/webhook:{admin.account_id}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {}),
    ]
    for method, end, body in calls:
        assert front(method, path + end, key=employee.key, body=body).status == 403
        theirs = front(method, path + end, key=stranger.key, body=body)
        unknown = front(method, never + end, key=stranger.key, body=body)
        assert (theirs.status, unknown.status) == (404, 404)
        assert theirs.text.replace(theirs.request_id, "") == unknown.text.replace(
            unknown.request_id, ""
        )
    assert post_webhook(front, employee).status == 403
    assert front("GET", PATH, key=employee.key).status == 403
    assert front("GET", PATH, key=stranger.key).json()["data"] == []
    assert front("GET", path, key=admin.key).json()["data"]["active"]


def test_a_repeat_under_an_idempotency_key_shows_no_secret(front: Front, admin: Holder) -> None:
    once = {"Idempotency-Key": "once"}
    webhook = created(front, admin, sent=once)
    again = post_webhook(front, admin, sent=once)
    assert (again.status, again.json()["error"]["details"]) == (409, {"id": webhook["id"]})
    other = post_webhook(front, admin, sent=once, description="other")
    assert (other.status, other.json()["error"]["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(front("GET", PATH, key=admin.key).json()["data"]) == 1
    path = f"{PATH}/{webhook['id']}/rotate-secret"
    first = front("POST", path, key=admin.key, body={}, headers=once)
    second = front("POST", path, key=admin.key, body={}, headers=once)
    assert (first.status, second.status) == (200, 409)
    assert second.json()["error"]["details"] == {"id": webhook["id"]}
    assert first.json()["data"]["secret"] not in second.text


def test_each_change_has_an_audit_event_without_secrets(front: Front, admin: Holder) -> None:
    webhook = created(front, admin, url=f"{URL}?token=marker", headers={"X-A": "marker"})
    patch(front, admin, webhook, url=f"{URL}?token=marker2", headers={"X-A": "marker2"})
    rotate(front, admin, webhook, grace_seconds=60)
    front("DELETE", f"{PATH}/{webhook['id']}", key=admin.key)
    trail = events(front, admin)[:4]
    assert [event["action"] for event in trail] == [
        "webhook.delete",
        "webhook.rotate_secret",
        "webhook.update",
        "webhook.create",
    ]
    assert {event["target"] for event in trail} == {webhook["id"]}
    assert {event["actor"] for event in trail} == {f"identity:{admin.identity_id}"}
    assert trail[2]["after"]["changed"] == ["url", "headers"]
    assert "dropped_headers" not in trail[2]["after"]
    assert trail[3]["after"]["url"] == URL
    assert "marker" not in json.dumps(trail)


@pytest.mark.parametrize("away", [unreachable, lambda: error("KMSInternalException", 500)])
def test_while_kms_is_unavailable_requests_are_503_and_store_nothing(
    front: Front, admin: Holder, stack: Tables, kms: Wire, away: Any
) -> None:
    webhook = created(front, admin)
    before = State(stack).main
    kms.before = lambda *_: away()
    assert post_webhook(front, admin).status == 503
    assert rotate(front, admin, webhook).status == 503
    assert patch(front, admin, webhook, headers={"X-A": "1"}).status == 503
    assert State(stack).main == before
    assert front("GET", PATH, key=admin.key).status == 200
    assert patch(front, admin, webhook, active=False).status == 200
    kms.clear()
    assert rotate(front, admin, webhook).status == 200


def test_while_the_queue_is_unavailable_a_change_succeeds_with_its_marker(
    front: Front, admin: Holder, stack: Tables
) -> None:
    paused, removed = created(front, admin, active=False), created(front, admin)
    with wire(clients.sqs(), service="sqs") as queue:
        queue.before = lambda *_: unreachable()
        assert patch(front, admin, paused, active=True).status == 200
        path = f"{PATH}/{removed['id']}"
        assert front("DELETE", path, key=admin.key).status == 200
        assert queue.calls
    bare = {one["id"].removeprefix("webhook:") for one in (paused, removed)}
    notes = {item["sk"].partition("#")[2] for item in kind(State(stack), "WAKE#")}
    assert bare <= notes


def test_secrets_and_header_values_are_stored_and_logged_nowhere_in_plain(
    front: Front,
    admin: Holder,
    stack: Tables,
    kms: Wire,
    line: Wire,
    logs: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = "5ec2e7-header-value-5ec2e7"
    webhook = created(front, admin, headers={"X-A": value})
    old = webhook["secret"]
    new = rotate(front, admin, webhook).json()["data"]["secret"]
    path = f"{PATH}/{webhook['id']}"
    answers = [
        front("GET", PATH, key=admin.key),
        front("GET", path, key=admin.key),
        patch(front, admin, webhook, description="x"),
        patch(front, admin, webhook, headers={"X-A": f"{value}2"}),
        patch(front, admin, webhook, headers={"X-A": f"{value}\n"}),
        patch(front, admin, webhook, headers={"X-A": [value]}),
        patch(front, admin, webhook, headers={"Host": value}),
        patch(front, admin, webhook, headers=value),
        post_webhook(front, admin, headers={"X-A": value, "x-a": value}),
        front("GET", "/admin/audit", key=admin.key),
    ]
    for disturbed, operation in ((kms, "Decrypt"), (kms, "GenerateDataKey"), (line, "GetItem")):
        disturbed.before = lambda _, called, o=operation: (
            error("AccessDeniedException") if called == o else None
        )
        answers.append(patch(front, admin, webhook, headers={"X-A": f"{value}3"}))
        assert answers[-1].status in {500, 503}
        disturbed.clear()
    answers.append(front("DELETE", path, key=admin.key))
    out, err = capfd.readouterr()
    written = json.dumps(State(stack).main, default=repr) + logs.getvalue() + out + err
    everything = written + "".join(answer.text + str(answer.headers) for answer in answers)
    assert webhook["id"].removeprefix("webhook:") in everything, (
        "the search finds the webhook itself"
    )
    secrets = [secret.removeprefix("whsec_") for secret in (old, new)]
    marks = [secret[at : at + 12] for secret in secrets for at in range(0, 28, 4)]
    marks += [base64.b64decode(secret).hex()[:16] for secret in secrets]
    assert [mark for mark in [*marks, value[:12]] if mark in everything] == []


def test_a_new_origin_drops_header_values_unless_they_are_sent_again(
    front: Front, admin: Holder
) -> None:
    webhook = created(front, admin, headers={"Authorization": "Bearer x"})
    moved = patch(front, admin, webhook, url="http://127.0.0.1:9001/in").json()["data"]
    assert (moved["header_names"], moved["dropped_headers"]) == ([], ["Authorization"])
    assert events(front, admin)[0]["after"]["dropped_headers"] == ["Authorization"]
    sent = patch(front, admin, webhook, url=URL, headers={"X-A": "1"}).json()["data"]
    assert set(sent) == VIEW
    assert sent["header_names"] == ["X-A"]

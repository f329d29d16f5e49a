"""The fields of a webhook: an error names the one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.actors.webhook_routes import PATH, created, patch, post_webhook
from support.aws.api_gateway import DOMAIN, Front
from support.checks.inspection import State

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "held", "loopback_allowed")


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

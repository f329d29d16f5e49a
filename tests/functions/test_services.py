"""The services API, called through API Gateway: register, list, check, delete, permissions."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.actors.receivers import Receiver, receiving, response, saying
from support.actors.service_owner import (
    HEALTHY,
    UNHEALTHY,
    VIEW,
    checked,
    closed_url,
    listed,
    register,
    silent,
)
from support.aws.api_gateway import Front, error_text
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held")


# ---- Registered services -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_service_is_registered_listed_checked_and_deleted(
    front: Front, tenant: Holder, well: Receiver, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    made = register(front, tenant, "billing", f"{well.url}/health")
    assert made.status == 201, made.text
    view = made.json()
    assert set(view) == VIEW, "without a hook there is no secret"
    assert view == {
        "name": "billing",
        "kind": "http",
        "status": "running",
        "healthy": True,
        "listening": True,
        "healthUrl": f"{well.url}/health",
        "latencyMs": view["latencyMs"],
        "lastChecked": held.text(),
        "logGroup": None,
        "detail": None,
    }
    assert 0 <= view["latencyMs"] < 1_500
    assert well.requests[0].startswith(b"GET /health HTTP/1.1\r\n")
    assert listed(front, tenant)["billing"]["status"] == "running"
    assert checked(front, tenant, "billing")["status"] == "running"
    gone = front("DELETE", "/api/services/billing", key=tenant.key)
    assert (gone.status, gone.text) == (204, "")
    front.shape = "aws"
    assert listed(front, tenant) == {}
    for method, path in (("DELETE", "billing"), ("GET", "billing/health")):
        answer = front(method, f"/api/services/{path}", key=tenant.key)
        assert (answer.status, error_text(answer)) == (404, 'Service "billing" not found')


def test_registering_and_deleting_a_service_write_audit_events(
    front: Front, stack: Tables, tenant: Holder, well: Receiver
) -> None:
    register(front, tenant, "billing", f"{well.url}/health?token=not-for-the-trail")
    front("DELETE", "/api/services/billing", key=tenant.key)
    events = State(stack).events(tenant.account_id)[-2:]
    view = {
        "name": "billing",
        "kind": "http",
        "health_url": f"{well.url}/health",
        "restart_url": None,
        "log_group": None,
        "created_by": f"identity:{tenant.identity_id}",
        "created_by_key": f"api_key:{tenant.key_id}",
    }
    assert [(event["action"], event["target"]) for event in events] == [
        ("service.create", "service:billing"),
        ("service.delete", "service:billing"),
    ]
    assert (events[0]["before"], events[0]["after"]) == (None, view)
    assert (events[1]["before"], events[1]["after"]) == (view, None)


def test_the_answer_of_the_health_url_decides_the_status(front: Front, tenant: Holder) -> None:
    with ExitStack() as servers:
        urls = {
            "fine": servers.enter_context(receiving(HEALTHY)).url,
            "failing": servers.enter_context(receiving(UNHEALTHY)).url,
            "hanging": servers.enter_context(receiving(silent)).url,
            "moved": servers.enter_context(
                receiving(saying(response(status="302 Found", headers="Location: /x\r\n")))
            ).url,
            "odd": servers.enter_context(receiving(saying(b"\x00\x01 what?\r\n\r\n"))).url,
            "gone": closed_url(),
        }
        for name, url in urls.items():
            assert register(front, tenant, name, url).status == 201, name
        views = {name: checked(front, tenant, name) for name in urls}
    seen = {name: (view["status"], view["listening"]) for name, view in views.items()}
    assert seen == {
        "fine": ("running", True),
        "failing": ("degraded", True),
        "moved": ("degraded", True),
        "hanging": ("degraded", False),
        "odd": ("degraded", True),
        "gone": ("stopped", False),
    }
    assert [view["healthy"] for view in views.values()] == [True, *[False] * 5]
    assert views["failing"]["detail"] == "Answered 503"
    assert views["moved"]["detail"] == "Answered 302"
    assert all(view["detail"] for name, view in views.items() if name != "fine")


def test_a_service_whose_address_became_forbidden_is_stopped(
    front: Front, tenant: Holder, well: Receiver
) -> None:
    register(front, tenant, "inner", well.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEHOUSE_OUTBOUND", "guarded")
        view = checked(front, tenant, "inner")
        refused = register(front, tenant, "other", well.url)
    assert (view["status"], view["listening"]) == ("stopped", False)
    assert "must not be called" in view["detail"]
    assert refused.status == 400
    assert "healthUrl" in error_text(refused)


HOSTILE = (
    *("", " ", "Billing", "-a", "a-", "a_b", "a.b", "a/b", "ä", "a" * 65, "a\n", "a\x00b"),
    *("list", "metrics", "../keys", "<script>", "a b", "'; drop", "\u202ea"),
)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_invalid_service_name_is_refused_on_every_route(
    front: Front, tenant: Holder, well: Receiver, name: str
) -> None:
    refused = register(front, tenant, name, well.url)
    assert (refused.status, error_text(refused)) == (400, "Invalid service name")
    if name and not set(name) & set("/ \n\x00"):
        for method, end in (("GET", "/health"), ("POST", "/restart"), ("DELETE", "")):
            answer = front(method, f"/api/services/{name}{end}", key=tenant.key)
            if answer.status != 404 or name not in {"list", "metrics"}:
                assert (answer.status, error_text(answer)) == (400, "Invalid service name")
    assert listed(front, tenant) == {}


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "9" * 64])
def test_a_service_may_have_any_valid_name(
    front: Front, tenant: Holder, well: Receiver, name: str
) -> None:
    assert register(front, tenant, name, well.url).status == 201
    assert set(listed(front, tenant)) == {name}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"healthUrl": "ftp://x.example"}, "healthUrl"),
        ({"healthUrl": ""}, "healthUrl"),
        ({"healthUrl": None}, "healthUrl"),
        ({"healthUrl": 5}, "healthUrl"),
        ({"healthUrl": "http://user:pw@127.0.0.1/"}, "healthUrl"),
        ({"healthUrl": "http://10.0.0.1/"}, "healthUrl"),
        ({"healthUrl": "http://169.254.169.254/latest"}, "healthUrl"),
        ({"healthUrl": "http://127.0.0.1/" + "a" * 5_000}, "healthUrl"),
        ({"restartUrl": "gopher://x"}, "restartUrl"),
        ({"restartUrl": "http://[fd00::1]/"}, "restartUrl"),
        ({"restartUrl": ["x"]}, "restartUrl"),
        ({"logGroup": 7}, "logGroup"),
        ({"name": None}, "name"),
    ],
)
def test_the_error_names_the_invalid_field(
    front: Front, tenant: Holder, well: Receiver, fields: dict[str, Any], field: str
) -> None:
    body = {"name": "billing", "healthUrl": well.url, **fields}
    refused = front("POST", "/api/services", key=tenant.key, body=body)
    assert refused.status == 400, refused.text
    assert field in error_text(refused)
    assert listed(front, tenant) == {}


def test_two_services_of_an_account_cannot_have_one_name(
    front: Front, tenant: Holder, well: Receiver
) -> None:
    assert register(front, tenant, "billing", well.url).status == 201
    again = register(front, tenant, "billing", well.url)
    assert (again.status, error_text(again)) == (409, 'Service "billing" exists')


def test_an_account_registers_at_most_two_hundred_services(
    front: Front, stack: Tables, tenant: Holder, well: Receiver
) -> None:
    register(front, tenant, "first", well.url)
    stack.main.update(
        {"pk": f"SERVICE#{tenant.account_id}#COUNT", "sk": "COUNT"},
        "SET live = :live",
        condition="attribute_exists(pk)",
        names={},
        values={":live": 200},
    )
    full = register(front, tenant, "one-more", well.url)
    assert (full.status, error_text(full)) == (
        409,
        "An account has at most 200 registered services",
    )
    front("DELETE", "/api/services/first", key=tenant.key)
    assert register(front, tenant, "one-more", well.url).status == 201


def test_a_new_service_does_not_inherit_the_health_of_its_name(
    front: Front, tenant: Holder, well: Receiver, held: HeldClock
) -> None:
    register(front, tenant, "billing", closed_url())
    assert listed(front, tenant)["billing"]["status"] == "stopped"
    front("DELETE", "/api/services/billing", key=tenant.key)
    held.advance(seconds=1)
    register(front, tenant, "billing", well.url)
    assert listed(front, tenant)["billing"]["status"] == "running"


# ---- Permissions -------------------------------------------------------------------------------

MANAGED = (
    ("POST", "/api/services", {"name": "x", "healthUrl": "http://127.0.0.1:1"}),
    ("DELETE", "/api/services/x", None),
    ("POST", "/api/services/x/restart", None),
    ("GET", "/api/services/metrics", None),
    ("GET", "/api/services/x/logs", None),
)
SEEN = ("/api/services/list", "/api/services/x/health")


@pytest.mark.parametrize(("method", "path", "body"), MANAGED)
def test_changes_metrics_and_logs_need_admin_manage(
    front: Front, people: People, tenant: Holder, method: str, path: str, body: Any
) -> None:
    employee = people.employee(tenant)
    denied = front(method, path, key=employee.key, body=body)
    assert denied.status == 403
    assert "admin_action_restriction" in error_text(denied)


def test_list_and_health_need_only_the_scope_services_read(
    front: Front, people: People, tenant: Holder, well: Receiver
) -> None:
    register(front, tenant, "x", well.url)
    reader = people.employee(tenant, scopes=["services:read"])
    statuses = [front("GET", path, key=reader.key).status for path in SEEN]
    assert statuses == [200, 200]


def test_a_key_without_the_scope_is_refused_on_every_route(
    front: Front, people: People, tenant: Holder
) -> None:
    reader = people.key(tenant, scopes=["services:read"])
    writer = people.key(tenant, scopes=["services:write"])
    for method, path, body in MANAGED:
        wrong = writer if method == "GET" else reader
        denied = front(method, path, key=wrong.key, body=body)
        assert (denied.status, error_text(denied)) == (403, "Insufficient API key scope")
    for path in SEEN:
        assert front("GET", path, key=writer.key).status == 403
        assert front("GET", path).status == 401


def test_logs_of_a_service_without_a_log_group_are_404(
    front: Front, tenant: Holder, well: Receiver
) -> None:
    register(front, tenant, "billing", well.url)
    for name, told in (
        ("billing", 'Service "billing" has no logs to watch'),
        ("missing", 'Service "missing" not found'),
    ):
        answer = front("GET", f"/api/services/{name}/logs", key=tenant.key)
        assert (answer.status, error_text(answer)) == (404, told)

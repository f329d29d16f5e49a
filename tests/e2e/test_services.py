"""Services on the deployed stack: found by their tags or registered, checked, restarted."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from support.actors.deployed_function import Function, listed, until, wait_until_listed
from support.actors.deployed_tenant import Tenant, add_member, open_tenant, the_operator
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Answer
from support.checks.signatures import check_standard_webhook
from support.worlds.deployed_stack import Deployed


@dataclass(frozen=True)
class Functions:
    """Three functions, deployed together so that one search of the services finds them all."""

    plain: Function
    failing: Function
    aliased: Function


@pytest.fixture(scope="module")
def operator(stack: Deployed) -> Tenant:
    return the_operator(stack)


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


@pytest.fixture(scope="module")
def functions(stack: Deployed, operator: Tenant) -> Iterator[Functions]:
    plain, failing = Function(stack), Function(stack)
    aliased = Function(stack, **{"gatehouse:alias": "live"})
    aliased.client.publish_version(FunctionName=aliased.name)
    aliased.client.create_alias(FunctionName=aliased.name, Name="live", FunctionVersion="1")
    wait_until_listed(operator, *(one.service for one in (plain, failing, aliased)))
    yield Functions(plain, failing, aliased)
    plain.delete()
    aliased.delete()


def health(tenant: Tenant, name: str) -> dict[str, Any]:
    answer = tenant.call("GET", f"/api/services/{name}/health")
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


def register(tenant: Tenant, name: str, url: str, **fields: Any) -> dict[str, Any]:
    made = tenant.call("POST", "/api/services", json={"name": name, "healthUrl": url, **fields})
    assert made.status_code == 201, made.text
    view: dict[str, Any] = made.json()
    return view


# ---- Found by their tags -----------------------------------------------------------------------


def test_the_stack_s_own_functions_are_services_of_the_operator(operator: Tenant) -> None:
    expected = {"gatehouse-keys-services", "gatehouse-authorizer", "gatehouse-services"}
    until(
        lambda: all(listed(operator).get(name, {}).get("status") == "running" for name in expected),
        "each of them has answered a request",
        every=2.0,
    )
    view = listed(operator)["gatehouse-keys-services"]
    assert (view["kind"], view["healthy"], view["healthUrl"]) == ("lambda", True, None)
    assert view["logGroup"]


def test_a_tagged_function_is_a_service_of_the_operator_only(
    operator: Tenant, tenant: Tenant, functions: Functions
) -> None:
    service = functions.plain.service
    assert health(operator, service)["status"] == "running"
    assert service not in listed(tenant)
    for method, end in (("GET", "/health"), ("POST", "/restart"), ("DELETE", "")):
        answer = tenant.call(method, f"/api/services/{service}{end}")
        expected = {"error": f'Service "{service}" not found', "status": 404}
        assert answer.status_code == 404
        assert answer.json().items() >= expected.items()


def test_a_function_with_failed_calls_is_degraded_and_a_deleted_one_stopped(
    operator: Tenant, functions: Functions
) -> None:
    failing = functions.failing
    assert failing.invoke()["mode"] == "fast"
    for _ in range(3):
        assert "errorMessage" in failing.invoke(fail=True)
    until(
        lambda: (
            health(operator, failing.service)["detail"]
            == "3 of 4 calls failed in the last 5 minutes"
        ),
        "its log group shows the calls",
    )
    assert health(operator, failing.service)["status"] == "degraded"
    failing.delete()
    gone = health(operator, failing.service)
    assert (gone["status"], gone["listening"]) == ("stopped", False)


# ---- Restarted ---------------------------------------------------------------------------------


def test_a_restarted_function_answers_from_a_new_environment(
    operator: Tenant, functions: Functions
) -> None:
    function = functions.plain
    before = function.invoke()
    assert function.invoke() == before, "the environment is warm"
    done = operator.call("POST", f"/api/services/{function.service}/restart")
    assert done.status_code == 200, done.text
    view = done.json()
    assert set(view) == {"restarted", "service", "kind", "restartedAt", "state"}
    assert (view["restarted"], view["kind"], view["state"]) == (True, "lambda", "done")
    after = function.invoke()
    assert after["environment"] != before["environment"]
    assert after["mode"] == "fast"
    expected = {"MODE": "fast", "GATEHOUSE_RESTARTED_AT": view["restartedAt"]}
    assert function.variables() == expected
    events = [one for one in operator.events() if one["target"] == f"service:{function.service}"]
    assert [event["action"] for event in events] == ["service.restart", "service.restarted"]


def test_a_restart_publishes_a_version_and_moves_the_alias(
    operator: Tenant, functions: Functions
) -> None:
    function = functions.aliased
    before = function.invoke(qualifier="live")
    done = operator.call("POST", f"/api/services/{function.service}/restart")
    assert done.status_code == 200, done.text
    assert done.json()["state"] == "done"
    alias = function.client.get_alias(FunctionName=function.name, Name="live")
    assert alias["FunctionVersion"] == "2"
    after = function.invoke(qualifier="live")
    assert after["environment"] != before["environment"]


def test_a_restart_calls_the_service_s_hook_with_a_signature(tenant: Tenant) -> None:
    with Receiver() as receiver:
        made = register(
            tenant,
            "hooked",
            receiver.url("/health"),
            restartUrl=receiver.url("/restart"),
        )
        secret = made["restartSecret"]
        done = tenant.call("POST", "/api/services/hooked/restart")
        assert (done.status_code, done.json()["state"]) == (200, "done"), done.text
        (request,) = receiver.wait_for(1, path="/restart")
        body = check_standard_webhook(secret, request.body, request.headers)
        assert body["service"] == "hooked"
        receiver.on("/restart", Answer(500))
        refused = tenant.call("POST", "/api/services/hooked/restart")
        assert refused.status_code == 409
        assert "answered 500" in refused.json()["error"]
    assert secret not in json.dumps(tenant.events()) + str(listed(tenant))
    assert tenant.call("DELETE", "/api/services/hooked").status_code == 204


# ---- Registered --------------------------------------------------------------------------------


def test_servers_that_answer_fail_hang_or_are_gone_have_their_status(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    with Receiver() as up, Receiver(silent=True) as hanging, Receiver() as failing:
        failing.on("/health", Answer(503))
        urls = {
            "up": up.url("/health"),
            "hanging": hanging.url("/health"),
            "failing": failing.url("/health"),
            "gone": f"http://127.0.0.1:{closed}/health",
        }
        for name, url in urls.items():
            register(tenant, name, url)
        seen = {name: health(tenant, name) for name in urls}
        statuses = {name: view["status"] for name, view in seen.items()}
        assert statuses == {
            "up": "running",
            "hanging": "degraded",
            "failing": "degraded",
            "gone": "stopped",
        }
        assert [name for name, view in seen.items() if view["healthy"]] == ["up"]
        assert isinstance(seen["up"]["latencyMs"], int)
        until(
            lambda: {name: view["status"] for name, view in listed(tenant).items()} == statuses,
            "the list shows the same",
        )
    for name in urls:
        assert tenant.call("DELETE", f"/api/services/{name}").status_code == 204
    assert listed(tenant) == {}
    assert tenant.call("GET", "/api/services/up/health").status_code == 404


def test_the_stack_itself_cannot_be_registered(tenant: Tenant, stack: Deployed) -> None:
    for url in (stack.url, stack.endpoint, "http://10.0.0.1:8080", "http://169.254.169.254:8080"):
        body = {"name": "self", "healthUrl": f"{url}/health"}
        assert tenant.call("POST", "/api/services", json=body).status_code == 400, url


def test_parallel_lists_check_each_service_once(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    with Receiver() as up:
        for number in range(5):
            register(tenant, f"s-{number}", up.url(f"/{number}"))
        forget_checks(tenant)
        before = len(up.requests())
        with ThreadPoolExecutor(6) as callers:
            answers = list(callers.map(lambda _: listed(tenant), range(6)))
        assert len(up.requests()) == before + 5
    assert all(len(answer) == 5 for answer in answers)
    assert {view["status"] for answer in answers for view in answer.values()} == {"running"}


def forget_checks(tenant: Tenant) -> None:
    """Delete the results of the account's checks, as if they were older than 30 seconds."""
    tenant.stack.table("MainTableName").delete_item(
        Key={"pk": f"SERVICE#{tenant.account_id}#KEPT", "sk": "HEALTH"}
    )


# ---- Refused -----------------------------------------------------------------------------------


def test_a_member_may_list_services_and_only_a_manager_may_change_them(tenant: Tenant) -> None:
    employee = add_member(tenant)
    stack = tenant.stack
    assert stack.call("GET", "/api/services/list", key=employee).status_code == 200
    for method, path in (
        ("GET", "/api/services/metrics"),
        ("POST", "/api/services/x/restart"),
        ("DELETE", "/api/services/x"),
    ):
        assert stack.call(method, path, key=employee).status_code == 403, path
    body = {"name": "x", "healthUrl": "http://127.0.0.1:8080"}
    assert stack.call("POST", "/api/services", key=employee, json=body).status_code == 403
    assert stack.call("GET", "/api/services/list").status_code == 401


def test_system_metrics_are_those_of_this_machine_and_for_the_operator(
    operator: Tenant, tenant: Tenant
) -> None:
    answer = operator.call("GET", "/api/services/metrics")
    assert answer.status_code == 200, answer.text
    view = answer.json()
    assert view["source"] == "environment"
    assert view["memTotalBytes"] > view["memUsedBytes"] > 0
    assert 0 <= view["cpuPercent"] <= 100
    assert tenant.call("GET", "/api/services/metrics").status_code == 403


def test_unknown_and_bad_names_are_answered_word_for_word(operator: Tenant, tenant: Tenant) -> None:
    for caller in (operator, tenant):
        unknown = caller.call("GET", "/api/services/nothing/health")
        assert (
            unknown.json().items()
            >= {"error": 'Service "nothing" not found', "status": 404}.items()
        )
        bad = caller.call("GET", "/api/services/a_b/health")
        assert bad.json().items() >= {"error": "Invalid service name", "status": 400}.items()


def test_only_a_log_group_with_the_service_s_tag_can_be_registered(
    operator: Tenant, tenant: Tenant, stack: Deployed
) -> None:
    logs = stack.client("logs")
    logs.create_log_group(logGroupName="/app/shown", tags={"gatehouse:service": "app"})
    logs.create_log_group(logGroupName="/app/other")
    with Receiver() as up:
        body = {"name": "app", "healthUrl": up.url("/health")}
        for group, caller, status in (
            ("/app/other", operator, 400),
            ("/app/none", operator, 400),
            ("/app/shown", tenant, 403),
            ("/app/shown", operator, 201),
        ):
            answer = caller.call("POST", "/api/services", json=body | {"logGroup": group})
            assert answer.status_code == status, (group, answer.text)
        assert health(operator, "app")["logGroup"] == "/app/shown"
    assert operator.call("DELETE", "/api/services/app").status_code == 204

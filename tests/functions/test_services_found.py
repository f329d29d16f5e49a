"""Services that are found by their tags, their log groups and their metrics."""

from __future__ import annotations

import pytest

from gatehouse.aws import clients
from support.actors.people import Holder, People
from support.actors.receivers import Receiver
from support.actors.service_owner import checked, listed, register
from support.aws.api_gateway import Front, error_text
from support.aws.faults import wire
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held")


def test_functions_and_containers_are_found_by_their_tag(
    front: Front, operator: Holder, runs: Workloads, held: HeldClock
) -> None:
    runs.function("orders")
    runs.function("with-Capitals")
    runs.function("no name")
    runs.container("web")
    views = listed(front, operator)
    assert set(views) == {"orders", "with-capitals", "web"}
    assert views["orders"] == {
        "name": "orders",
        "kind": "lambda",
        "status": "running",
        "healthy": True,
        "listening": True,
        "healthUrl": None,
        "latencyMs": None,
        "lastChecked": held.text(),
        "logGroup": "/aws/lambda/fn-orders",
        "detail": None,
    }
    web = views["web"]
    assert (web["kind"], web["status"], web["logGroup"]) == ("ecs", "running", "/ecs/web")
    assert checked(front, operator, "web") == web
    assert checked(front, operator, "orders") == views["orders"]


def test_new_and_deleted_functions_are_seen_after_half_a_minute(
    front: Front, operator: Holder, runs: Workloads, held: HeldClock
) -> None:
    runs.function("old")
    assert set(listed(front, operator)) == {"old"}
    runs.clear()
    runs.function("new")
    assert set(listed(front, operator)) == {"old"}
    unknown = front("GET", "/api/services/new/health", key=operator.key)
    assert unknown.status == 404
    gone = checked(front, operator, "old")
    assert (gone["status"], gone["listening"]) == ("stopped", False)
    held.advance(seconds=31)
    assert set(listed(front, operator)) == {"new"}


def test_a_function_with_many_failed_calls_is_degraded(
    front: Front, operator: Holder, runs: Workloads, held: HeldClock
) -> None:
    few, many = runs.function("few"), runs.function("many")
    runs.failed(few, errors=1, invocations=100)
    runs.failed(many, errors=30, invocations=100)
    held.advance(seconds=60)
    views = listed(front, operator)
    assert (views["few"]["status"], views["many"]["status"]) == ("running", "degraded")
    assert views["many"]["detail"] == "30 of 100 calls failed in the last 5 minutes"
    assert checked(front, operator, "many")["detail"] == views["many"]["detail"]


def test_an_ecs_service_with_too_few_tasks_is_not_running(
    front: Front, operator: Holder, runs: Workloads
) -> None:
    runs.container("short", desired=5, running=2)
    runs.container("none", desired=3, running=0)
    runs.container("off", desired=0, running=0)
    with wire(clients.ecs(), service="ecs") as line:
        views = listed(front, operator)
        assert line.calls.count("DescribeServices") == 1, "ten at a time"
    assert {name: (view["status"], view["detail"]) for name, view in views.items()} == {
        "none": ("stopped", "0 of 3 tasks run"),
        "off": ("stopped", "Scaled to no tasks"),
        "short": ("degraded", "2 of 5 tasks run"),
    }


def test_another_account_cannot_see_or_change_operator_services(
    front: Front, operator: Holder, tenant: Holder, runs: Workloads, well: Receiver
) -> None:
    runs.function("orders")
    assert "orders" in listed(front, operator)
    assert listed(front, tenant) == {}
    for method, path in (
        ("GET", "orders/health"),
        ("POST", "orders/restart"),
        ("DELETE", "orders"),
    ):
        answer = front(method, f"/api/services/{path}", key=tenant.key)
        assert (answer.status, error_text(answer)) == (404, 'Service "orders" not found')
    assert "GATEHOUSE_RESTARTED_AT" not in runs.variables("fn-orders")
    # The tenant cannot even learn that the operator uses this name.
    assert register(front, tenant, "orders", well.url).status == 201
    assert listed(front, tenant)["orders"]["kind"] == "http"
    assert listed(front, operator)["orders"]["kind"] == "lambda"


def test_a_found_service_cannot_be_registered_or_deleted(
    front: Front, operator: Holder, runs: Workloads, well: Receiver
) -> None:
    runs.function("orders")
    taken = register(front, operator, "orders", well.url)
    assert (taken.status, error_text(taken)) == (409, 'Service "orders" exists')
    kept = front("DELETE", "/api/services/orders", key=operator.key)
    assert kept.status == 409
    assert "gatehouse:service" in error_text(kept)


def test_an_account_cannot_see_another_account_s_services(
    front: Front, people: People, tenant: Holder, well: Receiver
) -> None:
    other = people.tenant()
    register(front, tenant, "mine", well.url)
    assert listed(front, other) == {}
    for method, path in (("GET", "mine/health"), ("POST", "mine/restart"), ("DELETE", "mine")):
        assert front(method, f"/api/services/{path}", key=other.key).status == 404
    assert set(listed(front, tenant)) == {"mine"}


def test_only_the_operator_names_a_log_group_and_only_a_tagged_one(
    front: Front, operator: Holder, tenant: Holder, runs: Workloads, well: Receiver
) -> None:
    for group, tags in (
        ("/app/tagged", {"gatehouse:service": "app"}),
        ("/app/other", {"team": "app"}),
        ("/app/off", {"gatehouse:service": "app", "gatehouse:logs": "off"}),
    ):
        runs.logs.create_log_group(logGroupName=group, tags=tags)
    for group in ("/app/other", "/app/off", "/app/none", "a b", "x" * 600, "*", "a:*"):
        refused = register(front, operator, "app", well.url, logGroup=group)
        assert refused.status == 400, group
        assert "logGroup" in error_text(refused)
    denied = register(front, tenant, "app", well.url, logGroup="/app/tagged")
    assert denied.status == 403
    made = register(front, operator, "app", well.url, logGroup="/app/tagged")
    assert (made.status, made.json()["logGroup"]) == (201, "/app/tagged")
    assert listed(front, operator)["app"]["logGroup"] == "/app/tagged"
    front("DELETE", "/api/services/app", key=operator.key)


def test_a_plain_request_for_logs_is_426(
    front: Front, operator: Holder, tenant: Holder, runs: Workloads
) -> None:
    runs.function("orders")
    runs.function("relay", tags={"gatehouse:logs": "off"})
    for name, status in (("orders", 426), ("relay", 404), ("missing", 404)):
        answer = front("GET", f"/api/services/{name}/logs", key=operator.key)
        assert (answer.status, answer.json()["status"]) == (status, status), name
    assert front("GET", "/api/services/orders/logs", key=tenant.key).status == 404


METRICS = {
    *("cpuPercent", "cpuCount", "loadAvg", "memTotalBytes", "memFreeBytes", "memUsedBytes"),
    *("memUsedPercent", "diskTotalBytes", "diskUsedBytes", "diskUsedPercent", "source"),
    "collectedAt",
}


def test_metrics_without_an_agent_are_those_of_the_environment(
    front: Front, operator: Holder, held: HeldClock
) -> None:
    answer = front("GET", "/api/services/metrics", key=operator.key)
    view = answer.json()
    assert (answer.status, set(view)) == (200, METRICS)
    assert (view["source"], view["collectedAt"]) == ("environment", held.text())
    assert 0 <= view["cpuPercent"] <= 100
    assert view["cpuCount"] >= 1
    assert len(view["loadAvg"]) == 3
    assert view["memTotalBytes"] == view["memUsedBytes"] + view["memFreeBytes"]
    assert 0 < view["memUsedPercent"] < 100
    assert 0 < view["diskUsedBytes"] <= view["diskTotalBytes"]


def test_metrics_are_refused_to_other_accounts(front: Front, tenant: Holder) -> None:
    assert front("GET", "/api/services/metrics", key=tenant.key).status == 403


def test_metrics_are_read_from_the_cloudwatch_agent(
    front: Front, operator: Holder, workloads: Workloads, held: HeldClock
) -> None:
    for host, used in (("i-1", 1_000), ("i-2", 3_000)):
        values = {
            ("cpu_usage_idle", "cpu", "cpu-total"): 75,
            ("cpu_usage_idle", "cpu", "cpu0"): 1,
            ("mem_total", "host", host): 4_000,
            ("mem_used", "host", host): used,
            ("disk_total", "path", "/"): 100,
            ("disk_used", "path", "/"): 40,
            ("disk_used", "path", "/data"): 99,
        }
        workloads.cloudwatch.put_metric_data(
            Namespace="CWAgent",
            MetricData=[
                {
                    "MetricName": metric,
                    "Dimensions": [
                        {"Name": "InstanceId", "Value": host},
                        {"Name": name, "Value": value},
                    ],
                    "Value": number,
                }
                for (metric, name, value), number in values.items()
            ],
        )
    held.advance(seconds=60)
    view = front("GET", "/api/services/metrics", key=operator.key).json()
    assert view["source"] == "cloudwatch"
    assert (view["cpuPercent"], view["cpuCount"]) == (25.0, None)
    assert view["loadAvg"] == [None, None, None]
    assert (view["memTotalBytes"], view["memUsedBytes"], view["memFreeBytes"]) == (
        8_000,
        4_000,
        4_000,
    )
    assert (view["memUsedPercent"], view["diskUsedPercent"]) == (50.0, 40.0)

"""Lists of many services, some of them silent, and lists while AWS refuses."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack

import pytest

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.actors.receivers import Receiver, receiving
from support.actors.service_owner import HEALTHY, checked, listed, register, silent
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, wire
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held")


def test_two_hundred_services_are_listed_within_the_time_limit(
    front: Front,
    stack: Tables,
    operator: Holder,
    runs: Workloads,
    held: HeldClock,
    logs: io.StringIO,
) -> None:
    """Thirty services are found and 170 registered; ten of the registered ones never answer."""
    for number in range(20):
        runs.function(f"fn-{number}")
    for number in range(10):
        runs.container(f"ecs-{number}")
    with ExitStack() as servers:
        well = servers.enter_context(receiving(HEALTHY))
        hanging = servers.enter_context(receiving(silent))
        for number in range(170):
            url = hanging.url if number % 17 == 0 else well.url
            _plant(stack, operator.account_id, f"http-{number:03}", url, held.at)
        expected = {
            **{f"fn-{number}": "running" for number in range(20)},
            **{f"ecs-{number}": "running" for number in range(10)},
            **{
                f"http-{number:03}": "degraded" if number % 17 == 0 else "running"
                for number in range(170)
            },
        }
        # A list ends before all checks are done; the next lists check the remaining services.
        for _ in range(24):
            views = listed(front, operator)
            assert set(views) == set(expected), "whoever does not answer, all are there"
            statuses = {name: view["status"] for name, view in views.items()}
            if statuses == expected and all(view["lastChecked"] for view in views.values()):
                break
            held.advance(seconds=4)
        assert statuses == expected
        asked = well.connections
        assert listed(front, operator) == views
        assert well.connections == asked
    # A list waits 0.8 s for checks. The margin is for a machine with other work.
    took = _milliseconds(logs)
    assert min(took) < 2_000, took


def _milliseconds(logs: io.StringIO) -> list[float]:
    """Read from the function's log how long each list took, in milliseconds."""
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    return [line["duration_ms"] for line in lines if line.get("route") == "/api/services/list"]


def _plant(stack: Tables, account_id: str, name: str, url: str, at: int) -> None:
    stack.main.insert(
        {
            "pk": f"SERVICE#{account_id}",
            "sk": name,
            "health_url": url,
            "restart_url": "",
            "log_group": "",
            "created_at": at,
            "created_by": "identity:the-one-who-registered-it",
            "created_by_key": "api_key:of-theirs",
        }
    )


def test_a_list_checks_a_service_at_most_every_half_minute(
    front: Front, tenant: Holder, well: Receiver, held: HeldClock
) -> None:
    register(front, tenant, "billing", well.url)
    first = listed(front, tenant)
    asked = well.connections
    held.advance(seconds=30)
    assert listed(front, tenant) == first
    assert well.connections == asked
    held.advance(micros=1)
    assert listed(front, tenant)["billing"]["lastChecked"] == held.text()
    assert well.connections == asked + 1


def test_a_list_shows_stored_health_while_another_request_checks(
    front: Front, stack: Tables, tenant: Holder, well: Receiver, held: HeldClock
) -> None:
    register(front, tenant, "billing", well.url)
    first = listed(front, tenant)
    held.advance(seconds=60)
    stack.main.update(
        {"pk": f"SERVICE#{tenant.account_id}#KEPT", "sk": "HEALTH"},
        "SET holder = :other, leased_until = :until",
        condition="attribute_exists(pk)",
        names={},
        values={":other": "another", ":until": held.at + 3_000_000},
    )
    asked = well.connections
    assert listed(front, tenant) == first
    assert well.connections == asked
    held.advance(seconds=4)
    assert listed(front, tenant)["billing"]["lastChecked"] == held.text()


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_a_list_succeeds_when_a_control_plane_refuses(
    front: Front, operator: Holder, runs: Workloads, held: HeldClock, code: str
) -> None:
    runs.function("orders")
    runs.container("web")
    before = listed(front, operator)
    held.advance(seconds=60)
    with ExitStack() as lines:
        for client, service in ((clients.lambdas(), "lambda"), (clients.ecs(), "ecs")):
            line: Wire = lines.enter_context(wire(client, service=service))
            line.before = lambda *_: error(code)
        assert listed(front, operator) == before, "as it was known"
        one = checked(front, operator, "orders")
        assert (one["status"], one["detail"]) == ("degraded", "AWS did not answer")
        held.advance(seconds=301)
        assert listed(front, operator)["orders"]["detail"] == "Not checked for 6 minutes"


def test_a_list_uses_the_last_search_when_tagging_is_throttled(
    front: Front, operator: Holder, stack: Tables, runs: Workloads, held: HeldClock
) -> None:
    runs.function("orders")
    listed(front, operator)
    held.advance(seconds=60)
    with wire(clients.tagging(), service="resource-groups-tagging-api") as line:
        line.before = lambda *_: error("ThrottledException")
        assert set(listed(front, operator)) == {"orders"}
        for sk in ("FOUND", "HEALTH"):
            stack.main.client.delete_item(
                TableName=stack.main.name,
                Key={"pk": {"S": f"SERVICE#{operator.account_id}#KEPT"}, "sk": {"S": sk}},
            )
        assert front("GET", "/api/services/list", key=operator.key).status == 503


def test_environment_variables_are_neither_shown_nor_stored(
    front: Front, operator: Holder, runs: Workloads, stack: Tables
) -> None:
    runs.function("orders", variables={"PASSWORD": "not-to-be-shown"})
    answers = [front("GET", "/api/services/list", key=operator.key).text]
    answers.append(json.dumps(checked(front, operator, "orders")))
    everything = json.dumps(State(stack).main, default=repr) + "".join(answers)
    assert "orders" in everything
    assert "not-to-be-shown" not in everything

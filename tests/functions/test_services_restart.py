"""Restarts of functions, of aliases and of ECS services, and the reasons to refuse one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from gatehouse.services import restart as restarts
from support.actors.people import Holder
from support.actors.service_restarts import restart, trail
from support.aws.api_gateway import Front, error_text
from support.aws.faults import Wire, error, first, wire
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads, zipped

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held")


@pytest.fixture(autouse=True)
def _short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_TICK", 0.01)


@pytest.fixture
def lambdas(runs: Workloads) -> Iterator[Wire]:
    assert runs
    with wire(clients.lambdas(), service="lambda") as line:
        yield line


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for a restart from twenty seconds to one."""
    monkeypatch.setattr(restarts, "_WITHIN", 1.0)


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_restarted_function_keeps_its_variables(
    front: Front, stack: Tables, operator: Holder, runs: Workloads, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    function = runs.function("orders", variables={"MODE": "fast", "EMPTY": ""})
    done = restart(front, operator, "orders")
    front.shape = "aws"
    assert done.status == 200, done.text
    assert done.json() == {
        "restarted": True,
        "service": "orders",
        "kind": "lambda",
        "restartedAt": held.text(),
        "state": "done",
    }
    expected = {"MODE": "fast", "EMPTY": "", "GATEHOUSE_RESTARTED_AT": held.text()}
    assert runs.variables(function) == expected
    asked = {"kind": "lambda", "state": "requested"}
    assert trail(stack, operator) == [
        ("service.restart", None, asked),
        ("service.restarted", asked, {"kind": "lambda", "state": "done", "detail": ""}),
    ]


def test_a_function_without_variables_is_restarted(
    front: Front, operator: Holder, runs: Workloads, held: HeldClock
) -> None:
    function = runs.function("bare", variables={})
    assert restart(front, operator, "bare").status == 200
    assert runs.variables(function) == {"GATEHOUSE_RESTARTED_AT": held.text()}


def test_a_variable_set_during_a_restart_is_kept(
    front: Front, operator: Holder, runs: Workloads, lambdas: Wire
) -> None:
    """Another writer changes the revision; the restart reads the function again and retries."""
    function = runs.function("orders")
    other = boto3.client("lambda")

    def somebody_else(_: int, operation: str) -> Any:
        if operation != "UpdateFunctionConfiguration":
            return None
        lambdas.before = None
        other.update_function_configuration(
            FunctionName=function, Environment={"Variables": {"MODE": "slow", "NEW": "1"}}
        )
        return error("PreconditionFailedException", 412)

    lambdas.before = somebody_else
    assert restart(front, operator, "orders").json()["state"] == "done"
    variables = runs.variables(function)
    assert variables.pop("GATEHOUSE_RESTARTED_AT")
    assert variables == {"MODE": "slow", "NEW": "1"}
    assert lambdas.calls.count("UpdateFunctionConfiguration") == 2


def test_a_restart_waits_for_an_update_that_is_under_way(
    front: Front, operator: Holder, runs: Workloads, lambdas: Wire
) -> None:
    runs.function("orders")
    lambdas.before = first(
        2, lambda: error("ResourceConflictException", 409), "UpdateFunctionConfiguration"
    )
    assert restart(front, operator, "orders").json()["state"] == "done"
    assert lambdas.calls.count("UpdateFunctionConfiguration") == 3


def _said_of(function: str, **changes: Any) -> Any:
    """Return the answer of GetFunction with some fields of the configuration changed."""
    said = boto3.client("lambda").get_function(FunctionName=function)
    said["Configuration"] |= changes
    return _ok(said)


def _ok(said: dict[str, Any]) -> Any:
    http, _ = error("", 200)
    return http, said


@pytest.mark.usefixtures("soon")
def test_a_slow_restart_of_a_function_is_in_progress(
    front: Front, stack: Tables, operator: Holder, runs: Workloads, lambdas: Wire
) -> None:
    function = runs.function("orders")
    updated = False

    def slowly(_: int, operation: str) -> Any:
        nonlocal updated
        updated = updated or operation == "UpdateFunctionConfiguration"
        if operation == "GetFunction" and updated:
            return _said_of(function, LastUpdateStatus="InProgress")
        return None

    lambdas.before = slowly
    done = restart(front, operator, "orders")
    assert (done.status, done.json()["state"]) == (200, "in_progress")
    assert trail(stack, operator)[1][2]["state"] == "in_progress"


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"LastUpdateStatus": "InProgress"}, "another update of it is under way"),
        ({"Environment": {"Error": {"ErrorCode": "AccessDeniedException"}}}, "cannot be read"),
    ],
)
def test_a_function_that_cannot_be_changed_is_not_restarted(
    front: Front,
    stack: Tables,
    operator: Holder,
    runs: Workloads,
    lambdas: Wire,
    changes: dict[str, Any],
    why: str,
) -> None:
    function = runs.function("orders")

    def said_so(_: int, operation: str) -> Any:
        return _said_of(function, **changes) if operation == "GetFunction" else None

    lambdas.before = said_so
    refused = restart(front, operator, "orders")
    assert refused.status == 409
    assert why in error_text(refused)
    assert "UpdateFunctionConfiguration" not in lambdas.calls
    assert runs.variables(function) == {"MODE": "fast"}
    assert trail(stack, operator)[1][2]["state"] == "failed"


def test_an_update_that_lambda_refuses_is_409_with_its_error_code(
    front: Front, stack: Tables, operator: Holder, runs: Workloads, lambdas: Wire
) -> None:
    runs.function("orders")
    lambdas.before = first(
        1, lambda: error("InvalidParameterValueException"), "UpdateFunctionConfiguration"
    )
    refused = restart(front, operator, "orders")
    text = 'Service "orders" was not restarted: AWS refused it with InvalidParameterValueException'
    assert (refused.status, error_text(refused)) == (409, text)
    assert trail(stack, operator)[1][2]["state"] == "failed"


def test_an_update_without_an_answer_is_503_and_state_unknown(
    front: Front, stack: Tables, operator: Holder, runs: Workloads, lambdas: Wire
) -> None:
    runs.function("orders")
    lambdas.before = first(1, lambda: error("ServiceException"), "UpdateFunctionConfiguration")
    unknown = restart(front, operator, "orders")
    text = 'Service "orders" may have been restarted: AWS did not answer in time'
    assert (unknown.status, error_text(unknown)) == (503, text)
    assert unknown.headers["retry-after"] == "1"
    assert trail(stack, operator)[1][2]["state"] == "unknown"


@pytest.fixture
def published(runs: Workloads) -> str:
    function = runs.function("orders", tags={"gatehouse:alias": "live"})
    runs.lambdas.publish_version(FunctionName=function)
    runs.lambdas.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    return function


def behind(runs: Workloads, function: str) -> dict[str, Any]:
    alias = runs.lambdas.get_alias(FunctionName=function, Name="live")
    version = runs.lambdas.get_function(FunctionName=function, Qualifier=alias["FunctionVersion"])
    return {"version": alias["FunctionVersion"], **version["Configuration"]["Environment"]}


def test_a_restart_moves_the_alias_to_a_new_version(
    front: Front, operator: Holder, runs: Workloads, published: str, held: HeldClock
) -> None:
    assert restart(front, operator, "orders").json()["state"] == "done"
    variables = {"MODE": "fast", "GATEHOUSE_RESTARTED_AT": held.text()}
    assert behind(runs, published) == {"version": "2", "Variables": variables}


def test_an_alias_is_not_moved_to_unreleased_code(
    front: Front, operator: Holder, runs: Workloads, published: str
) -> None:
    code = zipped("def handler(event, context):\n    return 'not released yet'\n")
    runs.lambdas.update_function_code(FunctionName=published, ZipFile=code)
    refused = restart(front, operator, "orders")
    assert refused.status == 409
    assert "does not run the code of $LATEST" in error_text(refused)
    assert behind(runs, published)["version"] == "1"
    assert runs.variables(published) == {"MODE": "fast"}


def test_an_alias_that_splits_its_traffic_is_not_moved(
    front: Front, operator: Holder, runs: Workloads, published: str
) -> None:
    runs.lambdas.update_function_configuration(FunctionName=published, MemorySize=256)
    runs.lambdas.publish_version(FunctionName=published)
    runs.lambdas.update_alias(
        FunctionName=published,
        Name="live",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}},
    )
    refused = restart(front, operator, "orders")
    assert refused.status == 409
    assert "splits its traffic" in error_text(refused)
    assert runs.variables(published) == {"MODE": "fast"}


@pytest.mark.parametrize("operation", ["PublishVersion", "UpdateAlias"])
def test_an_alias_moved_during_a_restart_is_not_overwritten(
    front: Front,
    stack: Tables,
    operator: Holder,
    runs: Workloads,
    published: str,
    lambdas: Wire,
    operation: str,
) -> None:
    lambdas.before = first(1, lambda: error("PreconditionFailedException", 412), operation)
    refused = restart(front, operator, "orders")
    assert refused.status == 409
    assert "PreconditionFailedException" in error_text(refused)
    assert behind(runs, published)["version"] == "1"
    assert trail(stack, operator)[1][2]["state"] == "failed"


def test_a_missing_alias_refuses_the_restart(
    front: Front, operator: Holder, runs: Workloads
) -> None:
    function = runs.function("orders", tags={"gatehouse:alias": "live"})
    refused = restart(front, operator, "orders")
    assert refused.status == 409
    assert "ResourceNotFoundException" in error_text(refused)
    assert runs.variables(function) == {"MODE": "fast"}


def test_a_restart_of_an_ecs_service_makes_a_new_deployment(
    front: Front, operator: Holder, runs: Workloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = runs.container("web", desired=2)
    before = _deployments(runs, arn)
    monkeypatch.setenv("MOTO_ECS_SERVICE_RUNNING", "2")
    done = restart(front, operator, "web")
    assert (done.status, done.json()["kind"], done.json()["state"]) == (200, "ecs", "done")
    after = _deployments(runs, arn)
    assert [one["id"] for one in after] != [one["id"] for one in before]


@pytest.mark.usefixtures("soon")
def test_a_slow_deployment_is_in_progress(front: Front, operator: Holder, runs: Workloads) -> None:
    runs.container("web", desired=2, running=1)
    assert restart(front, operator, "web").json()["state"] == "in_progress"


def test_a_failed_deployment_is_409_with_its_reason(
    front: Front, stack: Tables, operator: Holder, runs: Workloads
) -> None:
    arn = runs.container("web", desired=2, running=1)
    described = boto3.client("ecs")

    def failing(_: int, operation: str) -> Any:
        if operation != "DescribeServices":
            return None
        said_of = described.describe_services(cluster="main", services=[arn])
        said_of["services"][0]["deployments"][0] |= {
            "rolloutState": "FAILED",
            "rolloutStateReason": "tasks failed to start",
        }
        return _ok(said_of)

    with wire(clients.ecs(), service="ecs") as line:
        line.before = failing
        refused = restart(front, operator, "web")
    assert refused.status == 409
    assert "tasks failed to start" in error_text(refused)
    assert trail(stack, operator)[1][2]["state"] == "failed"


def _deployments(runs: Workloads, arn: str) -> list[dict[str, Any]]:
    said_of = runs.ecs.describe_services(cluster="main", services=[arn])
    return list(said_of["services"][0]["deployments"])


def test_an_interrupted_restart_is_in_the_audit_trail(
    front: Front, stack: Tables, operator: Holder, runs: Workloads, lambdas: Wire
) -> None:
    runs.function("orders")

    def boom(_: int, operation: str) -> None:
        if operation == "UpdateFunctionConfiguration":
            raise RuntimeError("no such luck")

    lambdas.before = boom
    assert restart(front, operator, "orders").status == 500
    (before, after) = trail(stack, operator)
    assert before[2]["state"] == "requested"
    assert after[2] == {"kind": "lambda", "state": "failed", "detail": "interrupted"}


def test_nothing_is_restarted_if_the_audit_event_cannot_be_written(
    front: Front, operator: Holder, runs: Workloads, line: Wire
) -> None:
    function = runs.function("orders")
    front("GET", "/api/services/orders/health", key=operator.key)
    line.before = first(99, lambda: error("ThrottlingException"), "TransactWriteItems")
    assert restart(front, operator, "orders").status == 503
    assert runs.variables(function) == {"MODE": "fast"}

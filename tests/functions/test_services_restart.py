"""Restarts of functions, aliases, ECS services and hooks, and the reasons to refuse one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from gatehouse.services import restart as restarts
from support.actors.people import Holder, People
from support.actors.receivers import receiving, response, saying
from support.actors.service_owner import first_admin
from support.aws.api_gateway import Front, error_text
from support.aws.faults import Wire, error, first, wire
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads, zipped

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held")

OK = saying(response(b"fine"))


@pytest.fixture(scope="module")
def operator(front: Front) -> Holder:
    return first_admin(front)


@pytest.fixture
def runs(
    workloads: Workloads, stack: Tables, operator: Holder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workloads]:
    monkeypatch.setattr(restarts, "_TICK", 0.01)
    yield workloads
    workloads.clear()
    for sk in ("FOUND", "HEALTH"):
        key = {"pk": {"S": f"SERVICE#{operator.account_id}#KEPT"}, "sk": {"S": sk}}
        stack.main.client.delete_item(TableName=stack.main.name, Key=key)


@pytest.fixture
def lambdas(runs: Workloads) -> Iterator[Wire]:
    assert runs
    with wire(clients.lambdas(), service="lambda") as line:
        yield line


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for a restart from twenty seconds to one."""
    monkeypatch.setattr(restarts, "_WITHIN", 1.0)


def restart(front: Front, holder: Holder, name: str) -> Answer:
    return front("POST", f"/api/services/{name}/restart", key=holder.key)


def trail(stack: Tables, holder: Holder) -> list[tuple[str, Any, Any]]:
    return [
        (event["action"], event["before"], event["after"])
        for event in State(stack).events(holder.account_id)
        if event["action"].startswith("service.restart")
    ][-2:]


# ---- Functions ---------------------------------------------------------------------------------


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


# ---- Behind an alias ---------------------------------------------------------------------------


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


# ---- ECS services ------------------------------------------------------------------------------


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


# ---- Hooks -------------------------------------------------------------------------------------


@pytest.fixture
def tenant(people: People) -> Holder:
    return people.tenant()


def hooked(front: Front, holder: Holder, health: str, hook: str, **headers: str) -> Answer:
    body = {"name": "billing", "healthUrl": health, "restartUrl": hook}
    return front("POST", "/api/services", key=holder.key, body=body, headers=headers)


def test_a_hook_gets_a_signed_request(
    front: Front, stack: Tables, tenant: Holder, held: HeldClock
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        made = hooked(front, tenant, health.url, f"{hook.url}/restart")
        assert made.status == 201, made.text
        secret = made.json()["restartSecret"]
        done = restart(front, tenant, "billing")
    assert (done.status, done.json()["state"], done.json()["kind"]) == (200, "done", "http")
    request = hook.requests[0]
    head, _, body = request.partition(b"\r\n\r\n")
    headers = _headers(head)
    assert head.startswith(b"POST /restart HTTP/1.1\r\n")
    assert json.loads(body) == {
        "type": "service.restart",
        "service": "billing",
        "requestedAt": held.text(),
    }
    assert headers["webhook-id"].startswith("restart:")
    assert Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"billing", b"another"), headers)
    events = trail(stack, tenant)
    assert [action for action, *_ in events] == ["service.restart", "service.restarted"]
    # The secret is shown once: neither the table, the audit trail nor a list contains it.
    key = secret.removeprefix("whsec_")
    everything = json.dumps(State(stack).main, default=repr)
    everything += front("GET", "/api/services/list", key=tenant.key).text
    assert "billing" in everything
    assert key not in everything


def _headers(head: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value.strip() for name, _, value in lines}


def test_an_http_service_without_a_hook_cannot_be_restarted(
    front: Front, stack: Tables, tenant: Holder
) -> None:
    with receiving(OK) as health:
        body = {"name": "billing", "healthUrl": health.url}
        made = front("POST", "/api/services", key=tenant.key, body=body)
        assert "restartSecret" not in made.json()
        refused = restart(front, tenant, "billing")
    assert (refused.status, error_text(refused)) == (409, 'Service "billing" has no restart hook')
    assert trail(stack, tenant) == []


@pytest.mark.parametrize(
    ("answer", "status", "what"),
    [
        (response(status="204 No Content"), 200, "done"),
        (response(status="202 Accepted"), 200, "in_progress"),
        (response(status="302 Found", headers="Location: /\r\n"), 409, "answered 302"),
        (response(status="500 Oh"), 409, "answered 500"),
        (b"?\r\n\r\n", 409, "its hook: "),
    ],
)
def test_the_status_of_a_hook_s_answer_decides_the_outcome(
    front: Front, stack: Tables, tenant: Holder, answer: bytes, status: int, what: str
) -> None:
    with receiving(OK) as health, receiving(saying(answer)) as hook:
        hooked(front, tenant, health.url, hook.url)
        done = restart(front, tenant, "billing")
    assert done.status == status
    assert what in done.text
    assert len(hook.requests) == 1, "it is called once"
    outcome = trail(stack, tenant)[1][2]["state"]
    assert outcome == (what if status == 200 else "failed")


def test_a_hook_that_refuses_the_connection_is_409(front: Front, tenant: Holder) -> None:
    with receiving(OK) as health:
        with receiving(OK) as hook:
            hooked(front, tenant, health.url, hook.url)
        refused = restart(front, tenant, "billing")
    assert refused.status == 409
    assert "refused the connection" in error_text(refused)


@pytest.mark.usefixtures("soon")
def test_a_service_that_is_not_yet_healthy_is_in_progress(front: Front, tenant: Holder) -> None:
    down = saying(response(status="503 Starting"))
    with receiving(down) as health, receiving(OK) as hook:
        hooked(front, tenant, health.url, hook.url)
        assert restart(front, tenant, "billing").json()["state"] == "in_progress"


@pytest.mark.usefixtures("soon")
def test_a_hook_that_has_not_answered_yet_is_in_progress(front: Front, tenant: Holder) -> None:
    def slowly(*_: Any) -> None:
        time.sleep(1.5)

    with receiving(OK) as health, receiving(slowly) as hook:
        hooked(front, tenant, health.url, hook.url)
        assert restart(front, tenant, "billing").json()["state"] == "in_progress"


def test_a_hook_at_an_address_that_became_forbidden_is_not_called(
    front: Front, tenant: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        hooked(front, tenant, health.url, hook.url)
        monkeypatch.setenv("GATEHOUSE_OUTBOUND", "guarded")
        refused = restart(front, tenant, "billing")
    assert refused.status == 409
    assert "must not be called" in error_text(refused)
    assert hook.connections == 0


def test_deleting_a_service_deletes_its_restart_secret(
    front: Front, stack: Tables, tenant: Holder
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        old = hooked(front, tenant, health.url, hook.url).json()["restartSecret"]
        front("DELETE", "/api/services/billing", key=tenant.key)
        kinds = {item["pk"] for item in State(stack).main}
        assert f"SECRET#{tenant.account_id}" not in kinds
        new = hooked(front, tenant, health.url, hook.url).json()["restartSecret"]
        restart(front, tenant, "billing")
    assert new != old
    head, _, body = hook.requests[0].partition(b"\r\n\r\n")
    assert Webhook(new).verify(body, _headers(head))


def test_a_repeated_registration_does_not_show_the_secret_again(
    front: Front, tenant: Holder
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        once = {"Idempotency-Key": "once"}
        made = hooked(front, tenant, health.url, hook.url, **once)
        again = hooked(front, tenant, health.url, hook.url, **once)
    assert (made.status, again.status) == (201, 409)
    assert "service:billing" in error_text(again)
    assert made.json()["restartSecret"] not in again.text


def test_a_repeated_registration_without_a_hook_is_replayed(front: Front, tenant: Holder) -> None:
    with receiving(OK) as health:
        body = {"name": "billing", "healthUrl": health.url}
        answers = [
            front(
                "POST",
                "/api/services",
                key=tenant.key,
                body=body | other,
                headers={"Idempotency-Key": "once"},
            )
            for other in ({}, {}, {"name": "another"})
        ]
    assert [answer.status for answer in answers] == [201, 201, 409]
    assert answers[1].text == answers[0].text
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(health.requests) == 1


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

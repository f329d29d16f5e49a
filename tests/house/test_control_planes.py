"""The services function may ask of AWS's control planes what it asks of them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import support
from front import Front
from gatehouse import wiring
from workloads import Workloads

pytestmark = pytest.mark.usefixtures("settings_key")

PREFIXES = {"resourcegroupstaggingapi": "tag"}
# Lambda asks for the first by itself where a function has tags, the engine for the second.
UNSEEN = {"lambda:ListTags", "lambda:ListAliases"}


def granted() -> set[str]:
    """Name the actions of the template's statements, those of the tables and of KMS left out."""
    said = support.template()["Resources"]["ServicesFunction"]["Properties"]["Policies"]
    found: set[str] = set()
    for statement in map(support.given, said[0]["Statement"]):
        actions = statement["Action"]
        found |= set(actions if isinstance(actions, list) else [actions])
    return {action for action in found if not action.startswith(("dynamodb:", "kms:"))}


@pytest.fixture(scope="module")
def asked(front: Front, workloads: Workloads, aws: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Do everything once that AWS is asked for, and write down what that is."""
    found: set[str] = set()

    def listen(client: Any) -> Callable[..., None]:
        service = client.meta.service_model.service_name

        def heard(model: Any, **_: Any) -> None:
            found.add(f"{PREFIXES.get(service, service)}:{model.name}")

        client.meta.events.register("before-call", heard)
        return heard

    clients = [
        make()
        for make in (wiring.lambdas, wiring.ecs, wiring.tagging, wiring.cloudwatch, wiring.logs)
    ]
    heard = [listen(client) for client in clients]
    _ask(front, workloads, aws)
    yield found
    for client, one in zip(clients, heard, strict=True):
        client.meta.events.unregister("before-call", one)


def _ask(front: Front, workloads: Workloads, aws: pytest.MonkeyPatch) -> None:
    made = front.function("bootstrap").handler(support.event("bootstrap"), support.Context())
    key = made["api_key"]["key"]
    function = workloads.function("orders", tags={"gatehouse:alias": "live"})
    workloads.lambdas.publish_version(FunctionName=function)
    workloads.lambdas.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    workloads.container("web")
    workloads.cloudwatch.put_metric_data(
        Namespace="CWAgent", MetricData=[{"MetricName": "mem_used_percent", "Value": 1}]
    )
    aws.setenv("MOTO_ECS_SERVICE_RUNNING", "2")
    for method, path in (
        ("GET", "metrics"),
        ("GET", "orders/health"),
        ("GET", "web/health"),
        ("POST", "orders/restart"),
        ("POST", "web/restart"),
    ):
        answer = front(method, f"/api/services/{path}", key=key)
        assert answer.status == 200, answer.text
    workloads.logs.create_log_group(logGroupName="/app", tags={"gatehouse:service": "app"})
    body = {"name": "app", "healthUrl": "http://127.0.0.1:8080", "logGroup": "/app"}
    assert front("POST", "/api/services", key=key, body=body).status == 201
    aws.setenv("GATEHOUSE_HEALTH_SOURCE", "logs")
    assert front("GET", "/api/services/orders/health", key=key).status == 200


def test_nothing_is_asked_that_is_not_granted(asked: set[str]) -> None:
    assert asked - granted() == set()


def test_nothing_is_granted_that_is_not_asked(asked: set[str]) -> None:
    assert granted() - asked - UNSEEN == set()

"""Functions are granted exactly the actions of AWS's control planes that they call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.core import settings
from house import driven_logs
from support.aws import invocation, resources
from support.aws.api_gateway import Front
from support.worlds.workloads import Workloads

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue")

FUNCTIONS = {
    "services": "ServicesFunction",
    "sockets": "SocketsFunction",
    "log_relay": "LogRelayFunction",
    "sweeper": "SweeperFunction",
}
PREFIXES = {"resourcegroupstaggingapi": "tag"}
# IAM has one action for every operation on open sockets; the resource has the method.
# It also has one action for a message and for a batch of messages.
SOCKETS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "apigatewaymanagementapi:PostToConnection": "execute-api:ManageConnections POST",
    "apigatewaymanagementapi:DeleteConnection": "execute-api:ManageConnections DELETE",
}
# Lambda checks this permission itself if a function has tags; no code calls it.
UNSEEN = {"lambda:ListTags"}
# Health is read from logs in the local engine only; the engine's copy of the template grants it.
ENGINE_ONLY = {"logs:FilterLogEvents"}


def granted(function: str) -> set[str]:
    """List the actions that the template grants, without those of DynamoDB and KMS.

    The sweeper's grants for the queues of deliveries and embeddings are left out, too.
    """
    properties = resources.template()["Resources"][FUNCTIONS[function]]["Properties"]
    found: set[str] = set()
    for statement in map(resources.given, properties["Policies"][0]["Statement"]):
        resource = str(statement["Resource"])
        if "DeliveryQueue" in resource or "EmbeddingQueue" in resource:
            continue
        actions = statement["Action"]
        for action in actions if isinstance(actions, list) else [actions]:
            if action == "execute-api:ManageConnections":
                assert len(statement["Resource"]) == resource.count("/@connections/*")
                methods = [one for one in ("GET", "POST", "DELETE", "*") if f"/{one}/" in resource]
                found |= {f"{action} {method}" for method in methods}
            else:
                found.add(action)
    return {action for action in found if not action.startswith(("dynamodb:", "kms:"))}


class RecordingAws(Front):
    """Calls functions, and records the requests of each to the control planes."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, set[str]] = {name: set() for name in FUNCTIONS}
        self._running: list[str] = []

    def function(self, name: str) -> Any:
        handler = super().function(name).handler

        def heard(event: Any, context: Any) -> Any:
            self._running.append(name)
            try:
                return handler(event, context)
            finally:
                self._running.pop()

        return SimpleNamespace(handler=heard)

    @contextmanager
    def listening(self, *clients: Any) -> Iterator[None]:
        """Record the requests of these clients."""
        hooks = [self._listen(client) for client in clients]
        yield
        for client, hook in zip(clients, hooks, strict=True):
            client.meta.events.unregister("provide-client-params", hook)

    def _listen(self, client: Any) -> Callable[..., None]:
        service = client.meta.service_model.service_name

        def hook(model: Any, **_: Any) -> None:
            if self._running and self._running[-1] in self.asked:
                name = f"{PREFIXES.get(service, service)}:{model.name}"
                only_engine = settings.HEALTH_SOURCE.text() == "logs" and name in ENGINE_ONLY
                if not (only_engine and self._running[-1] in {"services", "sockets"}):
                    self.asked[self._running[-1]].add(SOCKETS.get(name, name))

        client.meta.events.register("provide-client-params", hook)
        return hook


@pytest.fixture(scope="module")
def asked(
    stack: Any, workloads: Workloads, relay_queue: str, aws: pytest.MonkeyPatch
) -> dict[str, set[str]]:
    """Make the functions send each kind of request to AWS once; return the actions by function."""
    del stack
    front = RecordingAws()
    asked_clients = (
        *(
            clients.lambdas(),
            clients.ecs(),
            clients.tagging(),
            clients.cloudwatch(),
            clients.logs(),
        ),
        *(clients.sqs(), clients.sockets(settings.SOCKETS.text())),
    )
    with front.listening(*asked_clients):
        made = front.function("bootstrap").handler(
            invocation.event("bootstrap"), invocation.Context()
        )
        key = made["api_key"]["key"]
        _ask(front, workloads, key, aws)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GATEHOUSE_HEALTH_SOURCE", "metrics")
            driven_logs.drive(front, workloads, key, queue=relay_queue)
    return front.asked


def _ask(front: Front, workloads: Workloads, key: str, aws: pytest.MonkeyPatch) -> None:
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


def test_functions_call_only_actions_that_they_are_granted(asked: dict[str, set[str]]) -> None:
    silent = [name for name in FUNCTIONS if not asked[name]]
    offenders = {name: asked[name] - granted(name) for name in FUNCTIONS}

    assert not silent, "no call of these was recorded"
    assert not {name: found for name, found in offenders.items() if found}


def test_functions_are_granted_only_actions_that_they_call(asked: dict[str, set[str]]) -> None:
    offenders = {name: granted(name) - asked[name] - UNSEEN for name in FUNCTIONS}

    assert not {name: found for name, found in offenders.items() if found}


def test_the_sockets_function_only_reads_from_control_planes(
    asked: dict[str, set[str]],
) -> None:
    reading = {action for action in asked["sockets"] if not action.startswith("sqs:")}

    assert reading
    assert all(
        action.partition(":")[2].startswith(("Describe", "Filter", "Get", "List"))
        for action in reading
    )

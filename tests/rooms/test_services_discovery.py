"""How the log group of a service is found, for live logs."""

from __future__ import annotations

import uuid

import pytest

from gatehouse.aws import clients, control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.core.clock import now
from gatehouse.core.errors import BadInput, NotFound
from gatehouse.core.grants import FULL
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables, transact
from gatehouse.services import actions, discovery, store
from gatehouse.services.model import Kind, Service
from support.worlds.workloads import Workloads

CLOUD = Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs)


def make_call(*, operator: bool) -> Call:
    principal = Principal(
        key_id="k",
        account_id=str(uuid.uuid4()),
        identity_id="i",
        key_prefix="hk_0000",
        grants=FULL,
        is_admin=True,
        claw_type="central",
        membership="active",
        operator=operator,
    )
    return Call(str(uuid.uuid4()), now(), principal)


def test_the_log_group_of_a_found_service_is_read_from_aws_once(
    tables: Tables, workloads: Workloads
) -> None:
    table, call = tables.main, make_call(operator=True)
    workloads.function("orders")
    workloads.function("relay", tags={"gatehouse:logs": "off"})
    workloads.container("web")
    found = {
        name: discovery.find_log_group(table, call, CLOUD, name=name)
        for name in ("orders", "relay", "web")
    }
    assert found == {"orders": "/aws/lambda/fn-orders", "relay": None, "web": "/ecs/web"}
    # After a list has cached it, AWS is not called again.
    actions.list_services(table, call, CLOUD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control_plane, "call", None)
        assert (
            discovery.find_log_group(table, call, CLOUD, name="orders") == "/aws/lambda/fn-orders"
        )
    other = make_call(operator=False)
    with pytest.raises(NotFound, match='Service "orders" not found'):
        discovery.find_log_group(table, other, CLOUD, name="orders")
    with pytest.raises(BadInput, match="Invalid service name"):
        discovery.find_log_group(table, call, CLOUD, name="a/b")
    workloads.clear()


def test_the_log_group_of_a_registered_service_is_the_stored_one(tables: Tables) -> None:
    table, call = tables.main, make_call(operator=False)
    for name, group in (("with", "/app/x"), ("without", "")):
        service = Service(
            name,
            call.caller.account_id,
            Kind.HTTP,
            health_url="https://x.example",
            log_group=group,
            created_at=1,
        )
        transact(table.client, list(store.create(table, service).values()))
    assert discovery.find_log_group(table, call, CLOUD, name="with") == "/app/x"
    assert discovery.find_log_group(table, call, CLOUD, name="without") is None

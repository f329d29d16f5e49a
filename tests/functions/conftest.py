"""Fixtures that several test files of functions share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.actors.receivers import Receiver, receiving
from support.actors.service_owner import HEALTHY, first_admin
from support.aws.api_gateway import Front
from support.checks.inspection import State
from support.worlds.workloads import Workloads


@pytest.fixture
def admin(people: People) -> Holder:
    """The admin of an account of its own."""
    return people.tenant()


@pytest.fixture
def tenant(people: People) -> Holder:
    """The admin of an account other than the operator's."""
    return people.tenant()


@pytest.fixture(scope="module")
def operator(front: Front) -> Holder:
    """The admin of the operator's account."""
    return first_admin(front)


@pytest.fixture
def well() -> Iterator[Receiver]:
    """A service that is healthy."""
    with receiving(HEALTHY) as receiver:
        yield receiver


@pytest.fixture
def runs(workloads: Workloads, stack: Tables, operator: Holder) -> Iterator[Workloads]:
    """Workloads of one test; the operator's services are deleted after it."""
    yield workloads
    workloads.clear()
    for item in State(stack).main:
        if item["pk"].startswith(f"SERVICE#{operator.account_id}"):
            key = {name: {"S": item[name]} for name in ("pk", "sk")}
            stack.main.client.delete_item(TableName=stack.main.name, Key=key)

"""Fixtures of the rooms' and the functions' tests. Nothing here is on by itself."""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import botocore.session
import hypothesis
import pytest
from moto import mock_aws
from moto.core import responses as moto_responses
from moto.kms import models as kms_models

from gatehouse.aws import clients
from gatehouse.core import clock
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages
from gatehouse.dynamo import connection
from gatehouse.dynamo.table import Tables
from gatehouse.services import health_checks
from support.actors.people import People
from support.actors.receivers import dialled, names  # noqa: F401 - likewise
from support.aws import resources
from support.aws.api_gateway import Front
from support.aws.faults import Wire, wire
from support.aws.memory_dynamo import MemoryDynamo
from support.worlds.held_clock import HeldClock
from support.worlds.live_logs import live_logs, relay_arn  # noqa: F401 - fixtures for everybody
from support.worlds.workloads import workloads  # noqa: F401 - likewise

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "POWERTOOLS_SERVICE_NAME": "gatehouse",
    "POWERTOOLS_METRICS_NAMESPACE": "Gatehouse/test",
    "GATEHOUSE_ACCOUNT_CREATION": "open",
    "GATEHOUSE_DEFAULT_RATE_LIMIT": "6000",
    "GATEHOUSE_WALLET_DOMAINS": "app.example",
}


# No deadline for an example: its time depends on the load of the machine. `make check` takes
# fewer examples of each property than `make test`.
hypothesis.settings.register_profile("full", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.load_profile(os.environ.get("GATEHOUSE_EXAMPLES", "full"))

# Each client has a botocore session of its own, and each session reads and parses the service
# descriptions again. The files do not change, so that all sessions of a process share one loader.
botocore.session.create_loader = cache(botocore.session.create_loader)
# moto generates an RSA key for each KMS key, and the symmetric keys of the template never use it.
kms_models.generate_private_key = cache(kms_models.generate_private_key)
# moto walks through all members of a service's class in each request.
moto_responses.method_names_from_class = cache(moto_responses.method_names_from_class)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start files with slow tests first, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _forget_tables() -> None:
    for cached in (connection.tables, connection.keys_table):
        cached.cache_clear()


def _forget_clients() -> None:
    """Clear what an execution environment caches, so that no file meets another file's AWS."""
    for made in vars(clients).values():
        if hasattr(made, "cache_clear"):
            made.cache_clear()
    messages.queue.cache_clear()
    health_checks._GROUPS.clear()  # noqa: SLF001
    _forget_tables()


def _without_dynamodb(make: Callable[..., Any]) -> Callable[..., Any]:
    def make_another(service: str, **settings: Any) -> Any:
        assert service != "dynamodb", "DynamoDB's client is the one of dynamo.connection"
        return make(service, **settings)

    return make_another


@pytest.fixture(scope="module")
def aws() -> Iterator[pytest.MonkeyPatch]:
    """AWS for one test file, on moto but for DynamoDB, which `dynamo` has in memory.

    The environment can be changed through the value.
    """
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(clients, "make", _without_dynamodb(clients.make))
        _forget_clients()
        yield patch
        _forget_clients()


@pytest.fixture(scope="module")
def dynamo(aws: pytest.MonkeyPatch) -> MemoryDynamo:
    """The DynamoDB client of this test file, without tables."""
    made = MemoryDynamo()
    aws.setattr(connection, "client", lambda: made)
    return made


@pytest.fixture(scope="module")
def stack(aws: pytest.MonkeyPatch, dynamo: MemoryDynamo) -> Tables:
    """The template's two tables, which functions loaded from now on use."""
    for name, value in resources.make_tables(dynamo, uuid.uuid4().hex).items():
        aws.setenv(name, value)
    _forget_tables()
    return connection.tables()


@pytest.fixture(scope="module")
def settings_key(aws: pytest.MonkeyPatch) -> str:
    """The template's KMS key, which functions that keep secrets will find."""
    key = resources.make_settings_key()
    aws.setenv("GATEHOUSE_SETTINGS_KEY", key)
    return key


@pytest.fixture(scope="module")
def delivery_queue(aws: pytest.MonkeyPatch) -> str:
    """The template's queue of deliveries by its URL, which functions will find."""
    messages.queue.cache_clear()
    url = resources.make_queue(uuid.uuid4().hex)
    aws.setenv("GATEHOUSE_DELIVERY_QUEUE", url)
    return url


@pytest.fixture(scope="module")
def relay_queue(aws: pytest.MonkeyPatch) -> str:
    """The template's queue of the log relay's tasks by its URL, beside the sockets' own URL."""
    url = resources.make_queue(uuid.uuid4().hex)
    aws.setenv("GATEHOUSE_RELAY_QUEUE", url)
    aws.setenv("GATEHOUSE_SOCKETS", "https://ws12345678.execute-api.us-east-1.amazonaws.com/live")
    return url


@pytest.fixture(scope="module")
def front(stack: Tables) -> Front:
    """The front door, its functions loaded as they are first needed."""
    del stack
    return Front()


@pytest.fixture(scope="module")
def people(front: Front, stack: Tables) -> People:
    """Makes accounts, members and keys through the front door."""
    return People(front, stack)


@pytest.fixture
def tables(aws: pytest.MonkeyPatch, dynamo: MemoryDynamo) -> Iterator[Tables]:
    """Two empty tables for one test of the rooms."""
    made = resources.make_tables(dynamo, uuid.uuid4().hex)
    for name, value in made.items():
        aws.setenv(name, value)
    _forget_tables()
    yield connection.tables()
    for name in made.values():
        dynamo.drop_table(name)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    """Hold every function's clock."""
    watch = HeldClock()
    monkeypatch.setattr(clock, "now", watch)
    return watch


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note what would be slept instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """What the functions log, as it would reach CloudWatch."""
    written = io.StringIO()
    handler = logger.registered_handler
    real = handler.setStream(written)
    yield written
    handler.setStream(real)


@pytest.fixture
def line(stack: Tables) -> Iterator[Wire]:
    """The wire between the functions and their tables."""
    with wire(stack.main.client) as watching:
        yield watching


@pytest.fixture
def room_line(tables: Tables) -> Iterator[Wire]:
    """The wire between the rooms and one test's tables."""
    with wire(tables.main.client) as watching:
        yield watching

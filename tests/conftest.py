"""Fixtures of the tests of rooms and functions. A test uses only those that it names."""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import hypothesis
import pytest
from moto import backend_index, mock_aws
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
from support.actors.receivers import dialled, names  # noqa: F401 - fixtures for all tests
from support.aws import resources
from support.aws.api_gateway import Front
from support.aws.faults import Wire, wire
from support.aws.memory_dynamo import MemoryDynamo
from support.worlds.held_clock import HeldClock
from support.worlds.live_logs import live_logs, relay_arn  # noqa: F401 - fixtures for all tests
from support.worlds.workloads import workloads  # noqa: F401 - fixtures for all tests

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


# moto compares each request with the addresses of all services, in this order.
_USED = {"kms", "sqs", "logs", "lambda", "ecs", "cloudwatch", "resourcegroupstaggingapi"}
backend_index.backend_url_patterns.sort(key=lambda one: one[0] not in _USED)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Take out of the report of a test that passed what nobody reads: it is sent to a process."""
    report = yield
    if report.passed:
        report.sections.clear()
        report.keywords = {}
    return report


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
    messages.queues.cache_clear()
    health_checks._GROUPS.clear()  # noqa: SLF001
    _forget_tables()


def _no_tables() -> Any:
    raise AssertionError("a test that uses tables names the fixture that makes them")


@pytest.fixture(scope="module")
def aws() -> Iterator[pytest.MonkeyPatch]:
    """AWS for one test file: moto, except DynamoDB, which `dynamo` keeps in memory.

    The returned value can change the environment.
    """
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(connection, "client", _no_tables)
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
    """The template's two tables, for functions that are loaded after this."""
    for name, value in resources.make_tables(dynamo, uuid.uuid4().hex).items():
        aws.setenv(name, value)
    _forget_tables()
    return connection.tables()


@pytest.fixture(scope="module")
def settings_key(aws: pytest.MonkeyPatch) -> str:
    """The id of a KMS key like the template's; functions read it from their environment."""
    key = resources.make_settings_key()
    aws.setenv("GATEHOUSE_SETTINGS_KEY", key)
    return key


@pytest.fixture(scope="module")
def delivery_queue(aws: pytest.MonkeyPatch) -> str:
    """The URL of the fast lane's queue; functions read both lanes' from their environment."""
    messages.queues.cache_clear()
    url = resources.make_queue(uuid.uuid4().hex)
    aws.setenv("GATEHOUSE_DELIVERY_QUEUE", url)
    aws.setenv("GATEHOUSE_SLOW_DELIVERY_QUEUE", resources.make_queue(uuid.uuid4().hex))
    return url


@pytest.fixture(scope="module")
def relay_queue(aws: pytest.MonkeyPatch) -> str:
    """The URL of a queue of the log relay's tasks; sets the URL of the sockets, too."""
    url = resources.make_queue(uuid.uuid4().hex)
    aws.setenv("GATEHOUSE_RELAY_QUEUE", url)
    aws.setenv("GATEHOUSE_SOCKETS", "https://ws12345678.execute-api.us-east-1.amazonaws.com/live")
    return url


@pytest.fixture(scope="module")
def front(stack: Tables) -> Front:
    """Sends requests; loads each function when it is first needed."""
    del stack
    return Front()


@pytest.fixture(scope="module")
def people(front: Front, stack: Tables) -> People:
    """Creates accounts, members and keys by requests."""
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
def loopback_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow URLs of this machine, as on the local engine."""
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    monkeypatch.setenv("GATEHOUSE_OWN_HOSTS", "localhost:8080")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    """Replace the clock by one that stands still."""
    stopped = HeldClock()
    monkeypatch.setattr(clock, "now", stopped)
    return stopped


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the seconds of each sleep instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """The text that functions log."""
    written = io.StringIO()
    handler = logger.registered_handler
    real = handler.setStream(written)
    yield written
    handler.setStream(real)


@pytest.fixture
def kms(settings_key: str) -> Iterator[Wire]:
    """The calls to KMS."""
    del settings_key
    with wire(clients.kms(), service="kms") as watching:
        yield watching


@pytest.fixture
def line(stack: Tables) -> Iterator[Wire]:
    """The calls of functions to their tables."""
    with wire(stack.main.client) as watching:
        yield watching


@pytest.fixture
def room_line(tables: Tables) -> Iterator[Wire]:
    """The calls of rooms to the tables of one test."""
    with wire(tables.main.client) as watching:
        yield watching

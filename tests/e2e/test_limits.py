"""Rate limits, over HTTP and on the engine's table."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, open_tenant
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Table

CALLS = 200
LIMIT = 50


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_headers_count_down_and_the_429_is_in_the_surfaces_words(tenant: Tenant) -> None:
    key = tenant.make_key(rate_limit=2)["key"]

    first = tenant.stack.call("GET", "/v1/api-keys", key=key)
    assert first.headers["ratelimit-limit"] == "2"
    assert first.headers["ratelimit-remaining"] == "1"
    assert 29 <= int(first.headers["ratelimit-reset"]) <= 30
    assert tenant.stack.call("GET", "/v1/api-keys", key=key).headers["ratelimit-remaining"] == "0"
    bodies = {
        "/v1/api-keys": {"error": "Rate limit exceeded"},
        "/api/auth/keys": {"error": "Rate limit exceeded", "status": 429},
    }
    for path, body in bodies.items():
        refused = tenant.stack.call("GET", path, key=key)
        assert refused.status_code == 429
        assert refused.json() == body
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["ratelimit-remaining"] == "0"
    refused = tenant.stack.call("GET", "/admin/policy", key=key)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"


def test_parallel_calls_admit_the_limit_and_its_refill(tenant: Tenant) -> None:
    key = tenant.make_key(rate_limit=LIMIT)["key"]

    def call(_: int) -> int:
        return tenant.stack.call("GET", "/v1/whoami", key=key).status_code

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:  # each of them is two processes on the engine
        statuses = list(pool.map(call, range(CALLS)))
    elapsed = time.monotonic() - began
    admitted = statuses.count(200)

    assert set(statuses) == {200, 429}
    assert LIMIT <= admitted <= LIMIT + math.ceil(elapsed * LIMIT / 60)


def test_with_the_clock_held_exactly_the_limit_passes(tenant: Tenant) -> None:
    """The authorizer's own action on the engine's table, four environments, sixteen threads."""
    key = tenant.make_key(rate_limit=LIMIT)["key"]
    client = tenant.stack.client("dynamodb")
    table = Table(tenant.stack.outputs["KeysTableName"], client)
    memories = [credentials.Memory() for _ in range(4)]
    now = time.time_ns() // 1000

    def admit(number: int) -> Code:
        return credentials.admit(table, key, memories[number % 4], now).code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(admit, range(CALLS)))
    assert codes.count(Code.VALID) == LIMIT
    assert codes.count(Code.RATE_LIMITED) == CALLS - LIMIT


def test_a_raised_limit_lets_the_next_request_through_within_its_interval(tenant: Tenant) -> None:
    made = tenant.make_key(rate_limit=1)
    path = f"/v1/api-keys/{made['id']}"
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 200
    refused = tenant.stack.call("GET", "/v1/whoami", key=made["key"])
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 50

    assert tenant.call("PATCH", path, json={"rate_limit": 100}).status_code == 200
    deadline = time.monotonic() + 10
    while tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)

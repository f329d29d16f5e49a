"""Rate limits on the deployed stack: over HTTP, and exact on the engine's table."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code
from support.actors.deployed_tenant import Tenant, open_tenant
from support.worlds.deployed_stack import Deployed


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_headers_count_down_and_each_surface_answers_429_in_its_own_body(tenant: Tenant) -> None:
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
        assert refused.json().items() >= body.items()
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["ratelimit-remaining"] == "0"
    refused = tenant.stack.call("GET", "/admin/policy", key=key)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"


def test_parallel_requests_pass_up_to_the_limit_and_its_refill(tenant: Tenant) -> None:
    limit = 20
    key = tenant.make_key(rate_limit=limit)["key"]

    def call(_: int) -> int:
        return tenant.stack.call("GET", "/v1/whoami", key=key).status_code

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:  # each request in flight is two processes on the engine
        statuses = list(pool.map(call, range(3 * limit)))
    elapsed = time.monotonic() - began
    admitted = statuses.count(200)

    assert set(statuses) == {200, 429}
    assert limit <= admitted <= limit + math.ceil(elapsed * limit / 60)


def test_at_one_moment_exactly_the_limit_passes(tenant: Tenant) -> None:
    """The authorizer's own action on the engine's table: four environments, sixteen threads."""
    calls, limit = 200, 50
    key = tenant.make_key(rate_limit=limit)["key"]
    table = tenant.stack.room_table("KeysTableName")
    memories = [credentials.Memory() for _ in range(4)]
    now = time.time_ns() // 1000

    def admit(number: int) -> Code:
        return credentials.admit(table, key, memories[number % 4], now).code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(admit, range(calls)))
    assert codes.count(Code.VALID) == limit
    assert codes.count(Code.RATE_LIMITED) == calls - limit


def test_a_raised_limit_lets_the_next_request_through_within_seconds(tenant: Tenant) -> None:
    made = tenant.make_key(rate_limit=1)
    path = f"/v1/api-keys/{made['id']}"
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 200
    refused = tenant.stack.call("GET", "/v1/whoami", key=made["key"])
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 30

    assert tenant.call("PATCH", path, json={"rate_limit": 100}).status_code == 200
    deadline = time.monotonic() + 10
    while tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.2)

"""The rate limit of a key: exact, in headers, and 429 in the surface's format."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from gatehouse.core.principal import Principal
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import ARN, Front
from support.aws.faults import wire
from support.aws.invocation import Context, load
from support.worlds.held_clock import HeldClock

LIMITED = [
    ("GET", "/api/auth/keys", {"error": "Rate limit exceeded", "status": 429}),
    ("GET", "/v1/whoami", {"error": "Rate limit exceeded"}),
    ("POST", "/v1/keys/verify", {"error": "Rate limit exceeded"}),
    ("GET", "/admin/policy", None),
]


@pytest.fixture
def admin(people: People, held: HeldClock) -> Holder:
    del held
    return people.tenant()


def test_every_answer_has_the_rate_limit_headers(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.key(admin, rate_limit=4)  # one request in 15 s
    headers = []
    for path in ("/v1/whoami", "/api/auth/keys", "/admin/policy", "/v1/api-keys"):
        answer = front("GET", path, key=key.key)
        assert answer.status == 200
        names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
        headers.append(tuple(answer.headers[name] for name in names))
    assert headers == [
        ("4", "3", "15"),
        ("4", "2", "30"),
        ("4", "1", "45"),
        ("4", "0", "60"),
    ]
    held.advance(seconds=14.2)
    refused = front("GET", "/v1/whoami", key=key.key)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1", "0.8 s, rounded up"
    assert refused.headers["ratelimit-remaining"] == "0"
    assert refused.headers["ratelimit-reset"] == "46"
    held.advance(seconds=0.8)
    assert front("GET", "/v1/whoami", key=key.key).status == 200
    assert front("GET", "/v1/whoami", key=key.key).headers["retry-after"] == "15"


@pytest.mark.parametrize(("method", "path", "body"), LIMITED)
def test_over_the_limit_is_429_in_each_surfaces_format(
    front: Front, people: People, admin: Holder, method: str, path: str, body: dict | None
) -> None:
    key = people.key(admin, rate_limit=1)
    assert front("GET", "/v1/whoami", key=key.key).status == 200
    refused = front(method, path, key=key.key, body={"key": "x"} if method == "POST" else None)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "60"
    if body is not None:
        assert refused.json().items() >= body.items()
    else:
        assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"


def test_errors_have_the_rate_limit_headers_too(
    front: Front, people: People, admin: Holder
) -> None:
    key = people.key(admin, rate_limit=50, scopes=[])
    for method, path in (
        ("GET", "/v1/api-keys"),
        ("DELETE", "/v1/api-keys/x"),
        ("GET", "/admin/policy"),
    ):
        answer = front(method, path, key=key.key)
        assert answer.status == 403
        assert answer.headers["ratelimit-limit"] == "50"


def test_refused_requests_are_not_counted(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.key(admin, rate_limit=1)
    assert front("GET", "/v1/whoami", key=key.key).status == 200
    for _ in range(20):
        held.advance(seconds=2.9)
        assert front("GET", "/v1/whoami", key=key.key).status == 429
    held.advance(seconds=2)
    assert front("GET", "/v1/whoami", key=key.key).status == 200


def _event(key: str) -> dict:
    return {
        "methodArn": f"{ARN}/GET/v1/whoami",
        "headers": {"authorization": f"Bearer {key}"},
        "requestContext": {"requestId": "r"},
    }


def _admitted(answer: dict) -> bool:
    return not Principal.from_context(answer["context"]).limit_state.exceeded


def test_of_200_parallel_calls_a_limit_of_50_admits_50(
    people: People,
    admin: Holder,
    held: HeldClock,
) -> None:
    """Eight environments in eight threads; the engine's suite does it with processes."""
    key = people.key(admin, rate_limit=50)
    environments = [load("authorizer") for _ in range(8)]

    def run(environment: ModuleType) -> int:
        event = _event(key.key)
        return sum(_admitted(environment.handler(event, Context())) for _ in range(25))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, environments)) == 50
    held.advance(seconds=60)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, environments)) == 50


@pytest.mark.parametrize("seed", range(4))
def test_many_environments_stay_exact_in_at_most_two_calls_each(
    people: People, admin: Holder, stack: Tables, held: HeldClock, seed: int
) -> None:
    """Their clocks differ by up to 40 ms, like those of real machines."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    limit = chance.choice([1, 2, 7, 60])
    key = people.key(admin, rate_limit=limit)
    environments = [load("authorizer") for _ in range(4)]
    admitted: list[int] = []
    truth = held.at
    with wire(stack.keys.client) as line:
        for _ in range(150):
            truth += chance.choice([0, 1, 20_000, 60_000_000 // limit, 61_000_000])
            held.at = truth + chance.randint(0, 40_000)
            line.clear()
            if _admitted(chance.choice(environments).handler(_event(key.key), Context())):
                admitted.append(truth)
            assert 1 <= len(line.calls) <= 2
    skew = 40_000
    for start in range(len(admitted)):
        for end in range(start, len(admitted)):
            span = admitted[end] - admitted[start] + skew
            assert end - start + 1 <= limit + span * limit / 60_000_000 + 1e-9

"""Services: names, tags, when to refresh, and the cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import BadInput
from gatehouse.dynamo.table import Table, Tables
from gatehouse.secrets.model import Place, Purpose
from gatehouse.services import removal, rules, store
from gatehouse.services.model import (
    HealthCheck,
    Kind,
    Service,
    ServiceStatus,
    TaggedResource,
)

NOW = 1_790_000_000 * SECOND
ACCOUNT = "0190a3c4-7d52-7b1e-9c1e-000000000001"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:fn"
CONTAINER = "arn:aws:ecs:us-east-1:123456789012:service/main/web"


def http(name: str, *, at: int = 1) -> Service:
    url = f"https://{name}.example/health"
    return Service(name, ACCOUNT, Kind.HTTP, health_url=url, created_at=at)


def fn(name: str) -> Service:
    return Service(name, ACCOUNT, Kind.LAMBDA, arn=f"{FUNCTION}-{name}")


def well(*, seconds_ago: int = 0, **fields: object) -> HealthCheck:
    health = HealthCheck(
        ServiceStatus.RUNNING, listening=True, checked_at=NOW - seconds_ago * SECOND
    )
    return replace(health, **fields)  # type: ignore[arg-type]


@given(st.text(max_size=80))
def test_a_service_name_has_letters_digits_and_inner_hyphens(text: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    good = (
        0 < len(text) <= 64
        and set(text) <= allowed
        and not text.startswith("-")
        and not text.endswith("-")
        and text not in {"list", "metrics"}
    )
    assert rules.is_name(text) is good
    if not good:
        with pytest.raises(BadInput, match="Invalid service name"):
            rules.check_name(text)


@pytest.mark.parametrize("text", ["/app/x", "a", "a.b_c-d#1/E"])
def test_valid_log_group_names_are_accepted(text: str) -> None:
    assert rules.check_log_group(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a:*", "*", "x" * 513, "ä", "a\n"])
def test_invalid_log_group_names_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="logGroup"):
        rules.check_log_group(text)


@pytest.mark.parametrize(
    ("arn", "tags", "expected"),
    [
        (FUNCTION, {"gatehouse:service": "orders"}, ("orders", Kind.LAMBDA, "", True)),
        (FUNCTION, {"gatehouse:service": " Orders "}, ("orders", Kind.LAMBDA, "", True)),
        (
            FUNCTION,
            {"gatehouse:service": "orders", "gatehouse:alias": "live", "gatehouse:logs": "off"},
            ("orders", Kind.LAMBDA, "live", False),
        ),
        (CONTAINER, {"gatehouse:service": "web"}, ("web", Kind.ECS, "", True)),
        (FUNCTION, {}, None),
        (FUNCTION, {"gatehouse:service": ""}, None),
        (FUNCTION, {"gatehouse:service": "a b"}, None),
        (FUNCTION, {"gatehouse:service": "list"}, None),
        (f"{FUNCTION}:7", {"gatehouse:service": "a"}, None),
        ("arn:aws:ecs:us-east-1:123456789012:service/web", {"gatehouse:service": "a"}, None),
        ("arn:aws:ecs:us-east-1:123456789012:cluster/main", {"gatehouse:service": "a"}, None),
        ("arn:aws:s3:::bucket", {"gatehouse:service": "a"}, None),
        ("nonsense", {"gatehouse:service": "a"}, None),
    ],
)
def test_a_service_is_found_by_its_tags(
    arn: str, tags: dict[str, str], expected: tuple[object, ...] | None
) -> None:
    found = [
        (one.name, one.kind, one.alias, one.logs)
        for one in rules.services_of([TaggedResource(arn, tags)], account_id=ACCOUNT)
    ]
    assert found == ([] if expected is None else [expected])


def test_the_secret_of_a_restart_hook_is_bound_to_the_hooks_origin() -> None:
    hook = "https://a.example:8443/restart?x=1"
    service = Service("billing", "a1", Kind.HTTP, health_url="https://b.example", restart_url=hook)
    place = removal.secret_place(service)
    assert place == Place(Purpose.SERVICE, "a1", "billing", "https://a.example:8443")
    other = replace(service, restart_url="https://a.example/restart?x=1")
    assert removal.secret_place(other) != place


def test_of_resources_with_one_name_the_first_arn_is_the_service() -> None:
    tags = {"gatehouse:service": "orders"}
    several = [TaggedResource(f"{FUNCTION}-{end}", tags) for end in ("b", "a", "c")]
    (one,) = rules.services_of(several, account_id=ACCOUNT)
    assert one.arn == f"{FUNCTION}-a"


def test_a_registered_service_hides_a_found_one_with_its_name() -> None:
    both = rules.merge([http("b"), http("d")], [fn("b"), fn("a")])
    assert [(one.name, one.kind) for one in both] == [
        ("a", Kind.LAMBDA),
        ("b", Kind.HTTP),
        ("d", Kind.HTTP),
    ]


def test_a_health_check_is_fresh_for_half_a_minute() -> None:
    assert not rules.is_stale(well(seconds_ago=30), NOW)
    assert rules.is_stale(well(seconds_ago=31), NOW)
    assert rules.is_stale(None, NOW)
    assert rules.is_search_due(0, NOW)
    assert not rules.is_search_due(NOW - 30 * SECOND, NOW)


def test_slow_services_are_checked_last() -> None:
    services = [http(name) for name in ("fresh", "silent", "old", "new", "older")]
    known = {
        "fresh": well(seconds_ago=5),
        "silent": well(seconds_ago=900, status=ServiceStatus.DEGRADED, listening=False),
        "old": well(seconds_ago=60),
        "older": well(seconds_ago=90),
    }
    order = [one.name for one in rules.due_checks(services, known, now=NOW)]
    assert order == ["new", "older", "old", "silent"]


def test_functions_checked_longest_ago_are_read_first() -> None:
    functions = [fn(f"f-{number:03}") for number in range(200)]
    known = {one.name: well(seconds_ago=31 + n) for n, one in enumerate(functions)}
    chosen = rules.due_checks([*functions, http("x")], known, now=NOW)
    assert {one.name for one in chosen} == {"x", *(f"f-{n:03}" for n in range(110, 200))}


def test_outdated_health_is_not_shown_as_running() -> None:
    assert rules.with_health(http("x"), None, now=NOW).health == rules.UNCHECKED
    assert (
        rules.with_health(http("x"), well(seconds_ago=300), now=NOW).health.status
        is ServiceStatus.RUNNING
    )
    old = rules.with_health(http("x"), well(seconds_ago=420, log_group="/g"), now=NOW).health
    assert (old.status, old.detail) == (ServiceStatus.DEGRADED, "Not checked for 7 minutes")
    assert (old.log_group, old.checked_at) == ("/g", NOW - 7 * MINUTE)
    stopped = well(seconds_ago=900, status=ServiceStatus.STOPPED)
    assert rules.with_health(http("x"), stopped, now=NOW).health == stopped


def test_the_audit_trail_leaves_out_a_url_s_query() -> None:
    service = replace(http("x"), restart_url="https://x.example/restart?token=abc#y")
    view = rules.audit_view(service)
    assert view["restart_url"] == "https://x.example/restart"
    assert view["health_url"] == "https://x.example/health"


def leased(
    table: Table, what: str, *, holder: str, now: int, seen: store.ServiceCache | None = None
) -> bool:
    seen = seen or store.read_cache(table, ACCOUNT)
    return store.take_lease(table, ACCOUNT, what, seen=seen, holder=holder, now=now)


def test_found_services_and_their_health_are_read_as_written(tables: Tables) -> None:
    table = tables.main
    assert store.read_cache(table, ACCOUNT) == store.ServiceCache(health={})
    found = (replace(fn("a"), alias="live", logs=False), replace(fn("b"), kind=Kind.ECS))
    health = {"a": (found[0].origin, well(latency_ms=3, log_group="/g", detail="ok"))}
    assert leased(table, store.FOUND, holder="h", now=NOW)
    assert leased(table, store.HEALTH, holder="h", now=NOW)
    store.save_found(table, ACCOUNT, found, holder="h", now=NOW)
    store.save_health(table, ACCOUNT, health, holder="h")
    kept = store.read_cache(table, ACCOUNT)
    assert (kept.found, kept.found_at) == (found, NOW)
    assert kept.health_of(found) == {"a": health["a"][1]}
    assert kept.health_of([fn("a"), http("a")]) == {"a": health["a"][1]}
    assert kept.health_of([http("a")]) == {}, "another service with this name"


def test_only_the_holder_of_the_lease_refreshes_the_cache(tables: Tables) -> None:
    table = tables.main
    assert leased(table, store.FOUND, holder="one", now=NOW)
    assert not leased(table, store.FOUND, holder="two", now=NOW + 3 * SECOND)
    assert leased(table, store.HEALTH, holder="two", now=NOW), "another lease"
    later = NOW + 3 * SECOND + 1
    assert leased(table, store.FOUND, holder="two", now=later), "the lease expired"
    store.save_found(table, ACCOUNT, [fn("late")], holder="one", now=NOW)
    assert store.read_cache(table, ACCOUNT).found == (), "a former holder writes nothing"
    before = store.read_cache(table, ACCOUNT)
    store.save_found(table, ACCOUNT, [fn("a")], holder="two", now=later)
    assert store.read_cache(table, ACCOUNT).found == (fn("a"),)
    assert not leased(table, store.FOUND, holder="three", now=later, seen=before), (
        "the cache changed since it was read"
    )
    assert leased(table, store.FOUND, holder="three", now=later), "the lease was released"


def test_health_of_500_services_fits_in_40_kilobytes(tables: Tables) -> None:
    table = tables.main
    services = [http(f"service-with-a-rather-long-name-{n:03}") for n in range(500)]
    health = {
        one.name: (one.origin, well(latency_ms=n, detail="Answered 503" if n % 3 else ""))
        for n, one in enumerate(services)
    }
    assert leased(table, store.HEALTH, holder="h", now=NOW)
    store.save_health(table, ACCOUNT, health, holder="h")
    (item,) = table.query_all(f"SERVICE#{ACCOUNT}#KEPT")
    assert len(item["body"]) < 40_000
    assert len(store.read_cache(table, ACCOUNT).health_of(services)) == 500

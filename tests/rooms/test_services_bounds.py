"""Services at the exact bounds: names, tags, due checks and audit views."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.services import rules
from gatehouse.services.model import (
    CheckedService,
    HealthCheck,
    Kind,
    Service,
    ServiceStatus,
    TaggedResource,
)

RUNNING, DEGRADED = ServiceStatus.RUNNING, ServiceStatus.DEGRADED
SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_790_000_000 * SECOND
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:fn"
CONTAINER = "arn:aws:ecs:us-east-1:123456789012:service/main/web"
URL = "https://x.example/health"
HTTP = Service("x", "a1", Kind.HTTP, health_url=URL, created_at=1)


def checked(age: int, *, status: ServiceStatus = RUNNING, listening: bool = True) -> HealthCheck:
    return HealthCheck(status, listening=listening, checked_at=NOW - age)


# ---- Names and tags ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 64, "lists", "metric"])
def test_valid_names_are_returned(name: str) -> None:
    assert rules.check_name(name) == name


@pytest.mark.parametrize("name", ["", "-", "a-", "-a", "a" * 65, "A", "list", "metrics", "a\n"])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_name(name)
    assert (str(refused.value), refused.value.details) == (
        "Invalid service name",
        {"field": "name"},
    )


def test_a_log_group_has_at_most_512_characters() -> None:
    assert rules.check_log_group("x" * 512) == "x" * 512
    with pytest.raises(BadInput) as refused:
        rules.check_log_group("x" * 513)
    assert str(refused.value) == (
        "logGroup must be the name of a log group: 1 to 512 of letters, digits and _/.#-"
    )
    assert refused.value.details == {"field": "logGroup"}


def test_a_restart_hook_secret_has_32_bytes_and_a_prefix() -> None:
    assert rules.SECRET_BYTES == 32
    assert rules.secret_text(b"\x00\xff\xfe") == "whsec_AP/+"


def test_services_found_by_tag_have_all_fields_and_are_sorted_by_name() -> None:
    tagged = [
        TaggedResource(f"{FUNCTION}-1", {"gatehouse:service": "web", "gatehouse:logs": " OFF "}),
        TaggedResource(f"{FUNCTION}-2", {"gatehouse:service": "Api", "gatehouse:alias": " Live "}),
        TaggedResource(CONTAINER, {"gatehouse:service": "mid", "gatehouse:logs": "on"}),
    ]

    assert rules.services_of(tagged, account_id="a1") == [
        Service("api", "a1", Kind.LAMBDA, arn=f"{FUNCTION}-2", alias="Live"),
        Service("mid", "a1", Kind.ECS, arn=CONTAINER),
        Service("web", "a1", Kind.LAMBDA, arn=f"{FUNCTION}-1", logs=False),
    ]


@pytest.mark.parametrize(
    "arn",
    [
        *("x:function:fn", "arn:function:f n", "arn:function:", "arn:aws:lambda:fn"),
        *(f"{CONTAINER}/more", "arn:aws:ecs:eu:1:service//web", "arn:aws:eks:eu:1:service/a/b"),
    ],
)
def test_other_arns_are_not_services(arn: str) -> None:
    assert (
        rules.services_of([TaggedResource(arn, {"gatehouse:service": "a"})], account_id="a") == []
    )


# ---- Which checks are due ----------------------------------------------------------------------


@pytest.mark.parametrize(("age", "old"), [(30 * SECOND, False), (30 * SECOND + 1, True)])
def test_a_check_and_a_search_are_too_old_after_30_seconds(age: int, *, old: bool) -> None:
    assert rules.is_stale(checked(age), NOW) is old
    assert rules.is_search_due(NOW - age, NOW) is old
    assert rules.due_checks([HTTP], {"x": checked(age)}, now=NOW) == [HTTP] * old


@pytest.mark.parametrize(
    ("health", "shown"),
    [
        (None, HealthCheck(DEGRADED, listening=False, detail="Not checked yet")),
        (checked(5 * MINUTE), checked(5 * MINUTE)),
        (
            replace(checked(5 * MINUTE + 1), log_group="/g", latency_ms=7, detail="slow"),
            HealthCheck(
                DEGRADED,
                listening=False,
                detail="Not checked for 5 minutes",
                log_group="/g",
                checked_at=NOW - 5 * MINUTE - 1,
            ),
        ),
        (
            checked(6 * MINUTE),
            replace(
                checked(6 * MINUTE, status=DEGRADED, listening=False),
                detail="Not checked for 6 minutes",
            ),
        ),
        (checked(6 * MINUTE, status=DEGRADED), checked(6 * MINUTE, status=DEGRADED)),
    ],
)
def test_running_is_shown_for_five_minutes(health: HealthCheck | None, shown: HealthCheck) -> None:
    assert rules.with_health(HTTP, health, now=NOW) == CheckedService(HTTP, shown)
    if health is not None:
        assert rules.is_forgotten(health, NOW) is (health.checked_at < NOW - 5 * MINUTE)


@pytest.mark.parametrize("names", [("unchecked", "at_zero"), ("at_zero", "unchecked")])
def test_a_service_never_checked_is_as_old_as_a_check_at_time_zero(names: tuple[str, str]) -> None:
    services = [replace(HTTP, name=name) for name in (*names, "silent")]
    known = {"at_zero": checked(NOW), "silent": checked(NOW, listening=False)}

    found = rules.due_checks(reversed(services), known, now=NOW)

    assert [one.name for one in found] == [*reversed(names), "silent"]


def test_at_most_90_functions_are_checked_and_silent_ones_by_age_too() -> None:
    functions = [
        Service(f"f{number}", "a", Kind.LAMBDA, arn=f"{FUNCTION}{number}") for number in range(91)
    ]
    known = {one.name: checked(MINUTE) for one in functions}
    known["f5"] = checked(MINUTE - 1)
    known["f6"] = checked(MINUTE + 1, listening=False)

    assert rules.due_checks(functions[:5] + functions[6:], known, now=NOW)[-1].name == "f6"
    assert {one.name for one in rules.due_checks(functions, known, now=NOW)} == {
        one.name for one in functions
    } - {"f5"}


def test_pieces_of_a_list_have_at_most_the_given_size() -> None:
    services = [replace(HTTP, name=name) for name in "abc"]

    assert rules.chunks(services, 2) == [services[:2], services[2:]]
    assert rules.chunks(services, 3) == [services]
    assert rules.chunks([], 3) == []


# ---- The audit trail ---------------------------------------------------------------------------


def test_audit_events_show_a_registered_service_without_queries() -> None:
    full = replace(
        HTTP,
        health_url=f"{URL}?token=1",
        restart_url="https://x.example/restart?token=2#y",
        log_group="/g",
    )

    assert rules.target(full) == "service:x"
    assert rules.audit_view(full) == {
        "name": "x",
        "kind": "http",
        "health_url": URL,
        "restart_url": "https://x.example/restart",
        "log_group": "/g",
        "created_by": HTTP.maker.created_by,
        "created_by_key": HTTP.maker.created_by_key,
    }
    assert rules.audit_view(replace(HTTP, health_url="")) == {
        "name": "x",
        "kind": "http",
        "health_url": "",
        "restart_url": None,
        "log_group": None,
        "created_by": HTTP.maker.created_by,
        "created_by_key": HTTP.maker.created_by_key,
    }

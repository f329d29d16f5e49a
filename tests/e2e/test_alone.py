"""Tests that need the deployed stack alone: they change it for everybody, or need it silent.

The viewers of all logs are opened early: a new filter is polled for a minute before it counts as
proven, and most tests of this file run in that time. The silent minute comes last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.actors.deployed_function import listed, until
from support.actors.deployed_members import invite, redeem
from support.actors.deployed_tenant import Tenant, open_tenant, the_operator
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Hold
from support.actors.log_viewer import Viewer, upgrade_status
from support.actors.operator_commands import gatehouse
from support.actors.providers_keys import KEY, OPENAI, encrypted_items, put, read, stored_item
from support.actors.signers import proven
from support.checks.pasted_commands import check_page, pages_to_run, restarts_a_function
from support.worlds.deployed_stack import Deployed

pytestmark = pytest.mark.alone

POLLED_FOR = 75.0  # seconds until a new filter is proven and its last catch-up is done
SETTLED = 20.0  # seconds until the polls that follow a filter's first line have ended
MINUTE = 60.0
VARIABLE = "HAMMURABI_SETTINGS_ENCRYPTION_KEY"
ONE, TEXT = "ab" * 32, "a text of some length"


@dataclass(frozen=True)
class Watched:
    """Viewers of the logs of all functions that have live logs, and since when."""

    viewers: list[Viewer]
    since: float


@pytest.fixture(scope="module")
def operator(stack: Deployed) -> Tenant:
    return the_operator(stack)


@pytest.fixture(scope="module")
def watched(stack: Deployed, operator: Tenant) -> Iterator[Watched]:
    delete_webhooks(operator)
    with ExitStack() as closing:
        # Each socket makes the authorizer write a line, so the authorizer's own viewer goes first.
        names = sorted(
            (name for name in listed(operator) if name.startswith("gatehouse-")),
            key=lambda name: name != "gatehouse-authorizer",
        )
        viewers = [
            closing.enter_context(Viewer(stack, name, lines=0)).wait_for_backlog()
            for name in names
            if upgrade_status(stack, name, key=stack.admin_key) == 101
        ]
        drop_retries(stack)
        yield Watched(viewers, time.monotonic())


def delete_webhooks(operator: Tenant) -> None:
    """Delete the webhooks of the documentation's commands, since nothing listens there.

    Their open deliveries end in the seconds after; a later retry would break the silent minute.
    """
    for webhook in operator.call("GET", "/admin/webhooks").json()["data"]:
        operator.call("DELETE", f"/admin/webhooks/{webhook['id']}")


def drop_retries(stack: Deployed) -> None:
    """Purge the queue of deliveries: what is left in it are retries of ended deliveries."""
    queue = stack.client("cloudformation").describe_stack_resource(
        StackName="gatehouse", LogicalResourceId="DeliveryQueue"
    )["StackResourceDetail"]["PhysicalResourceId"]
    sqs = stack.client("sqs")
    url = queue if "/" in queue else sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    sqs.purge_queue(QueueUrl=url)


# ---- Restarts of the stack's own functions -----------------------------------------------------


def test_a_function_of_the_stack_itself_can_be_restarted(operator: Tenant) -> None:
    path = "/api/services/gatehouse-keys-services/restart"
    # A busy engine may be silent for longer than a caller waits; a 503 says to try again.
    answers = (operator.call("POST", path) for _ in range(4))
    done = next(one for one in answers if one.status_code != 503)
    assert done.status_code == 200, done.text
    assert done.json()["state"] == "done"
    assert operator.call("GET", "/api/auth/keys").status_code == 200


@pytest.mark.parametrize(
    "page",
    [page for page in pages_to_run() if restarts_a_function(page)],
    ids=lambda page: page.stem,
)
def test_the_blocks_of_a_page_with_a_restart_work_in_order(
    stack: Deployed, page: Path, tmp_path: Path
) -> None:
    check_page(stack, page, tmp_path)


# ---- Wrong invite codes ------------------------------------------------------------------------


@pytest.fixture
def forgotten_guesses(stack: Deployed) -> Iterator[None]:
    """Delete the counters of wrong codes afterwards: all tests have one source address."""
    yield
    for address in ("127.0.0.1", "*"):
        stack.table("MainTableName").delete_item(Key={"pk": f"GUESSES#{address}", "sk": "GUESSES"})


@pytest.mark.usefixtures("watched", "forgotten_guesses")
def test_after_five_wrong_codes_even_the_right_one_is_429(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    made, long = invite(tenant), invite(tenant, long=True)
    assert redeem(stack, "not a code").status_code == 404
    statuses = [redeem(stack, f"{number:08x}").status_code for number in range(6)]

    assert statuses[-1] == 429
    assert set(statuses) <= {404, 429}
    refused = redeem(stack, made["code"])
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert int(refused.headers["retry-after"]) > 0
    # Long codes cannot be guessed and are not counted, nor is a text that is not a code.
    assert redeem(stack, "not a code").status_code == 404
    assert redeem(stack, long["code"]).status_code == 201


# ---- A list of two hundred services ------------------------------------------------------------


@pytest.mark.usefixtures("watched")
def test_two_hundred_services_are_listed_in_a_second(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    with Receiver() as up, Receiver() as slow:
        slow.on("/health", Hold())
        register_directly(tenant, {f"s-{number:03}": up.url("/health") for number in range(190)})
        register_directly(tenant, {f"t-{number:03}": slow.url("/health") for number in range(10)})
        until(lambda: all(v["lastChecked"] for v in listed(tenant).values()), "all are checked")
        views, cached = timed_list(tenant)
        checks = len(up.requests())
        assert timed_list(tenant)[0] == views
        assert len(up.requests()) == checks, "a check is used for 30 seconds"
        checked = []
        for _ in range(3):
            forget_checks(tenant)
            views, took = timed_list(tenant)
            checked.append(took)
        slow.release()
    assert len(views) == 200
    statuses = {name: view["status"] for name, view in views.items()}
    assert {statuses[name] for name in statuses if name.startswith("s-")} == {"running"}
    assert {statuses[name] for name in statuses if name.startswith("t-")} == {"degraded"}
    assert cached < 1.0, cached
    # 0.8 s of it is the wait for the slow ones; the rest allows for a busy machine.
    assert min(checked) < 2.0, checked


def timed_list(tenant: Tenant) -> tuple[dict[str, dict[str, Any]], float]:
    began = time.monotonic()
    views = listed(tenant)
    return views, time.monotonic() - began


def forget_checks(tenant: Tenant) -> None:
    """Delete the results of the account's checks, as if they were older than 30 seconds."""
    tenant.stack.table("MainTableName").delete_item(
        Key={"pk": f"SERVICE#{tenant.account_id}#KEPT", "sk": "HEALTH"}
    )


def register_directly(tenant: Tenant, urls: dict[str, str]) -> None:
    """Write registrations as the room does: two hundred requests would take too long."""
    with tenant.stack.table("MainTableName").batch_writer() as batch:
        for name, url in urls.items():
            batch.put_item(
                {
                    "pk": f"SERVICE#{tenant.account_id}",
                    "sk": name,
                    "health_url": url,
                    "restart_url": "",
                    "log_group": "",
                    "created_at": time.time_ns() // 1000,
                    "created_by": f"identity:{tenant.identity_id}",
                    "created_by_key": f"api_key:{tenant.key_id}",
                }
            )


# ---- A settings key of one's own ---------------------------------------------------------------


@pytest.fixture
def set_key(stack: Deployed) -> Iterator[Callable[..., None]]:
    """Set both variables of each function that encrypts; at the end neither is set."""
    client = stack.client("lambda")
    functions = [
        one
        for page in client.get_paginator("list_functions").paginate()
        for one in page["Functions"]
        if VARIABLE in one.get("Environment", {}).get("Variables", {})
    ]
    assert len(functions) >= 4

    def set_to(current: str, previous: str = "") -> None:
        values = {VARIABLE: current, f"{VARIABLE}_PREVIOUS": previous}
        for one in functions:
            variables: Mapping[str, str] = one["Environment"]["Variables"] | values
            client.update_function_configuration(
                FunctionName=one["FunctionName"], Environment={"Variables": variables}
            )

    yield set_to
    set_to("")


@pytest.mark.usefixtures("watched")
def test_secrets_follow_a_settings_key_of_one_s_own(
    stack: Deployed, set_key: Callable[..., None]
) -> None:
    """From KMS to one key, to another and back; a missing or malformed key breaks nothing."""
    tenant = open_tenant(stack)
    made = tenant.call(
        "POST", "/federation/trust", json={"name": "peer", "endpoint": "https://peer.example/in"}
    )
    peer = made.json()["data"]
    put(tenant)

    def rewrap() -> int:
        done = gatehouse(stack, "secrets", "rewrap")
        assert (done.exit_code, done.stderr.count("\n")) == (0, 1), "it names the stack"
        return int(done.stdout.split()[0])

    set_key(TEXT)
    assert put(tenant, OPENAI).status_code == 204
    assert len(wrapped_by(stack)) == 2, "what KMS wrapped stays so until the command runs"
    check_secrets(tenant, peer)
    assert rewrap() >= 2
    assert rewrap() == 0
    (by_text,) = wrapped_by(stack)
    assert by_text.startswith("env:")
    check_secrets(tenant, peer)

    before = stored_item(tenant, "provider#anthropic")
    for current, text in (("", "wrapped by another key"), ("too short", "must be 64")):
        set_key(current)
        refused = put(tenant, value="another")
        assert refused.status_code == 500
        assert VARIABLE in refused.json()["error"]
        assert text in refused.json()["error"]
        reading = gatehouse(stack, "secrets", "get", tenant.account_id, "provider/anthropic")
        assert (reading.exit_code, reading.stdout) == (1, "")
        assert VARIABLE in reading.stderr
    failed = gatehouse(stack, "secrets", "rewrap")
    assert (failed.exit_code, failed.stderr.count("Error: ")) == (1, 1)
    assert f"{VARIABLE} must be" in failed.stderr
    assert stored_item(tenant, "provider#anthropic") == before

    set_key(ONE, TEXT)
    assert rewrap() >= 2
    (by_one,) = wrapped_by(stack)
    assert by_one not in {by_text, "kms"}
    check_secrets(tenant, peer)
    set_key("", ONE)
    assert rewrap() >= 2
    assert wrapped_by(stack) == {"kms"}
    set_key("")
    check_secrets(tenant, peer)

    rewraps = [one for one in tenant.events() if one["action"] == "secret.rewrap"]
    assert {one["actor"] for one in rewraps} == {"system:rewrap"}
    assert {one["target"].partition("/")[0] for one in rewraps} == {
        "secret:peer",
        "secret:provider",
        "secret:transcription",
    }


def wrapped_by(stack: Deployed) -> set[str]:
    """Name the keys that wrap the stored secrets: `kms`, or a fingerprint of one's own key."""
    return {one.get("wrapped_by", {"S": "kms"})["S"] for one in encrypted_items(stack)}


def check_secrets(tenant: Tenant, peer: Mapping[str, Any]) -> None:
    """Read both providers' keys, and receive a signal of the peer."""
    assert read(tenant, "provider/anthropic") == read(tenant, "transcription/openai") == KEY
    body, headers = proven(dict(peer))
    received = tenant.stack.call(
        "POST",
        "/federation/inbound",
        content=body,
        headers=headers | {"Content-Type": "application/json"},
    )
    assert received.status_code == 201, received.text


# ---- A silent minute ---------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_the_relay_is_not_invoked_in_a_minute_without_lines(
    stack: Deployed, watched: Watched
) -> None:
    assert len(watched.viewers) >= 15
    time.sleep(max(0.0, watched.since + POLLED_FOR - time.monotonic()))
    wait_until_settled(watched.viewers)
    assert calls_in_a_silent_minute(stack, watched.viewers) == []


def wait_until_settled(viewers: list[Viewer]) -> None:
    """Wait until no line has come for some seconds: a filter's first line is followed by polls."""
    lines, since = count_lines(viewers), time.monotonic()
    while time.monotonic() - since < SETTLED:
        time.sleep(1)
        if count_lines(viewers) != lines:
            lines, since = count_lines(viewers), time.monotonic()


def count_lines(viewers: list[Viewer]) -> int:
    return sum(len(viewer.lines()) for viewer in viewers)


def calls_in_a_silent_minute(stack: Deployed, viewers: list[Viewer]) -> list[str]:
    """Return what the relay logged in a minute in which no service wrote a line.

    A retry of another test's delivery may write one; then the next minute counts. A relay whose
    own lines invoked it would be invoked in each.
    """
    logs = stack.client("logs")
    relay = stack.client("cloudformation").describe_stack_resource(
        StackName="gatehouse", LogicalResourceId="LogRelayLogGroup"
    )["StackResourceDetail"]["PhysicalResourceId"]

    def logged() -> list[str]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=relay)
        return [event["message"] for page in pages for event in page["events"]]

    for _ in range(6):
        lines = count_lines(viewers)
        before = len(logged())
        time.sleep(MINUTE)
        during = logged()[before:]
        if count_lines(viewers) == lines:
            return during
        wait_until_settled(viewers)
    pytest.fail("no minute was silent")

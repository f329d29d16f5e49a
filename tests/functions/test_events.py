"""Each function answers its own file of events/, whose shape is that of AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatehouse.credentials import actions as credentials
from gatehouse.dynamo.table import Tables
from gatehouse.logs import relay
from gatehouse_cli.local import answers
from house import sources
from support.aws import invocation, resources

CONTEXT = invocation.Context()


def body(answer: dict[str, Any], status: int) -> Any:
    assert answer["statusCode"] == status, answer
    assert answer["headers"]["X-Request-Id"] == "5a6f1b0c-0000-4000-8000-000000000001"
    return json.loads(answer["body"])


@pytest.mark.usefixtures("stack")
def test_the_authorizer_denies_the_made_up_key_and_allows_a_real_one() -> None:
    event = invocation.event("authorizer")
    authorizer = invocation.load("authorizer")
    denied = authorizer.handler(event, CONTEXT)
    assert denied["policyDocument"]["Statement"][0]["Effect"] == "Deny"
    assert denied["context"] == {}

    made = body(
        invocation.load("keys_account").handler(invocation.event("keys_account"), CONTEXT), 201
    )
    event["headers"]["Authorization"] = f"Bearer {made['data']['api_key']['key']}"
    allowed = authorizer.handler(event, CONTEXT)
    assert allowed["policyDocument"]["Statement"] == [
        {
            "Action": "execute-api:Invoke",
            "Effect": "Allow",
            "Resource": "arn:aws:execute-api:eu-central-1:123456789012:abcde12345/live/*",
        }
    ]
    assert all(isinstance(value, str) for value in allowed["context"].values())


@pytest.mark.usefixtures("stack")
def test_the_account_surface_opens_an_account() -> None:
    made = body(
        invocation.load("keys_account").handler(invocation.event("keys_account"), CONTEXT), 201
    )

    assert made["data"]["account"]["name"] == "Acme"


@pytest.mark.usefixtures("stack")
def test_keys_names_what_is_not_there() -> None:
    """The event's principal belongs to nobody in these tables: its identity is not found."""
    answer = invocation.load("keys_services").handler(invocation.event("keys_services"), CONTEXT)

    shown = body(answer, 404)
    assert shown.items() >= {"error": "Identity not found", "status": 404}.items()


@pytest.mark.usefixtures("stack")
def test_verify_does_not_know_the_made_up_key() -> None:
    answer = invocation.load("verification").handler(invocation.event("verification"), CONTEXT)

    assert body(answer, 200)["data"]["code"] == "NOT_FOUND"


@pytest.mark.usefixtures("stack")
def test_admin_reads_an_empty_trail() -> None:
    answer = invocation.load("keys_admin").handler(invocation.event("keys_admin"), CONTEXT)

    assert body(answer, 200)["data"]["events"] == []


@pytest.mark.usefixtures("stack")
def test_public_answers_health() -> None:
    answer = invocation.load("public").handler(invocation.event("public"), CONTEXT)

    assert body(answer, 200)["status"] == "ok"


@pytest.mark.usefixtures("stack")
def test_people_lists_no_invites() -> None:
    shown = body(invocation.load("people").handler(invocation.event("people"), CONTEXT), 200)

    assert shown["data"] == []


@pytest.mark.usefixtures("stack")
def test_wallet_does_not_know_the_made_up_code() -> None:
    answer = invocation.load("wallets").handler(invocation.event("wallets"), CONTEXT)

    assert body(answer, 404)["error"]["code"] == "INVITE_NOT_FOUND"


@pytest.mark.usefixtures("stack")
def test_a_key_without_sessions_lists_none() -> None:
    shown = body(invocation.load("sessions").handler(invocation.event("sessions"), CONTEXT), 200)

    assert shown["data"] == []


@pytest.mark.usefixtures("stack")
def test_federation_lists_no_peers() -> None:
    answer = invocation.load("federation").handler(invocation.event("federation"), CONTEXT)

    assert body(answer, 200)["data"] == []


@pytest.mark.usefixtures("stack")
def test_signals_lists_none() -> None:
    answer = invocation.load("signals").handler(invocation.event("signals"), CONTEXT)

    assert body(answer, 200)["data"] == []


@pytest.mark.usefixtures("stack")
def test_webhooks_lists_none() -> None:
    answer = invocation.load("webhooks").handler(invocation.event("webhooks"), CONTEXT)

    assert body(answer, 200)["data"] == []


@pytest.mark.usefixtures("stack", "delivery_queue")
def test_deliveries_names_the_webhook_that_is_not_there() -> None:
    answer = invocation.load("deliveries").handler(invocation.event("deliveries"), CONTEXT)

    assert body(answer, 404)["error"]["code"] == "WEBHOOK_NOT_FOUND"


@pytest.mark.usefixtures("stack", "delivery_queue")
def test_fanout_finds_nobody_who_wants_the_signal() -> None:
    answer = invocation.load("fan_out").handler(invocation.event("fan_out"), CONTEXT)

    assert answer == {"batchItemFailures": []}


@pytest.mark.usefixtures("stack", "delivery_queue", "settings_key")
def test_delivery_drops_the_message_of_a_delivery_that_is_not_there() -> None:
    answer = invocation.load("delivery_worker").handler(
        invocation.event("delivery_worker"), CONTEXT
    )

    assert answer == {"batchItemFailures": []}


@pytest.mark.usefixtures("stack")
def test_services_lists_none() -> None:
    answer = invocation.load("services").handler(invocation.event("services"), CONTEXT)

    assert body(answer, 200) == []


@pytest.mark.usefixtures("stack", "settings_key")
def test_secrets_keeps_a_provider_s_key_and_rewrap_finds_nothing_to_do() -> None:
    answer = invocation.load("secrets").handler(invocation.event("secrets"), CONTEXT)
    assert (answer["statusCode"], answer["body"]) == (204, "")

    done = invocation.load("rewrap").handler(invocation.event("rewrap"), CONTEXT)
    assert done == {"rewrapped": 0, "left": 0, "cursor": None, "done": True}


@pytest.mark.usefixtures("stack", "relay_queue")
def test_sockets_knows_no_such_service() -> None:
    answer = invocation.load("sockets").handler(invocation.event("sockets"), CONTEXT)

    assert answer["statusCode"] == 404
    shown = json.loads(answer["body"])
    assert shown.items() >= {"error": 'Service "orders" not found', "status": 404}.items()


@pytest.mark.usefixtures("stack", "relay_queue")
def test_the_relay_reads_a_push_that_nobody_looks_at() -> None:
    event = invocation.event("log_relay")
    pushed = relay.parse_push(event["awslogs"]["data"])
    assert pushed is not None
    assert [line.message for line in pushed.lines] == ["order 1 shipped", "order 2 shipped"]

    assert invocation.load("log_relay").handler(event, CONTEXT) == {"viewers": 0}


@pytest.mark.usefixtures("stack", "delivery_queue", "relay_queue")
def test_the_sweeper_finds_nothing_to_do() -> None:
    done = invocation.load("sweeper").handler(invocation.event("sweeper"), CONTEXT)

    assert set(done) >= {
        "memberships",
        "shards",
        "markers",
        "signals",
        "pinged",
        "filters",
    }
    assert not any(done.values())


@pytest.mark.usefixtures("stack")
def test_stats_counts_what_metrics_then_tells() -> None:
    assert invocation.load("statistics").handler(invocation.event("statistics"), CONTEXT) == {
        "state": {}
    }
    told = body(
        invocation.load("health_metrics").handler(invocation.event("health_metrics"), CONTEXT), 200
    )["data"]

    assert told["delivery_stats"] == {"pending": 0, "delivered": 1, "acked": 0, "dead_letter": 0}


def test_every_function_has_an_event_and_an_answer() -> None:
    for folder in (resources.ROOT / "events", resources.ROOT / "events" / "answers"):
        assert {path.stem for path in folder.glob("*.json")} == sources.lambdas()


@pytest.mark.usefixtures("stack", "delivery_queue", "relay_queue", "settings_key")
@pytest.mark.parametrize("name", sorted(sources.lambdas()))
def test_each_answer_is_the_one_that_containers_must_give(name: str) -> None:
    """`make invoke-all` compares with the same files; there the stack is bootstrapped."""
    function = invocation.load(name)
    if name == "bootstrap":
        function.handler(invocation.event(name), CONTEXT)

    answer = function.handler(invocation.event(name), CONTEXT)

    expected = json.loads((resources.ROOT / "events" / "answers" / f"{name}.json").read_text())
    assert answers.find_difference(expected, answer) is None


def test_bootstrap_works_once_and_recovers_afterwards(tables: Tables) -> None:
    function = invocation.load("bootstrap")
    nothing_yet = function.handler({"action": "recover"}, CONTEXT)
    assert nothing_yet["error"]["code"] == "NOT_BOOTSTRAPPED"

    first = function.handler(invocation.event("bootstrap"), CONTEXT)
    known = credentials.find(tables.keys, first["api_key"]["key"])
    assert known is not None
    assert (known.operator, known.owner.is_admin, known.rate_limit) == (True, True, None)

    again = function.handler(invocation.event("bootstrap"), CONTEXT)
    assert again["error"]["code"] == "ALREADY_BOOTSTRAPPED"
    recovered = function.handler({"action": "recover"}, CONTEXT)
    assert recovered["account"] == first["account"]
    assert recovered["identity"] != first["identity"]
    assert credentials.find(tables.keys, recovered["api_key"]["key"]) is not None
    odd = function.handler({"action": "dance"}, CONTEXT)
    assert odd["error"]["code"] == "VALIDATION_INVALID_VALUE"

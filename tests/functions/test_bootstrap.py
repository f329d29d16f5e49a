"""The bootstrap function: create, recover, apply a file; secrets are leaked nowhere."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.aws.api_gateway import Front
from support.aws.faults import Killed, Wire, die_at
from support.aws.invocation import Context
from support.checks.inspection import State, check_everything

HOOK = "whsec_" + base64.b64encode(b"planted-" * 4).decode()


@pytest.fixture
def bootstrap(front: Front, settings_key: str):  # noqa: ANN201
    del settings_key  # needed only for the key that it creates

    def invoke(**event: Any) -> dict[str, Any]:
        return front.function("bootstrap").handler(event, Context())

    return invoke


def test_without_an_operators_account_recover_is_refused(bootstrap) -> None:  # noqa: ANN001
    assert bootstrap(action="recover")["error"]["code"] == "NOT_BOOTSTRAPPED"


def test_the_operators_account_is_created_once_with_an_admin(
    front: Front,
    bootstrap,  # noqa: ANN001
    stack: Tables,
    line: Wire,
    logs: io.StringIO,
) -> None:
    for number in range(1, 20):
        line.clear()
        line.before = die_at(number)
        try:
            made = bootstrap(action="create", name="Operator")
        except Killed:
            check_everything(stack, now=0)
            continue
        break
    line.before = None
    key = made["api_key"]["key"]
    assert key.startswith("chorus_")
    me = front("GET", "/v1/whoami", key=key).json()["data"]
    assert me["account"]["id"] == made["account"]["id"]
    assert (me["identity"]["is_admin"], me["identity"]["claw_type"]) == (True, "central")
    assert front("GET", "/admin/policy", key=key).status == 200
    again = bootstrap(action="create", name="Another")
    assert again == {
        "error": {
            "code": "ALREADY_BOOTSTRAPPED",
            "message": again["error"]["message"],
        }
    }
    events = front("GET", "/admin/audit", key=key).json()["data"]["events"]
    assert {event["actor"] for event in events} == {"system:bootstrap"}
    assert events[-1]["after"]["operator"] is True
    assert key not in logs.getvalue()
    check_everything(stack, now=0)


def test_recover_creates_a_new_admin_with_a_key(
    front: Front,
    bootstrap,  # noqa: ANN001
    stack: Tables,
) -> None:
    recovered = bootstrap(action="recover")
    key = recovered["api_key"]["key"]
    me = front("GET", "/v1/whoami", key=key).json()["data"]
    assert me["account"]["id"] == recovered["account"]["id"]
    assert me["identity"]["is_admin"]
    events = front("GET", "/admin/audit", key=key).json()["data"]["events"]
    assert [event["action"] for event in events[:2]] == ["api_key.create", "identity.create"]
    check_everything(stack, now=0)


@pytest.mark.parametrize("event", [{}, {"action": "destroy"}, {"action": None}, {"action": 7}])
def test_an_unknown_action_is_refused(bootstrap, event: dict) -> None:  # noqa: ANN001
    answer = bootstrap(**event)
    assert answer["error"]["code"] == "VALIDATION_INVALID_VALUE"
    assert "key" not in json.dumps(answer)


def test_a_webhook_secret_of_a_file_is_in_no_log_answer_or_item(
    front: Front,
    bootstrap,  # noqa: ANN001
    stack: Tables,
    logs: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    text = "webhooks:\n  - {name: own, url: 'http://127.0.0.1:9000/?t=hidden', secret_env: HOOK}\n"
    made = text + "  - {name: made, url: 'http://127.0.0.1:9000/'}\n"
    first = bootstrap(action="apply", yaml=made, secrets={"HOOK": HOOK})
    assert [(step["verb"], step["shown"] is None) for step in first["steps"]] == [
        ("add", True),
        ("add", False),
    ]
    answers = [
        first["steps"][0],
        bootstrap(action="apply", yaml=made, secrets={"HOOK": HOOK}),
        bootstrap(action="apply", yaml=made, secrets={"HOOK": f"{HOOK}x"}),
        bootstrap(action="apply", yaml=made, secrets={"HOOK": "planted-"}),
        bootstrap(action="apply", yaml=made),
        bootstrap(action="apply", yaml="webhooks: [", secrets={"HOOK": HOOK}),
    ]
    assert {step["verb"] for step in answers[1]["steps"]} == {"keep"}
    for refused in answers[2:]:
        assert refused["error"]["code"] == "VALIDATION_INVALID_VALUE"
    shown = first["steps"][1]["shown"].removeprefix("whsec_")
    everything = json.dumps(answers) + logs.getvalue()
    everything += json.dumps(State(stack).main, default=repr)
    assert "127.0.0.1:9000" in everything, "the search reads what is there"
    for hidden in (HOOK.removeprefix("whsec_")[:20], "planted-", shown[:20]):
        assert hidden not in everything
    assert "hidden" not in json.dumps(answers) + logs.getvalue()
    operator = bootstrap(action="recover")["api_key"]["key"]
    events = front("GET", "/admin/audit", key=operator).json()["data"]["events"]
    assert [one["action"] for one in events if one["target"].startswith("webhook:")] == [
        "webhook.create",
        "webhook.create",
    ]
    listed = front("GET", "/admin/webhooks", key=operator).json()["data"]
    assert {one["url"] for one in listed} == {
        "http://127.0.0.1:9000/?t=hidden",
        "http://127.0.0.1:9000/",
    }

"""Keys of providers on the deployed stack: in over HTTP, out by the command, under whose key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from e2e.deployed import Deployed
from e2e.people import Tenant, hire, open_tenant
from support.actors.newcomers import proven

OPENAI = "/api/auth/transcription/openai"
ANTHROPIC = "/api/auth/providers/anthropic"
KEY = "made-up-" + "5ec2e7d00d" * 4
VARIABLE = "HAMMURABI_SETTINGS_ENCRYPTION_KEY"
ONE, TWO, TEXT = "ab" * 32, "cd" * 32, "a text of some length"


@pytest.fixture
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def command(stack: Deployed, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `gatehouse secrets` as who may invoke the functions."""
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("gatehouse")),
            "secrets",
            *arguments,
        ],
        env=os.environ
        | {
            "AWS_ENDPOINT_URL": stack.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def put(tenant: Tenant, path: str = ANTHROPIC, value: Any = KEY) -> Any:
    return tenant.call("PUT", path, json={"apiKey": value})


def told(tenant: Tenant, name: str) -> str:
    """Read a key back as its operator does."""
    done = command(tenant.stack, "get", tenant.account_id, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    return done.stdout[:-1]


def items(stack: Deployed) -> list[dict[str, Any]]:
    """Read everything that is kept encrypted."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs["MainTableName"], ConsistentRead=True)
    )
    return [item for page in pages for item in page["Items"] if "wrapped_key" in item]


def item(tenant: Tenant, sk: str) -> dict[str, Any]:
    [found] = [
        one
        for one in items(tenant.stack)
        if (one["pk"]["S"], one["sk"]["S"]) == (f"SECRET#{tenant.account_id}", sk)
    ]
    return found


def test_a_key_goes_in_over_http_and_comes_out_by_iam(tenant: Tenant) -> None:
    for path, name in ((OPENAI, "transcription/openai"), (ANTHROPIC, "provider/anthropic")):
        assert tenant.call("GET", path).json() == {"configured": False, "updatedAt": None}
        assert put(tenant, path).status_code == 204
        kept = tenant.call("GET", path)
        assert kept.status_code == 200
        assert kept.json()["configured"] is True
        assert kept.json()["updatedAt"].endswith("Z")
        assert told(tenant, name) == KEY
        assert put(tenant, path, "another").status_code == 204
        assert told(tenant, name) == "another"
        for _ in range(2):
            gone = tenant.call("DELETE", path)
            assert (gone.status_code, gone.text) == (204, "")
        refused = command(tenant.stack, "get", tenant.account_id, name)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "Error: The account has no such secret\n"
    done = [(one["action"], one["actor"]) for one in tenant.events() if "secret." in one["action"]]
    me = f"identity:{tenant.identity_id}"
    assert done == 2 * [
        ("secret.set", me),
        ("secret.read", "system:iam"),
        ("secret.set", me),
        ("secret.read", "system:iam"),
        ("secret.delete", me),
    ]


def test_what_is_refused(tenant: Tenant, stack: Deployed) -> None:
    missing = tenant.call("PUT", OPENAI, json={})
    assert missing.json() == {"error": "apiKey is required", "status": 400}
    assert put(tenant, "/api/auth/providers/Upper").json()["status"] == 400
    reader = tenant.make_key()["key"]
    assert stack.call("GET", OPENAI, key=reader).status_code == 200
    services = tenant.call(
        "POST", "/api/auth/keys", json={"name": "x", "scopes": ["services:read"]}
    )
    narrow = services.json()["key"]
    assert stack.call("GET", OPENAI, key=narrow).status_code == 200
    scope = stack.call("DELETE", OPENAI, key=narrow)
    assert scope.json() == {"error": "Insufficient API key scope", "status": 403}
    denied = stack.call("GET", OPENAI, key=hire(tenant))
    assert denied.status_code == 403
    assert denied.json()["error"].startswith("Denied by admin_action_restriction")
    assert stack.call("GET", OPENAI).status_code == 401
    for name in ("peer/x", "nonce/key", "provider/Upper"):
        assert command(stack, "get", tenant.account_id, name).returncode == 1


def test_the_stored_item_holds_no_plaintext_and_opens_in_its_place_only(
    tenant: Tenant, stack: Deployed
) -> None:
    put(tenant)
    kept = item(tenant, "provider#anthropic")
    assert set(kept) == {"pk", "sk", "ciphertext", "nonce", "wrapped_key"}
    assert KEY.encode() not in b"".join(
        kept[name]["B"] for name in ("ciphertext", "nonce", "wrapped_key")
    )
    kms = stack.client("kms")
    mine = {"purpose": "provider", "account": tenant.account_id, "name": "anthropic"}
    assert (
        len(
            kms.decrypt(CiphertextBlob=kept["wrapped_key"]["B"], EncryptionContext=mine)[
                "Plaintext"
            ]
        )
        == 32
    )
    other = open_tenant(stack)
    with pytest.raises(ClientError, match="InvalidCiphertext"):
        kms.decrypt(
            CiphertextBlob=kept["wrapped_key"]["B"],
            EncryptionContext=mine | {"account": other.account_id},
        )
    put(other)
    moved = kept | {"pk": {"S": f"SECRET#{other.account_id}"}}
    table = stack.outputs["MainTableName"]
    stack.client("dynamodb").put_item(TableName=table, Item=moved)
    refused = command(stack, "get", other.account_id, "provider/anthropic")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The secrets function failed" in refused.stderr
    assert KEY not in refused.stderr
    assert told(tenant, "provider/anthropic") == KEY
    assert other.call("DELETE", ANTHROPIC).status_code == 204


def test_a_key_is_found_nowhere(tenant: Tenant, stack: Deployed) -> None:
    put(tenant)
    put(tenant, OPENAI)
    answers = [
        tenant.call("PUT", ANTHROPIC, content=f'{{"apiKey": "{KEY}"').text,
        put(tenant, value=[KEY]).text,
        put(tenant, value=f"{KEY}\n").text,
        put(tenant, f"/api/auth/providers/{KEY}X").text,
        tenant.call("GET", ANTHROPIC).text,
        tenant.call("GET", "/admin/audit").text,
    ]
    assert told(tenant, "provider/anthropic") == KEY
    logs: Any = stack.client("logs")
    lines = [
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for page in logs.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"]
        )
        for event in page["events"]
    ]
    everything = "\n".join([*answers, *lines, repr(stack.table("MainTableName").scan())])
    assert tenant.account_id in everything, "the search reads what is there"
    assert KEY not in everything
    assert KEY[8:40] not in everything


# ---- Under a key of one's own --------------------------------------------------------------------


@pytest.fixture
def keyed(stack: Deployed) -> Iterator[Callable[..., None]]:
    """Set both variables of every function that keeps secrets; afterwards all is KMS's again."""
    client = stack.client("lambda")
    functions = [
        one
        for page in client.get_paginator("list_functions").paginate()
        for one in page["Functions"]
        if VARIABLE in one.get("Environment", {}).get("Variables", {})
    ]
    assert len(functions) >= 4

    def set_to(current: str, previous: str = "") -> None:
        given = {VARIABLE: current, f"{VARIABLE}_PREVIOUS": previous}
        for one in functions:
            variables: Mapping[str, str] = one["Environment"]["Variables"] | given
            client.update_function_configuration(
                FunctionName=one["FunctionName"], Environment={"Variables": variables}
            )

    yield set_to
    set_to("", TWO)
    assert command(stack, "rewrap").returncode == 0
    set_to("")
    assert not [one for one in items(stack) if "wrapped_by" in one]


def wrapped_by(stack: Deployed) -> set[str]:
    return {one.get("wrapped_by", {"S": "kms"})["S"] for one in items(stack)}


def test_a_key_of_ones_own_is_set_changed_and_given_up(
    tenant: Tenant, stack: Deployed, keyed: Callable[..., None]
) -> None:
    """With a peer and a provider's key to come along, whose holders notice nothing."""
    made = tenant.call(
        "POST", "/federation/trust", json={"name": "peer", "endpoint": "https://peer.example/in"}
    )
    peer = made.json()["data"]
    put(tenant)
    keyed(TEXT)
    assert put(tenant, OPENAI).status_code == 204
    assert len(wrapped_by(stack)) == 2, "KMS's stay until they are re-wrapped"
    check(tenant, peer)
    for current, previous in ((TEXT, ""), (ONE, TEXT), (TWO, ONE)):
        keyed(current, previous)
        done = command(stack, "rewrap")
        assert (done.returncode, done.stderr) == (0, "")
        assert int(done.stdout.split()[0]) >= 2
        keyed(current)
        (by,) = wrapped_by(stack)
        assert by.startswith("env:")
        check(tenant, peer)
    again = command(stack, "rewrap")
    assert (again.returncode, again.stdout) == (0, "0 re-wrapped\n")
    on_record = [one for one in tenant.events() if one["action"] == "secret.rewrap"]
    assert {one["actor"] for one in on_record} == {"system:rewrap"}
    assert {one["target"].partition("/")[0] for one in on_record} == {
        "secret:peer",
        "secret:provider",
        "secret:transcription",
    }


def check(tenant: Tenant, peer: Mapping[str, Any]) -> None:
    """Read both keys, and hear the peer."""
    assert told(tenant, "provider/anthropic") == told(tenant, "transcription/openai") == KEY
    body, headers = proven(peer)
    heard = tenant.stack.call(
        "POST",
        "/federation/inbound",
        content=body,
        headers=headers | {"Content-Type": "application/json"},
    )
    assert heard.status_code == 201, heard.text


def test_a_missing_wrong_or_malformed_key_is_a_clear_error_and_nothing_is_stored(
    tenant: Tenant, stack: Deployed, keyed: Callable[..., None]
) -> None:
    keyed(TWO)
    assert put(tenant).status_code == 204
    before = item(tenant, "provider#anthropic")
    for current, said in (("", "Secrets are wrapped by another key"), (ONE, "another key")):
        keyed(current)
        refused = put(tenant, value="another")
        assert refused.status_code == 500
        assert VARIABLE in refused.json()["error"]
        assert said in refused.json()["error"]
        reading = command(stack, "get", tenant.account_id, "provider/anthropic")
        assert (reading.returncode, reading.stdout) == (1, "")
        assert VARIABLE in reading.stderr
    keyed("too short")
    refused = put(tenant, OPENAI)
    assert refused.status_code == 500
    assert refused.json()["error"].startswith(f"{VARIABLE} must be 64 hex characters")
    rewrap = command(stack, "rewrap")
    assert (rewrap.returncode, rewrap.stderr.count("\n")) == (1, 1)
    assert f"{VARIABLE} must be" in rewrap.stderr
    assert item(tenant, "provider#anthropic") == before
    assert tenant.call("GET", OPENAI).json()["configured"] is False
    keyed(TWO)
    assert told(tenant, "provider/anthropic") == KEY

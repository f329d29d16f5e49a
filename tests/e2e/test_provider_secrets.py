"""Keys of providers on the deployed stack: written over HTTP, read by an operator's command.

What happens under a settings key of one's own is in test_alone: it changes every function.
"""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.actors.operator_commands import gatehouse
from support.actors.providers_keys import ANTHROPIC, KEY, OPENAI, put, read, stored_item
from support.worlds.deployed_stack import Deployed


@pytest.fixture
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_a_key_is_written_over_http_and_read_with_iam_permission(tenant: Tenant) -> None:
    for path, name in ((OPENAI, "transcription/openai"), (ANTHROPIC, "provider/anthropic")):
        assert tenant.call("GET", path).json() == {"configured": False, "updatedAt": None}
        assert put(tenant, path).status_code == 204
        shown = tenant.call("GET", path)
        assert shown.status_code == 200
        assert shown.json()["configured"] is True
        assert shown.json()["updatedAt"].endswith("Z")
        assert read(tenant, name) == KEY
        assert put(tenant, path, "another").status_code == 204
        assert read(tenant, name) == "another"
        for _ in range(2):
            gone = tenant.call("DELETE", path)
            assert (gone.status_code, gone.text) == (204, "")
        refused = gatehouse(tenant.stack, "secrets", "get", tenant.account_id, name)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr.endswith("\nError: The account has no such secret\n")
    done = [(one["action"], one["actor"]) for one in tenant.events() if "secret." in one["action"]]
    me = f"identity:{tenant.identity_id}"
    assert done == 2 * [
        ("secret.set", me),
        ("secret.read", "system:iam"),
        ("secret.set", me),
        ("secret.read", "system:iam"),
        ("secret.delete", me),
    ]


def test_each_refusal_has_its_documented_status(tenant: Tenant, stack: Deployed) -> None:
    missing = tenant.call("PUT", OPENAI, json={})
    assert missing.json().items() >= {"error": "apiKey is required", "status": 400}.items()
    assert put(tenant, "/api/auth/providers/Upper").json()["status"] == 400
    services = tenant.call(
        "POST", "/api/auth/keys", json={"name": "x", "scopes": ["services:read"]}
    )
    narrow = services.json()["key"]
    assert stack.call("GET", OPENAI, key=narrow).status_code == 200
    scope = stack.call("DELETE", OPENAI, key=narrow)
    assert scope.json().items() >= {"error": "Insufficient API key scope", "status": 403}.items()
    denied = stack.call("GET", OPENAI, key=add_member(tenant))
    assert denied.status_code == 403
    assert denied.json()["error"].startswith("Denied by admin_action_restriction")
    assert stack.call("GET", OPENAI).status_code == 401
    for name in ("peer/x", "provider/Upper"):
        refused = gatehouse(stack, "secrets", "get", tenant.account_id, name)
        assert refused.exit_code == 1


def test_a_stored_key_is_encrypted_and_decrypts_only_in_its_own_place(
    tenant: Tenant, stack: Deployed
) -> None:
    put(tenant)
    stored = stored_item(tenant, "provider#anthropic")
    assert set(stored) == {"pk", "sk", "ciphertext", "nonce", "wrapped_key"}
    assert KEY.encode() not in b"".join(
        stored[name]["B"] for name in ("ciphertext", "nonce", "wrapped_key")
    )
    kms = stack.client("kms")
    wrapped = stored["wrapped_key"]["B"]
    context = {"purpose": "provider", "account": tenant.account_id, "name": "anthropic"}
    unwrapped = kms.decrypt(CiphertextBlob=wrapped, EncryptionContext=context)
    assert len(unwrapped["Plaintext"]) == 32
    other = open_tenant(stack)
    with pytest.raises(ClientError, match="InvalidCiphertext"):
        kms.decrypt(
            CiphertextBlob=wrapped, EncryptionContext=context | {"account": other.account_id}
        )
    put(other)
    moved = stored | {"pk": {"S": f"SECRET#{other.account_id}"}}
    stack.client("dynamodb").put_item(TableName=stack.outputs["MainTableName"], Item=moved)
    refused = gatehouse(stack, "secrets", "get", other.account_id, "provider/anthropic")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "The secrets function failed" in refused.stderr
    assert KEY not in refused.stderr
    assert read(tenant, "provider/anthropic") == KEY
    assert other.call("DELETE", ANTHROPIC).status_code == 204

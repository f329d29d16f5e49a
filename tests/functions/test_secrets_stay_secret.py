"""The text of a key appears in the answer that creates it and nowhere else."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error
from support.aws.invocation import Answer
from support.checks.inspection import items

MARK = bytes.fromhex("5ec2e7" * 10 + "beef")


def _everything_written(stack: Tables, logs: io.StringIO) -> str:
    parts = [logs.getvalue()]
    for table in (stack.keys, stack.main):
        parts += [json.dumps(item, default=repr) for item in items(table)]
    return "\n".join(parts)


def _traces(text: str, key: str) -> list[str]:
    """Find 12 successive digits of the key's secret part in a text."""
    hexes = key.partition("_")[2]
    return [hexes[at : at + 12] for at in range(0, 60, 3) if hexes[at : at + 12] in text]


@pytest.mark.parametrize("how", ["account opening", "services", "account", "admin", "rotate"])
def test_a_keys_text_appears_nowhere_but_in_the_creating_answer(
    front: Front,
    people: People,
    stack: Tables,
    logs: io.StringIO,
    line: Wire,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how: str,
) -> None:
    admin = people.tenant()
    old = people.key(admin)
    real = secrets.token_bytes
    planted = hashlib.sha256(how.encode()).digest()[:3] * 4 + MARK[:20]
    monkeypatch.setattr(
        secrets, "token_bytes", lambda size=32: planted if size == 32 else real(size)
    )
    made = _make(front, how, admin, old)
    monkeypatch.setattr(secrets, "token_bytes", real)
    assert made.status in {200, 201}
    key = _key_of(made)
    assert planted.hex() in key
    assert _traces(made.text, key), "the search would find it"

    answers = _use_everything(front, admin, key, how, line)
    for answer in answers:
        assert _traces(answer.text, key) == []
        assert _traces(json.dumps(answer.headers), key) == []
    written = _everything_written(stack, logs)
    assert hashlib.sha256(key.encode()).hexdigest() in written, "the search reads what is stored"
    assert _traces(written, key) == []
    out, err = capfd.readouterr()
    assert _traces(out + err, key) == []


def _make(front: Front, how: str, admin: Holder, old: Holder) -> Answer:
    headers = {"Idempotency-Key": "planted"}
    method = {"method": "POST", "headers": headers}
    if how == "account opening":
        return front(path="/v1/accounts", body={"name": "Planted"}, source="198.51.100.9", **method)
    path, body = {
        "services": ("/api/auth/keys", {"name": "planted", "scopes": ["*"]}),
        "account": ("/v1/api-keys", {"name": "planted"}),
        "admin": ("/admin/api-keys", {"owner": admin.identity_id}),
        "rotate": (f"/v1/api-keys/{old.key_id}/rotate", {}),
    }[how]
    return front(path=path, body=body, key=admin.key, **method)


def _key_of(made: Answer) -> str:
    value = made.json()
    value = value.get("data", value)
    value = value["api_key"] if isinstance(value.get("api_key"), dict) else value
    return value.get("key") or value["api_key"]


def _use_everything(front: Front, admin: Holder, key: str, how: str, line: Wire) -> list[Answer]:
    """Send the key through every route and error, as credential and as body."""
    answers = [
        front("GET", path, key=key)
        for path in (
            *("/v1/whoami", "/v1/api-keys", "/api/auth/keys", "/admin/api-keys", "/admin/audit"),
            *("/admin/policy", "/no/such/route"),
        )
    ]
    bodies: list[Any] = [
        {"key": key},
        {"key": key, "scope": "agents:read"},
        {"key": key + "0"},
        {"key": key, "scope": key},
        {"key": [key]},
        f'{{"key": "{key}", "key": "{key}"}}',
        f'{{"{key}": 1, "{key}": 1}}',
        f'{{"key": "{key}"',
    ]
    answers += [front("POST", "/v1/keys/verify", key=admin.key, body=body) for body in bodies[:6]]
    answers += [front("POST", "/v1/keys/verify", key=key, body=bodies[7])]
    answers.append(front("DELETE", f"/v1/api-keys/{key}", key=key))
    answers.append(front("GET", "/v1/api-keys", key=key, query={"after": key}))
    for fault in (lambda: error("ThrottlingException"), lambda: error("AccessDeniedException")):
        for operation in ("UpdateItem", "Query", "TransactWriteItems"):
            line.before = lambda _, called, f=fault, o=operation: f() if called == o else None
            answers.append(front("GET", "/v1/api-keys", key=key))
            answers.append(front("POST", "/v1/api-keys", key=key, body={"name": "x"}))
    line.before = None
    me = front("GET", "/v1/whoami", key=key).json()["data"]["key"]["id"]
    if how == "rotate":
        answers.append(front("POST", f"/admin/api-keys/{me}/rotate", key=key, body={}))
    else:
        answers.append(front("PATCH", f"/v1/api-keys/{me}", key=key, body={"name": "z"}))
        answers.append(front("DELETE", f"/v1/api-keys/{me}", key=key))
    answers.append(front("GET", "/v1/whoami", key=key))
    assert answers[-1].status == 401
    return answers


def test_a_key_sent_as_a_name_is_stored_but_not_logged(
    front: Front, people: People, logs: io.StringIO
) -> None:
    admin = people.tenant()
    body = {"name": f"note {admin.key}"}
    assert front("POST", "/v1/api-keys", key=admin.key, body=body).status == 201
    assert _traces(logs.getvalue(), admin.key) == []


def test_repr_and_str_hide_a_new_key() -> None:
    from gatehouse.credentials import writes  # noqa: PLC0415 - after the environment is set

    fresh = writes.mint("hk")
    assert fresh.text not in repr(fresh)
    assert fresh.text not in str(fresh)

"""The authorizer's answers and log lines, word for word."""

from __future__ import annotations

import json
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gatehouse.core.grants import Grants, Permissions
from gatehouse.core.principal import RateLimitState
from gatehouse.credentials.model import Code, Credential, Owner, Verdict
from gatehouse.dynamo import connection
from support.aws import invocation

ARN = "arn:aws-cn:execute-api:cn-north-1:1:api/live"
OWNER = Owner("i1", is_admin=True, claw_type="central", membership="active")
CREDENTIAL = Credential("d1", "k1", "a1", "hk_0000", OWNER, Grants(("*",)), operator=False)
CONTEXT = {
    "key_id": "k1",
    "account_id": "a1",
    "identity_id": "i1",
    "key_prefix": "hk_0000",
    "grants": '{"scopes":["*"],"signal_types":[],"task_types":[],"ring_scopes":[],'
    '"memory_scopes":[]}',
    "is_admin": "true",
    "claw_type": "central",
    "membership": "active",
    "operator": "false",
    "key_digest": CREDENTIAL.digest,
}


def _answer(principal: str, effect: str, context: dict[str, str]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": f"{ARN}/*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": principal, "policyDocument": policy, "context": context}


class Authorizer:
    """The function with a prepared verdict; it records each admission and log line."""

    def __init__(self, module: ModuleType, patch: pytest.MonkeyPatch) -> None:
        self.module = module
        self.verdict = Verdict(Code.VALID, CREDENTIAL)
        self.admitted: list[tuple[Any, ...]] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        ticks = iter([5.0, 5.0123456] * 2)
        patch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
        patch.setattr(module, "logger", SimpleNamespace(info=self._log))
        patch.setattr(module.clock, "now", lambda: 1_800_000_000_000_000)
        patch.setattr(module.credentials, "admit", self._admit)

    def __call__(self, **event: Any) -> dict[str, Any]:
        event = {"methodArn": f"{ARN}/GET/v1/whoami", "requestContext": {}, **event}
        answer: dict[str, Any] = self.module.handler(event, None)
        return answer

    def _admit(self, *arguments: Any) -> Verdict:
        self.admitted.append(arguments)
        return self.verdict

    def _log(self, message: str, **fields: Any) -> None:
        self.lines.append((message, fields))


@pytest.fixture
def authorizer(monkeypatch: pytest.MonkeyPatch) -> Authorizer:
    monkeypatch.setattr(connection, "keys_table", lambda: "the table")
    return Authorizer(invocation.load("authorizer"), monkeypatch)


BEARER = {"Authorization": "Bearer h"}
QUERY = {"token": "q"}
LINE = {"request_id": None, "code": "VALID", "key_id": "k1", "duration_ms": 12.35}


def test_a_valid_key_is_allowed_for_the_whole_stage(authorizer: Authorizer) -> None:
    answer = authorizer(headers=BEARER, requestContext={"requestId": "r1"})
    assert answer == _answer("k1", "Allow", CONTEXT)
    assert authorizer.admitted == [
        ("the table", "h", authorizer.module.MEMORY, 1_800_000_000_000_000)
    ]
    assert authorizer.lines == [("authorized", {**LINE, "request_id": "r1"})]


def test_a_key_over_its_limit_is_allowed_with_its_state(authorizer: Authorizer) -> None:
    credential = replace(CREDENTIAL, rate_limit=60)
    state = RateLimitState(60, 0, 60, 1)
    authorizer.verdict = Verdict(Code.RATE_LIMITED, credential, state)
    context = {**CONTEXT, "rate_limit": "60", "limit_state": "60 0 60 1"}
    assert authorizer(headers=BEARER) == _answer("k1", "Allow", context)
    assert authorizer.lines == [("refused", {**LINE, "code": "RATE_LIMITED"})]


@pytest.mark.parametrize("code", [Code.REVOKED, Code.EXPIRED, Code.DISABLED])
def test_every_other_verdict_is_the_same_deny(authorizer: Authorizer, code: Code) -> None:
    authorizer.verdict = Verdict(code, CREDENTIAL)
    assert authorizer(headers=BEARER) == _answer("nobody", "Deny", {})
    assert authorizer.lines == [("refused", {**LINE, "code": code.value})]


@pytest.mark.parametrize("headers", [None, {}, {"Accept": "*/*"}])
def test_a_request_without_a_key_is_denied_without_admission(
    authorizer: Authorizer, headers: dict[str, str] | None
) -> None:
    denied = _answer("nobody", "Deny", {})
    assert authorizer(headers=headers, queryStringParameters=QUERY) == denied
    assert authorizer.admitted == []
    assert authorizer.lines == [("refused", {**LINE, "code": "NOT_FOUND", "key_id": None})]


@pytest.mark.parametrize(
    ("kind", "headers", "key"),
    [
        ("CONNECT", {}, "q"),
        ("CONNECT", BEARER, "h"),
        ("MESSAGE", BEARER, "h"),
        (None, BEARER, "h"),
    ],
)
def test_only_a_connecting_socket_may_have_its_key_in_the_address(
    authorizer: Authorizer, kind: str | None, headers: dict[str, str], key: str
) -> None:
    context = {} if kind is None else {"eventType": kind}
    authorizer(headers=headers, queryStringParameters=QUERY, requestContext=context)
    assert [arguments[1] for arguments in authorizer.admitted] == [key]
    authorizer.admitted.clear()
    authorizer(queryStringParameters=QUERY, requestContext={"eventType": "DISCONNECT"})
    assert authorizer.admitted == []


def test_the_stage_is_allowed_whatever_the_path(authorizer: Authorizer) -> None:
    for path in ("", "/$connect", "/GET/a/b/c"):
        answer = authorizer.module._answer(  # noqa: SLF001
            ARN + path, authorizer.verdict, session=None, on_socket=False
        )
        assert answer == _answer("k1", "Allow", CONTEXT)


LONGEST = Permissions(*[tuple(f"{at:02}" + "\u2603" * 62 for at in range(50))] * 4)


@pytest.mark.parametrize(
    ("scopes", "shown"),
    [
        (("*",), ["services:read"]),
        (("services:*", "agents:read"), ["services:read"]),
        (("*:read",), ["services:read"]),
        (("services:write", "agents:*"), []),
        ((), []),
    ],
)
def test_a_socket_s_answer_has_only_the_scope_that_opens_it(
    authorizer: Authorizer, scopes: tuple[str, ...], shown: list[str]
) -> None:
    credential = replace(CREDENTIAL, grants=Grants(scopes, LONGEST))
    authorizer.verdict = Verdict(Code.VALID, credential)
    answer = authorizer(headers=BEARER, requestContext={"eventType": "CONNECT"})

    assert answer["context"]["grants"] == Grants(tuple(shown)).to_text()
    # API Gateway's limit on a WebSocket is 8,192 bytes; this answer to HTTP is longer.
    assert len(json.dumps(answer)) < 1_024
    assert len(json.dumps(authorizer(headers=BEARER))) > 8_192

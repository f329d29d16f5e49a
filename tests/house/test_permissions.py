"""Each function may do in the tables what it does, and nothing else.

The engine enforces actions and resources, and reads neither `dynamodb:LeadingKeys` nor a key's
encryption context: so every route is called here, what the functions ask of the tables and of KMS
is written down, and held against the template in both directions.
"""

from __future__ import annotations

import base64
import fnmatch
import re
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account

from gatehouse.aws import clients
from gatehouse.core import clock
from gatehouse.dynamo import connection, keyspace
from gatehouse.dynamo.table import Tables
from gatehouse.secrets.model import Purpose
from house import driven, driven_logs, sources
from house.sources import ROOT
from support.actors.people import People
from support.actors.signers import proven, signed
from support.aws import invocation, resources
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads

TEMPLATE = resources.template()["Resources"]
FUNCTIONS = {
    resource["Properties"]["CodeUri"].removeprefix("functions/"): resource["Properties"]
    for resource in TEMPLATE.values()
    if resource["Type"] == "AWS::Serverless::Function"
}
KINDS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
KMS = "kms"
# All that is watched: one partition, which is a name without a rest.
WHOLE = {"WATCHED"}
# Done where an account has as many live keys as it may: they are counted again.
RARELY = {"wallets": {("main", "Query")}}

Use = tuple[str, str, str]  # table, action, kind of key: main, GetItem, KEYS#; kms, Decrypt, peer


def statements(function: str) -> Iterator[dict[str, Any]]:
    """List a function's own statements."""
    for policy in FUNCTIONS[function].get("Policies", []):
        yield from map(resources.given, policy["Statement"])


def listed(value: Any) -> list[Any]:
    """See one value or several as several."""
    return value if isinstance(value, list) else [value]


def granted(function: str) -> set[Use]:
    """Name what the template lets a function do: table, action, pattern of leading keys."""
    found: set[Use] = set()
    for statement in statements(function):
        tables = {_table(str(one)) for one in listed(statement["Resource"])}
        keys = (
            statement.get("Condition", {})
            .get("ForAllValues:StringLike", {})
            .get("dynamodb:LeadingKeys", [""])
        )
        assert all(key.endswith("#*") or "*" not in key for key in listed(keys))
        found |= {
            (table, action.removeprefix("dynamodb:"), key.removesuffix("*"))
            for action in listed(statement["Action"])
            if action.startswith("dynamodb:")
            for table in tables
            for key in listed(keys)
        }
    return found


def unsealing(function: str) -> set[Use]:
    """Name what the template lets a function do with KMS: action, purpose of the secret."""
    found: set[Use] = set()
    for statement in statements(function):
        actions = [one for one in listed(statement["Action"]) if one.startswith("kms:")]
        if actions:
            assert statement["Resource"] == {"Fn::GetAtt": ["SettingsKey", "Arn"]}
            said = statement["Condition"]["StringEquals"]["kms:EncryptionContext:purpose"]
            found |= {
                (KMS, action.removeprefix("kms:"), purpose)
                for action in actions
                for purpose in listed(said)
            }
    return found


def _table(resource: str) -> str:
    index = re.search(r"/index/(\w+)", resource)
    table = "keys" if "KeysTable" in resource else "main"
    return f"{table}/{index[1]}" if index else table


class Watched(Front):
    """A front door that writes down what each function asks of the tables."""

    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self.uses: dict[str, set[Use]] = {name: set() for name in FUNCTIONS}
        self._names = {tables.keys.name: "keys", tables.main.name: "main"}
        self._running: str | None = None
        tables.main.client.meta.events.register("provide-client-params.dynamodb", self._asked)
        clients.kms().meta.events.register("provide-client-params.kms", self._unsealed)

    def function(self, name: str) -> Any:
        handler = super().function(name).handler

        def watched(event: Any, context: Any) -> Any:
            outer, self._running = self._running, name
            try:
                return handler(event, context)
            finally:
                self._running = outer

        return SimpleNamespace(handler=watched)

    def _asked(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if self._running is None:  # a fixture, preparing
            return
        operation, found = model.name, self.uses[self._running]
        if operation == "TransactWriteItems":
            for write in params["TransactItems"]:
                [(kind, request)] = write.items()
                found.add(self._use(KINDS[kind], request))
        elif operation == "BatchGetItem":
            for table, request in params["RequestItems"].items():
                found |= {
                    self._use(operation, {"TableName": table, "Key": key})
                    for key in request["Keys"]
                }
        else:
            found.add(self._use(operation, params))

    def _unsealed(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if self._running is not None:
            purpose = params["EncryptionContext"]["purpose"]
            self.uses[self._running].add((KMS, model.name, purpose))

    def _use(self, action: str, request: dict[str, Any]) -> Use:
        table = self._names[request["TableName"]]
        if action == "Scan":
            return f"{table}/{request['IndexName']}", action, ""
        if action == "Query":
            key = request["ExpressionAttributeValues"][":pk"]
            table += f"/{request['IndexName']}" if "IndexName" in request else ""
        else:
            key = (request.get("Key") or request["Item"])["pk"]
        kind, mark, _ = key["S"].partition("#")
        return table, action, kind + mark


@pytest.fixture(scope="module")
def uses(
    stack: Tables,
    settings_key: str,
    delivery_queue: str,
    relay_queue: str,
    workloads: Workloads,
    aws: pytest.MonkeyPatch,
) -> dict[str, set[Use]]:
    """Call every route, and the functions that have none."""
    assert settings_key
    aws.setenv("GATEHOUSE_OUTBOUND", "local")  # else a webhook's host would have to be resolved
    front = Watched(stack)
    people = People(front, stack)
    admin = people.tenant()
    employee = people.employee(admin)
    _use_bootstrap(front)
    made = front.function("bootstrap").handler({"action": "recover"}, invocation.Context())
    _use_unlimited(front, made["api_key"]["key"])
    _use_keys(front, people, admin, employee)
    _use_the_rest(front, people, admin)
    _use_people(front, people, admin)
    _use_wallets(front, admin)
    _use_peers(front, admin)
    _use_signals(front, admin)
    _use_webhooks(front, admin)
    # By another account: what a key did in times to come counts against its limit now.
    other, held = people.tenant(), HeldClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", held)
        driven.drive(front, stack.main, other.key, queue=delivery_queue, held=held)
    _use_services(front, made["api_key"]["key"], aws)
    driven_logs.drive(front, workloads, made["api_key"]["key"], queue=relay_queue)
    _use_secrets(front, admin, made["api_key"]["key"], aws)
    _use_the_sweeper(front, people, admin)
    _use_stats(front)
    return front.uses


def _use_bootstrap(front: Front) -> None:
    """Make the operator's account with an invite, and fill it twice, the second time changed."""
    bootstrap = front.function("bootstrap").handler
    invited = bootstrap({"action": "invite"}, invocation.Context())
    admin = _first_admin(front, invited["invite"]["code"])
    for scopes, description, active in (
        ("['*']", "all", "false"),
        ("['services:read']", "few", "true"),
    ):
        text = (
            f"identities: [{{name: bot, scopes: {scopes}}}]\n"
            f"rings: [{{name: inner, description: {description}}}]\n"
            f"roles: [{{name: reviewer, description: {description}}}]\n"
            "invites: [{name: colleague}]\n"
            "webhooks: [{name: hook, url: https://127.0.0.1/in, secret_env: HOOK,"
            f" description: {description}, active: {active}}}]\n"
        )
        secrets = {"HOOK": "whsec_" + base64.b64encode(description.encode() * 8).decode()}
        event = {"action": "apply", "yaml": text, "secrets": secrets}
        answer = bootstrap(event, invocation.Context())
        assert answer["steps"][0]["verb"] in {"add", "update"}
        if answer["steps"][0]["verb"] == "add":
            owner = next(
                one["id"]
                for one in front("GET", "/admin/identities", key=admin).json()["data"]
                if one["name"] == "bot"
            )
            front("POST", "/admin/api-keys", key=admin, body={"owner": owner})


def _first_admin(front: Front, code: str) -> str:
    body = {"code": code, "name": "bo", "type": "human"}
    came = front("POST", "/invite", body=body)
    assert came.status == 201, came.text
    return str(came.json()["data"]["api_key"])


def _use_unlimited(front: Front, key: str) -> None:
    assert front("GET", "/v1/whoami", key=key).status == 200
    assert front("POST", "/v1/keys/verify", key=key, body={"key": key}).status == 200


def _use_keys(front: Front, people: People, admin: Any, employee: Any) -> None:
    once = {"Idempotency-Key": "once"}
    front("POST", "/v1/accounts", body={"name": "Once"}, headers=once)
    for start, name in (("/api/auth/keys", "services"), ("/v1/api-keys", "account")):
        made = front("POST", start, key=admin.key, body={"name": name}, headers=once)
        assert made.status == 201
        value = made.json()
        key_id = value.get("data", value)["id"]
        for holder in (admin, employee):
            assert front("GET", start, key=holder.key).status == 200
        if start.startswith("/v1"):
            body = {"expires_at": clock.rfc3339(clock.now() + clock.DAY)}
            front("PATCH", f"{start}/{key_id}", key=admin.key, body=body)
            rotated = front("POST", f"{start}/{key_id}/rotate", key=admin.key, body={})
            key_id = rotated.json()["data"]["id"]
        assert front("DELETE", f"{start}/{key_id}", key=admin.key).status == 204
    other = people.key(admin)
    for path, body in ((f"{other.key_id}/rotate", {}), (f"{other.key_id}/revoke", None)):
        front("POST", f"/admin/api-keys/{path}", key=admin.key, body=body)
    owner = f"identity:{admin.identity_id}"
    front("POST", "/admin/api-keys", key=admin.key, body={"owner": owner}, headers=once)


def _use_the_rest(front: Front, people: People, admin: Any) -> None:
    body = {"key": people.key(admin).key}
    assert front("POST", "/v1/keys/verify", key=admin.key, body=body).status == 200
    for path in ("/admin/api-keys", "/admin/audit", "/admin/policy", "/admin/health-metrics"):
        assert front("GET", path, key=admin.key).status == 200
    for path in ("/health", "/healthz", "/readyz", "/api/health"):
        assert front("GET", path).status == 200


def _use_people(front: Front, people: People, admin: Any) -> None:
    once = {"Idempotency-Key": "once"}
    body = {"name": "new", "type": "human"}
    made = front("POST", "/invite/create", key=admin.key, body=body, headers=once)
    assert made.status == 201
    for path in ("/admin/invites", "/admin/identities", "/admin/policy", "/admin/config"):
        assert front("GET", path, key=admin.key).status == 200
    member = people.employee(admin)
    path = f"/admin/identities/{member.identity_id}"
    assert front("GET", path, key=admin.key).status == 200
    for change in ({"is_admin": True}, {"is_admin": False}, {"scopes": ["services:read"]}):
        assert front("PATCH", path, key=admin.key, body=change).status == 200
    question = {"action": "signal:emit", "key_id": member.key_id}
    assert front("POST", "/admin/policy/evaluate", key=admin.key, body=question).status == 200


def _use_wallets(front: Front, admin: Any) -> None:
    body = {"name": "new", "type": "human", "max_uses": 2}
    code = front("POST", "/invite/create", key=admin.key, body=body).json()["data"]["code"]
    coming = {"code": code, "name": "bo", "type": "human"}
    once = {"Idempotency-Key": "once"}
    wallet, other = Account.create(), Account.create()
    came = front("POST", "/invite", body=coming | signed(front, wallet), headers=once)
    assert came.status == 201, came.text
    second = front("POST", "/invite", body=coming).json()["data"]["api_key"]
    assert front("POST", "/invite", body=coming | {"code": "00000000"}).status == 404
    assert front("POST", "/invite", body=coming | {"code": "00000001"}).status == 404
    body = signed(front, other)
    assert front("POST", "/auth/attach-wallet", key=second, body=body).status == 200
    for _ in range(2):
        assert front("POST", "/auth/siwe-login", body=signed(front, wallet)).status == 200
    front.renew("wallets")  # what one environment made for itself, the next one reads
    assert front("GET", "/auth/nonce").status == 200


def _use_peers(front: Front, admin: Any) -> None:
    body = {"name": "other", "endpoint": "https://other.example/in"}
    once = {"Idempotency-Key": "once"}
    made = front("POST", "/federation/trust", key=admin.key, body=body, headers=once)
    peer = made.json()["data"]
    sent, headers = proven(peer)
    assert front("POST", "/federation/inbound", body=sent, headers=headers).status == 201
    assert front("GET", "/admin/peers", key=admin.key).status == 200
    assert front("DELETE", f"/admin/peers/{peer['peer_id']}", key=admin.key).status == 200


def _use_signals(front: Front, admin: Any) -> None:
    body = {"signal_type": "task", "content": "x", "to_identity": admin.identity_id}
    for headers in ({}, {"Idempotency-Key": "once"}, {"Idempotency-Key": "once"}):
        made = front("POST", "/emit", key=admin.key, body=body, headers=headers)
        assert made.status == 201, made.text
    name = {"signal_id": made.json()["data"]["id"]}
    for path in ("/claim", "/ack"):
        assert front("POST", path, key=admin.key, body=name).status == 200
    for path in ("/signals/list", f"/signals/{name['signal_id']}"):
        assert front("GET", path, key=admin.key).status == 200


def _use_webhooks(front: Front, admin: Any) -> None:
    body = {"url": "https://127.0.0.1/in", "headers": {"X-A": "1"}}
    once = {"Idempotency-Key": "once"}
    made = front("POST", "/admin/webhooks", key=admin.key, body=body, headers=once)
    assert made.status == 201, made.text
    path = f"/admin/webhooks/{made.json()['data']['id']}"
    for read in ("/admin/webhooks", path):
        assert front("GET", read, key=admin.key).status == 200
    assert front("PATCH", path, key=admin.key, body={"headers": {}}).status == 200
    rotated = front("POST", f"{path}/rotate-secret", key=admin.key, body={}, headers=once)
    assert rotated.status == 200
    assert front("DELETE", path, key=admin.key).status == 200


def _use_services(front: Front, operator: str, aws: pytest.MonkeyPatch) -> None:
    """Watch a service that nobody answers at; the hook is asked for, and its secret with it."""
    aws.setenv("GATEHOUSE_LOG_GROUPS", "arn:aws:logs:us-east-1:123456789012:log-group:")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    body = {"name": "billing", "healthUrl": url, "restartUrl": url}
    once = {"Idempotency-Key": "once"}
    made = front("POST", "/api/services", key=operator, body=body, headers=once)
    assert made.status == 201, made.text
    for read in ("list", "billing/health", "metrics"):
        assert front("GET", f"/api/services/{read}", key=operator).status == 200
    assert front("POST", "/api/services/billing/restart", key=operator).status == 409
    assert front("DELETE", "/api/services/billing", key=operator).status == 204


def _use_secrets(front: Front, admin: Any, operator: str, aws: pytest.MonkeyPatch) -> None:
    """Keep a secret of each purpose, and wrap them all by a settings key and by KMS again."""
    names = ("transcription/openai", "providers/anthropic")
    for path in (f"/api/auth/{name}" for name in names):
        for text in ("first", "second"):
            assert front("PUT", path, key=admin.key, body={"apiKey": text}).status == 204
        assert front("GET", path, key=admin.key).json()["configured"] is True
    for name in ("transcription/openai", "provider/anthropic"):
        asked = {"do": "get", "account": admin.account_id, "secret": name}
        told = front.function("secrets").handler(asked, invocation.Context())
        assert told == {"value": "second"}
    peer = {"name": "other", "endpoint": "https://other.example/in"}
    assert front("POST", "/federation/trust", key=admin.key, body=peer).status == 201
    hook = {"url": "https://127.0.0.1/in"}
    assert front("POST", "/admin/webhooks", key=admin.key, body=hook).status == 201
    own = {"name": "hooked", "healthUrl": hook["url"], "restartUrl": hook["url"]}
    assert front("POST", "/api/services", key=operator, body=own).status == 201
    for current, previous in (("ab" * 32, ""), ("", "ab" * 32)):
        aws.setenv("HAMMURABI_SETTINGS_ENCRYPTION_KEY", current)
        aws.setenv("HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS", previous)
        done = False
        while not done:
            done = front.function("rewrap").handler({"do": "rewrap"}, invocation.Context())["done"]
    for path in (f"/api/auth/{name}" for name in names):
        assert front("DELETE", path, key=admin.key).status == 204


def _use_the_sweeper(front: Front, people: People, admin: Any) -> None:
    """Cut an identity's ceiling and crash before its keys follow."""
    whole, cut = people.employee(admin), people.employee(admin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatehouse.memberships.actions.finish", lambda *_, **__: None)
        for holder, change in ((whole, {"name": "x", "is_admin": True}), (cut, {"scopes": []})):
            path = f"/admin/identities/{holder.identity_id}"
            assert front("PATCH", path, key=admin.key, body=change).status == 200
    swept = front.function("sweeper").handler({}, invocation.Context())
    assert swept["memberships"] == 2


def _use_stats(front: Front) -> None:
    event = invocation.event("statistics")
    assert front.function("statistics").handler(event, invocation.Context()) == {"state": {}}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_does_nothing_that_it_may_not(function: str, uses: dict[str, set[Use]]) -> None:
    assert uses[function], "nothing was seen of it"
    assert uses[function] - granted(function) - unsealing(function) == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_no_action_that_it_does_not_do(
    function: str, uses: dict[str, set[Use]]
) -> None:
    done = {(table, action) for table, action, _ in uses[function]} | RARELY.get(function, set())

    assert {(table, action) for table, action, _ in granted(function)} - done == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_touch_no_kind_of_item_that_it_does_not_touch(
    function: str, uses: dict[str, set[Use]]
) -> None:
    touched = {(table, key) for table, _, key in uses[function]}

    assert {(table, key) for table, _, key in granted(function)} - touched == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_opens_secrets_of_the_purposes_that_it_has_to(
    function: str, uses: dict[str, set[Use]]
) -> None:
    done = {use for use in uses[function] if use[0] == KMS}

    assert done == unsealing(function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_key_fence_stands_around_every_grant_that_can_have_one(function: str) -> None:
    unfenced = {action for _, action, key in granted(function) if not key}

    assert unfenced <= {"Scan"}
    kinds = {key for _, _, key in granted(function) if key} - WHOLE
    assert all(fnmatch.fnmatch(key, "[A-Z]*#") for key in kinds)


def test_leading_keys_of_the_template_are_the_kinds_of_keyspace() -> None:
    granted_kinds = {
        (key, table) for function in FUNCTIONS for table, _, key in granted(function) if key
    }

    assert granted_kinds == {
        (kind.pk() if kind.pk() in WHOLE else kind.prefix, table)
        for kind in keyspace.ALL
        for table in kind.tables
    }


WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
STORAGE = (ROOT / "docs" / "storage.md").read_text()


def test_docs_list_the_writers_and_readers_of_every_kind(uses: dict[str, set[Use]]) -> None:
    def doing(table: str, key: str, *, writing: bool) -> set[str]:
        return {
            function
            for function, done in uses.items()
            if any(
                one[0] == table and one[2] == key and (one[1] in WRITES) == writing for one in done
            )
        }

    rows = re.findall(r"^\| `([A-Z]+#?)` \| `(.+?)` \| (.+) \| (.+) \|$", STORAGE, re.MULTILINE)
    listed_ones = {
        (kind, table): (set(re.findall(r"`(\w+)`", writers)), set(re.findall(r"`(\w+)`", readers)))
        for kind, table, writers, readers in rows
    }

    assert listed_ones == {
        (key, table): (doing(table, key, writing=True), doing(table, key, writing=False))
        for kind in keyspace.ALL
        for table in kind.tables
        for key in [kind.pk() if kind.pk() in WHOLE else kind.prefix]
    }


def test_docs_describe_an_item_of_every_kind_and_no_other() -> None:
    items, _, rest = STORAGE.partition("## Indexes")
    indexes, _, _ = rest.partition("## Access")
    described = set(re.findall(r"`([A-Z]+)(?:#[^`]*)?`", _column(items, 1) + _column(indexes, 1)))

    assert described == {kind.name for kind in keyspace.ALL}


def _column(text: str, number: int) -> str:
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return "\n".join(row[number] for row in rows)


def test_no_other_file_writes_a_kind_of_partition_key() -> None:
    kinds = "|".join(kind.name for kind in keyspace.ALL)
    written = [
        module.name
        for module in sources.everything()
        if module.name != keyspace.__name__
        and re.search(rf"f?\"({kinds})#|\"WATCHED\"", module.path.read_text())
    ]

    assert written == []


def test_no_function_scans_but_one_and_that_an_index_of_nothing_but_secrets() -> None:
    assert not hasattr(connection.client, "scan")
    scanning = {
        (name, table, action)
        for name in FUNCTIONS
        for table, action, _ in granted(name)
        if action in {"Scan", "PartiQLSelect", "*"}
    }
    assert scanning == {("rewrap", "main/by_wrapped_key", "Scan")}
    (index,) = [
        one
        for one in TEMPLATE["MainTable"]["Properties"]["GlobalSecondaryIndexes"]
        if one["IndexName"] == "by_wrapped_key"
    ]
    assert index["KeySchema"] == [{"AttributeName": "wrapped_key", "KeyType": "HASH"}]
    assert index["Projection"]["NonKeyAttributes"] == ["wrapped_by"]
    writers = {
        module.name
        for module in (*sources.foundation(), *sources.rooms())
        if re.search(r'"wrapped_key"\s*:', module.path.read_text())
    }
    assert writers == {"gatehouse.secrets.store"}


def test_all_purposes_are_in_one_function_that_no_route_leads_to() -> None:
    everything = {name for name in FUNCTIONS if {p for *_, p in unsealing(name)} == set(Purpose)}

    assert everything == {"rewrap"}
    assert "Events" not in FUNCTIONS["rewrap"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_who_seals_may_remember_which_key_did(function: str) -> None:
    """The first secret under a settings key is noted down, whoever seals it."""
    if "GenerateDataKey" in {action for _, action, _ in unsealing(function)}:
        needed = {("main", action, "SECRET#") for action in ("GetItem", "UpdateItem")}
        assert needed <= granted(function)

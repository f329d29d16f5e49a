"""What a request may hold: only fields and query parameters that its route knows, each once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gatehouse.web import bodies
from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.aws.invocation import Answer
from support.checks import described_routes
from support.checks.described_routes import Operation


@pytest.fixture(scope="module")
def admin(people: People, settings_key: str, delivery_queue: str) -> Holder:
    del settings_key, delivery_queue
    return people.tenant()


@pytest.fixture(scope="module")
def call(front: Front, admin: Holder):  # noqa: ANN201
    def ask(operation: Operation, body: Any = None, query: Any = None) -> Answer:
        path = operation.path.replace("{id}", admin.key_id).replace("{name}", "billing")
        key = None if operation.public else admin.key
        return front(operation.method, path, key=key, body=body, query=query)

    return ask


def _details(answer: Answer) -> dict[str, Any]:
    error = answer.json()["error"]
    return error["details"] if isinstance(error, dict) else {}


def test_every_object_of_every_body_refuses_a_field_that_it_does_not_know(call) -> None:  # noqa: ANN001
    wrong = []
    for operation in described_routes.with_body():
        for at, _ in described_routes.objects(operation.body or {}):
            answer = call(operation, described_routes.nested(at, {"zzqx": 1}))
            path = ".".join((*at, "zzqx")).replace("[]", "0")
            if answer.status != 400 or f"Unknown field {path}. Known: " not in error_text(answer):
                wrong.append((str(operation), path, answer.text))
    assert not wrong


def test_every_misspelled_field_is_named_with_the_field_that_was_meant(call) -> None:  # noqa: ANN001
    wrong, seen = [], 0
    for operation in described_routes.with_body():
        for at, schema in described_routes.objects(operation.body or {}):
            for name in schema["properties"]:
                seen += 1
                answer = call(operation, described_routes.nested(at, {name + "x": None}))
                path = ".".join((*at, name + "x"))
                expected = f"Unknown field {path}: did you mean {name}?"
                details = _details(answer) or {"field": path, "did_you_mean": name}
                if (answer.status, error_text(answer), details) != (
                    *(400, expected),
                    {"field": path, "did_you_mean": name},
                ):
                    wrong.append((str(operation), path, answer.text))
    assert not wrong
    assert seen > 80


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/api-keys", {"name": "x", "scope": []}, "scope: did you mean scopes?"),
        ("/api/auth/keys", {"name": "x", "expires_at": ""}, "expires_at: did you mean expiresAt?"),
        ("/v1/api-keys", {"expiresAt": ""}, "expiresAt: did you mean expires_at?"),
        (
            "/v1/api-keys",
            {"permissions": {"signal_type": ["pulse"]}},
            "permissions.signal_type: did you mean signal_types?",
        ),
        (
            "/admin/webhooks",
            {"url": "https://a.example", "filters": {"type": []}},
            "filters.type: did you mean types?",
        ),
        ("/emit", {"content": "x", "toRing": "red"}, "toRing: did you mean to_ring?"),
    ],
)
def test_a_misspelled_restriction_is_refused(
    front: Front, admin: Holder, path: str, body: dict, error: str
) -> None:
    answer = front("POST", path, key=admin.key, body=body)
    assert (answer.status, error_text(answer)) == (400, f"Unknown field {error}")


@pytest.mark.parametrize("name", ["x" * 100_000, "\n\u202e", "", "é" * 65])
def test_an_unknown_name_is_repeated_in_part_only(front: Front, admin: Holder, name: str) -> None:
    answer = front("POST", "/v1/api-keys", key=admin.key, body={"name": "x", name: 1})
    assert answer.status == 400
    assert error_text(answer).isascii()
    assert error_text(answer).isprintable()
    assert len(error_text(answer)) < 200


def test_a_route_without_a_body_refuses_fields(call) -> None:  # noqa: ANN001
    without = [one for one in described_routes.operations() if one.body is None]
    wrong = []
    for operation in without:
        answer = call(operation, {"descendants": True})
        if (answer.status, error_text(answer)) != (400, "Unknown field descendants"):
            wrong.append((str(operation), answer.text))
    assert not wrong
    assert len(without) > 30


def test_a_route_without_a_body_accepts_an_empty_object(front: Front, admin: Holder) -> None:
    for body in ({}, None, "", " {} "):
        assert front("GET", "/v1/whoami", key=admin.key, body=body).status == 200


def test_every_route_refuses_query_parameters_that_it_does_not_know(call) -> None:  # noqa: ANN001
    wrong = []
    for operation in described_routes.operations():
        for name, hint in [
            ("zzqx", f". Known: {', '.join(operation.query)}" if operation.query else ""),
            *((name + "x", f": did you mean {name}?") for name in operation.query),
        ]:
            answer = call(operation, query={name: "1"})
            if (answer.status, error_text(answer)) != (
                400,
                f"Unknown query parameter {name}{hint}",
            ):
                wrong.append((str(operation), name, answer.text))
    assert not wrong


def test_every_query_parameter_is_refused_where_it_is_given_twice(call) -> None:  # noqa: ANN001
    wrong = []
    for operation in described_routes.operations():
        for name in operation.query:
            for values in (["1", "2"], ["1", "1"]):
                answer = call(operation, query={name: values})
                expected = f"Query parameter {name} is given twice"
                if (answer.status, error_text(answer)) != (400, expected):
                    wrong.append((str(operation), name, answer.text))
    assert not wrong


HERE = "http://127.0.0.1:1029/in"


@pytest.mark.parametrize(
    ("path", "start", "entry", "end"),
    [
        ("/v1/api-keys", '{"name":"x","scopes":[', "1,", "1]}"),
        ("/v1/api-keys", '{"name":"x","permissions":{"rings":[', "1,", "1]}}"),
        ("/admin/webhooks", '{"url":"x","retry_schedule":[', "0,", "0]}"),
        ("/emit", '{"signal_type":"alert","content":"x","tags":[', "1,", "1]}"),
    ],
)
def test_a_list_of_wrong_entries_is_refused_before_any_is_looked_at(
    front: Front, admin: Holder, path: str, start: str, entry: str, end: str
) -> None:
    body = start + entry * 125_000 + end
    began = time.process_time()
    bodies.parse(body.encode(), "application/json")
    reading = time.process_time() - began
    began = time.process_time()
    answer = front("POST", path, key=admin.key, body=body)
    spent = time.process_time() - began
    assert answer.status == 400
    assert "entries" in error_text(answer)
    # Reading takes 0.03 s, and 0.4 s while coverage is measured. Describing each entry took 1.1 s.
    assert spent < 2 * reading + 0.2


SIGNAL = {"signal_type": "alert", "content": "disk full"}
NO_WALLET = {"message": "m", "signature": "0x0"}
# A request that each route with a body accepts. A function makes what it needs at each call.
ACCEPTED: dict[str, dict[str, Any]] = {
    "POST /api/auth/keys": {"name": "x"},
    "POST /v1/accounts": {"name": "x"},
    "POST /v1/api-keys": {"name": "x"},
    "POST /v1/api-keys/{id}/rotate": {},
    "PATCH /v1/api-keys/{id}": {},
    "POST /v1/keys/verify": {"key": "hk_0"},
    "POST /admin/api-keys": {"owner": "{identity}"},
    "POST /admin/api-keys/{id}/rotate": {},
    "POST /admin/api-keys/{id}/revoke": {},
    "POST /invite/create": {"name": "x", "type": "agent"},
    "PATCH /admin/identities/{id}": {},
    "POST /admin/policy/evaluate": {"action": "signal:emit", "identity": "{identity}"},
    "POST /invite": {"code": "{code}", "name": "x", "type": "agent"},
    "POST /auth/attach-wallet": NO_WALLET,
    "POST /auth/siwe-login": NO_WALLET,
    "POST /federation/trust": {"name": "x", "endpoint": "https://b.example/in"},
    "POST /federation/inbound": SIGNAL | {"from_identity": "x"},
    "POST /admin/webhooks/{id}/recover": {"since": "2026-01-01T00:00:00Z"},
    "POST /emit": SIGNAL,
    "POST /claim": {"signal_id": "{signal}"},
    "POST /ack": {"signal_id": "{signal}"},
    "POST /admin/webhooks": {"url": HERE},
    "PATCH /admin/webhooks/{id}": {},
    "POST /admin/webhooks/{id}/rotate-secret": {},
    "POST /api/services": {"name": "{service}", "healthUrl": HERE},
    "PUT /api/auth/transcription/openai": {"apiKey": "sk"},
    "PUT /api/auth/providers/{name}": {"apiKey": "sk"},
}
# What null takes away in a change. Every other field of a PATCH refuses null.
TAKEN_AWAY = {
    "PATCH /v1/api-keys/{id}": {"expires_at": None, "rate_limit": None, "metadata": {}},
    "PATCH /admin/identities/{id}": {},
    "PATCH /admin/webhooks/{id}": {
        "filters": {"rings": [], "types": [], "min_urgency": 0.0},
        "description": "",
        "retry_schedule": [5, 30, 300],
        "headers": None,
    },
}
# Fields that are numbers.
NUMBERS = {"rateLimit", "rate_limit", "grace_seconds", "max_uses", "urgency"}
# Where null is not the same as leaving the field out: it means none.
MEANS_NONE = {"rate_limit", "rateLimit", "quota"}


class Maker:
    """Makes what a request needs, anew for each."""

    def __init__(self, front: Front, admin: Holder) -> None:
        self.front, self.admin, self.made = front, admin, 0

    def request(self, operation: Operation, changes: dict[str, Any]) -> Answer:
        """Send the request that the operation accepts, with changes."""
        self.made += 1
        path = operation.path.replace("{name}", "billing")
        if "{id}" in path:
            path = path.replace("{id}", self._id(path))
        body = {
            name: self._value(value) for name, value in ACCEPTED[str(operation)].items()
        } | changes
        key = None if operation.public else self.admin.key
        return self.front(operation.method, path, key=key, body=body)

    def _id(self, path: str) -> str:
        if "identities" in path:
            return self.admin.identity_id
        if "webhooks" in path:
            return self._made("/admin/webhooks", {"url": HERE})["id"]
        return self._made("/v1/api-keys", {"name": "x"})["id"]

    def _value(self, value: Any) -> Any:
        if value == "{identity}":
            return f"identity:{self.admin.identity_id}"
        if value == "{code}":
            return self._made("/invite/create", {"name": "x", "type": "agent"})["code"]
        if value == "{signal}":
            signal = self._made("/emit", SIGNAL | {"signal_type": "task"})["id"]
            self.front("POST", "/claim", key=self.admin.key, body={"signal_id": signal})
            return signal
        return f"service-{self.made}" if value == "{service}" else value

    def _made(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.front("POST", path, key=self.admin.key, body=body)
        assert answer.status == 201, answer.text
        return answer.json()["data"]


@pytest.fixture
def maker(front: Front, people: People, admin: Holder, monkeypatch: pytest.MonkeyPatch) -> Maker:
    del admin
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    return Maker(front, people.tenant())


def _shape(value: Any) -> Any:
    """Return an answer's value without what differs from request to request."""
    changing = {"id", "created_at", "createdAt", "name", "signal_id", "lastChecked", "expires_at"}
    if isinstance(value, dict):
        return {name: _shape(one) for name, one in value.items() if name not in changing}
    return value if isinstance(value, (int, list, type(None))) else type(value)


def test_every_route_with_a_body_has_a_request_that_it_accepts() -> None:
    assert set(ACCEPTED) == {str(one) for one in described_routes.with_body()}
    changes = {str(one) for one in described_routes.with_body() if one.method == "PATCH"}
    assert set(TAKEN_AWAY) == changes


@pytest.mark.parametrize(
    "operation",
    [one for one in described_routes.with_body() if one.method != "PATCH"],
    ids=str,
)
def test_null_is_the_same_as_leaving_an_optional_field_out(
    maker: Maker, operation: Operation
) -> None:
    """Federation and wallets refuse this request for its proof: then both are refused alike."""
    plain = maker.request(operation, {})
    assert plain.status != 400, plain.text
    for name, schema in (operation.body or {})["properties"].items():
        given = ACCEPTED[str(operation)]
        nulled = maker.request(operation, {name: None})
        if name in (operation.body or {}).get("required", ()) or name == "apiKey":
            assert (nulled.status, error_text(nulled)) == (400, f"{name} is required")
        elif name not in MEANS_NONE | set(given):
            assert nulled.status == plain.status, (name, nulled.text)
            if plain.text:
                assert _shape(nulled.json()) == _shape(plain.json()), name
        for inner in schema.get("properties", {}):
            assert maker.request(operation, {name: {inner: None}}).status == plain.status


@pytest.mark.parametrize("operation", described_routes.with_body(), ids=str)
def test_a_number_is_no_object_list_or_text(maker: Maker, operation: Operation) -> None:
    """A number with a fraction is read as an object of ours, whose attributes are no fields."""
    for name in (operation.body or {})["properties"]:
        if name in NUMBERS:
            continue
        for number in (1.5, 1e300, 7):
            refused = maker.request(operation, {name: number})
            assert refused.status == 400, (name, number, refused.text)
            assert error_text(refused).startswith(f"{name} must be"), refused.text


@pytest.mark.parametrize("path", ["/api/auth/keys", "/v1/api-keys", "/admin/api-keys"])
def test_null_as_a_rate_limit_means_no_limit(front: Front, admin: Holder, path: str) -> None:
    field = "rateLimit" if path.startswith("/api") else "rate_limit"
    body = {"name": "x"} | ({"owner": admin.identity_id} if path.startswith("/admin") else {})
    none = front("POST", path, key=admin.key, body=body | {field: None})
    assert none.status in {201, 403}
    if none.status == 201 and field in none.text:
        data = none.json()
        assert data.get("data", data)[field] is None


@pytest.mark.parametrize(
    "operation", [one for one in described_routes.with_body() if one.method == "PATCH"], ids=str
)
def test_null_in_a_change_takes_the_value_away_or_is_refused(
    maker: Maker, operation: Operation
) -> None:
    taken = TAKEN_AWAY[str(operation)]
    for name in (operation.body or {})["properties"]:
        answer = maker.request(operation, {name: None})
        if name not in taken:
            assert (answer.status, error_text(answer)) == (400, f"{name} must not be null")
        elif answer.status != 200:
            # The creator's own key has a limit, and a key must not exceed it.
            assert (name, answer.status) == ("rate_limit", 403)
        elif name != "headers":
            assert answer.json()["data"][name] == taken[name]
        else:
            assert answer.json()["data"]["header_names"] == []


NAMES = ("山田\u3000太郎", "\U0001f469\u200d\U0001f4bb", "\U0001f3f4\U000e0067\U000e007f")


@pytest.mark.parametrize("text", NAMES)
def test_every_room_accepts_any_text_that_can_be_shown(maker: Maker, text: str) -> None:
    for path, body, field in (
        ("/api/auth/keys", {"name": text}, "name"),
        ("/v1/accounts", {"name": text}, "name"),
        ("/v1/api-keys", {"name": text, "permissions": {"ring_scopes": [text]}}, "name"),
        ("/invite/create", {"name": text, "type": "agent"}, "name"),
        ("/emit", SIGNAL | {"to_ring": text, "tags": [text], "from_role": text}, "to_ring"),
        ("/admin/webhooks", {"url": HERE, "description": text}, "description"),
        ("/admin/webhooks", {"url": HERE, "filters": {"rings": [text]}}, "url"),
        ("/federation/trust", {"name": text, "endpoint": "https://b.example"}, "peer_id"),
    ):
        answer = maker.front("POST", path, key=maker.admin.key, body=body)
        assert answer.status == 201, (path, answer.text)
        data = answer.json().get("data", answer.json())
        assert data.get("account", data).get(field, text) in {text, HERE} or field == "peer_id"


@pytest.mark.parametrize("text", ["a\x00b", "a\x85b", "a\u2028b", "a\u202eb", "a\u2066b"])
def test_every_room_refuses_characters_that_change_what_is_shown(maker: Maker, text: str) -> None:
    for path, body in (
        ("/api/auth/keys", {"name": text}),
        ("/v1/accounts", {"name": text}),
        ("/v1/api-keys", {"name": "x", "permissions": {"ring_scopes": [text]}}),
        ("/invite/create", {"name": text, "type": "agent"}),
        ("/emit", SIGNAL | {"to_ring": text}),
        ("/emit", SIGNAL | {"tags": [text]}),
        ("/admin/webhooks", {"url": HERE, "description": text}),
        ("/admin/webhooks", {"url": HERE, "filters": {"rings": [text]}}),
        ("/federation/trust", {"name": text, "endpoint": "https://b.example"}),
    ):
        answer = maker.front("POST", path, key=maker.admin.key, body=body)
        assert answer.status == 400, (path, answer.text)

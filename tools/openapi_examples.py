"""Examples of request bodies, and links from what an operation makes to what takes it."""

from __future__ import annotations

from typing import Any

# Examples of bodies; where there is none, it is made of the fields' own.
_SIGNED = {"message": "app.example wants you to sign in ...", "signature": "0x..."}
_EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("patch", "/v1/api-keys/{id}"): {"name": "production", "expires_at": "2030-01-01T00:00:00Z"},
    ("post", "/v1/api-keys/{id}/rotate"): {"grace_seconds": 3600},
    ("post", "/v1/keys/verify"): {"key": "hk_...", "scope": "services:read"},
    ("post", "/admin/api-keys/{id}/rotate"): {"grace_seconds": 3600},
    ("patch", "/admin/identities/{id}"): {"status": "suspended"},
    ("post", "/admin/policy/evaluate"): {
        "identity": "identity:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e",
        "action": "signal:emit",
        "resource": {"signal_type": "alert"},
    },
    ("post", "/invite"): {"code": "8c1f02ab", "name": "Bo", "type": "human"},
    ("post", "/auth/attach-wallet"): _SIGNED,
    ("post", "/auth/siwe-login"): _SIGNED,
    ("post", "/federation/trust"): {
        "name": "Other",
        "endpoint": "https://other.example/federation/inbound",
        "allowed_scopes": ["signal:alert"],
    },
    ("post", "/federation/inbound"): {
        "signal_type": "alert",
        "content": "disk full",
        "from_identity": "monitor",
    },
    ("post", "/admin/webhooks/{id}/recover"): {"since": "2026-01-01T00:00:00Z", "dry_run": True},
    ("post", "/emit"): {"signal_type": "alert", "content": "disk full", "urgency": 0.9},
    ("patch", "/admin/webhooks/{id}"): {"filters": {"types": ["alert"], "min_urgency": 0.7}},
    ("post", "/admin/webhooks/{id}/rotate-secret"): {"grace_seconds": 3600},
    ("put", "/api/auth/transcription/openai"): {"apiKey": "..."},
    ("put", "/api/auth/providers/{name}"): {"apiKey": "..."},
}
# Where an answer names what an operation under another path takes: the answer's operation and
# status, a JSON pointer into its body, the beginning of the other paths, and their parameter.
_MADE = (
    ("post", "/api/auth/keys", "201", "/id", "/api/auth/keys/{id}", "id"),
    ("post", "/api/services", "201", "/name", "/api/services/{name}", "name"),
    ("post", "/v1/accounts", "201", "/data/api_key/id", "/v1/api-keys/{id}", "id"),
    ("post", "/v1/api-keys", "201", "/data/id", "/v1/api-keys/{id}", "id"),
    ("post", "/v1/api-keys/{id}/rotate", "201", "/data/id", "/v1/api-keys/{id}", "id"),
    ("post", "/admin/api-keys", "201", "/data/id", "/admin/api-keys/{id}", "id"),
    ("post", "/admin/api-keys/{id}/rotate", "200", "/data/id", "/admin/api-keys/{id}", "id"),
    ("post", "/admin/webhooks", "201", "/data/id", "/admin/webhooks/{id}", "id"),
    (
        *("post", "/admin/webhooks/{id}/test", "202", "/data/delivery_id"),
        *("/admin/webhooks/deliveries/{id}", "id"),
    ),
    (
        *("get", "/admin/webhooks/{id}/deliveries", "200", "/data/0/id"),
        *("/admin/webhooks/deliveries/{id}", "id"),
    ),
    (
        *("get", "/admin/webhooks/deliveries", "200", "/data/0/id"),
        *("/admin/webhooks/deliveries/{id}", "id"),
    ),
    (
        *("get", "/admin/webhooks/deliveries/{id}", "200", "/data/signal_id"),
        *("/signals/{id}", "id"),
    ),
    ("post", "/emit", "201", "/data/id", "/signals/{id}", "id"),
    ("post", "/federation/trust", "201", "/data/peer_id", "/admin/peers/{id}", "id"),
    ("post", "/invite", "201", "/data/identity/id", "/admin/identities/{id}", "id"),
    ("get", "/auth/sessions", "200", "/data/0/id", "/auth/sessions/{id}", "id"),
    ("get", "/admin/identities", "200", "/data/0/id", "/admin/identities/{id}", "id"),
)


def add_links(paths: dict[str, Any]) -> None:
    """Link what an operation made to every operation that takes it."""
    for method, path, status, pointer, beginning, parameter in _MADE:
        links = paths[path][method]["responses"][status].setdefault("links", {})
        for other, methods in paths.items():
            if other == beginning or other.startswith(f"{beginning}/"):
                for operation in methods.values():
                    links[operation["operationId"]] = {
                        "operationId": operation["operationId"],
                        "parameters": {parameter: f"$response.body#{pointer}"},
                    }
    emitted = paths["/emit"]["post"]["responses"]["201"]["links"]
    for path in ("/claim", "/ack"):
        name = paths[path]["post"]["operationId"]
        body = {"signal_id": "$response.body#/data/id"}
        emitted[name] = {"operationId": name, "requestBody": body}


def add_examples(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add an example to every body."""
    for path, methods in paths.items():
        for method, operation in methods.items():
            _add_example(operation, schemas, given=_EXAMPLES.get((method, path)))


def _add_example(
    operation: dict[str, Any], schemas: dict[str, Any], *, given: dict[str, Any] | None
) -> None:
    """Add an example of the body: the given one, or what is required and what has examples."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
    required = schema.get("required", ())
    content["example"] = given or {
        name: _example(field)
        for name, field in schema["properties"].items()
        if name in required or "examples" in field
    }


def _example(field: dict[str, Any]) -> Any:
    if "examples" in field:
        return field["examples"][0]
    if "enum" in field:
        return field["enum"][0]
    return field["default"]

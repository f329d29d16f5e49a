"""Build the OpenAPI document from the handlers of all groups.

`python tools/openapi.py --write` commits it to the layer, from where it is served;
without the flag the exit code tells whether the committed one is current.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "layers/gatehouse/python"), str(ROOT / "tests")]

GROUPS = (
    "public",
    "keys_services",
    "keys_account",
    "verification",
    "keys_admin",
    "people",
    "wallets",
    "federation",
    "deliveries",
    "signals",
    "webhooks",
    "health_metrics",
    "services",
    "secrets",
)
DOCUMENT = ROOT / "layers/gatehouse/python/gatehouse/web/openapi.json"
# For readers of the repository; a link would not survive every checkout.
COPY = ROOT / "docs/openapi.json"

_ERRORS = {
    "400": "The request cannot be read; the field is named.",
    "401": "The signature or the proof does not hold.",
    "403": "The key or its identity may not do this.",
    "404": "Unknown, or another account's.",
    "409": "The thing's state forbids it, or the Idempotency-Key was used.",
    "410": "It was there once, and its time is over.",
    "413": "The body is over 256 KiB.",
    "426": "The path is a WebSocket's.",
    "429": "Over the key's rate limit; see Retry-After.",
    "500": "A failure of ours.",
}
_GATEWAY = {
    "401": "The credential is missing or not good for anything.",
    "503": "A failure of ours; see Retry-After.",
}
# What a route's shape does not tell.
_ALSO = {
    ("post", "/v1/accounts"): {"403"},
    ("put", "/api/auth/providers/{name}"): {"409"},
    ("patch", "/v1/api-keys/{id}"): {"409"},
    ("post", "/admin/api-keys"): {"404"},
    ("post", "/admin/api-keys/{id}/rotate"): {"409"},
    ("post", "/admin/policy/evaluate"): {"404"},
    ("patch", "/admin/identities/{id}"): {"409"},
    ("post", "/invite"): {"401", "404", "410", "429"},
    ("post", "/auth/attach-wallet"): {"401", "409"},
    ("post", "/auth/siwe-login"): {"401", "409"},
    ("post", "/federation/inbound"): {"401", "403"},
    ("post", "/admin/webhooks/deliveries/{id}/replay"): {"409", "410"},
    ("post", "/emit"): {"404"},
    ("post", "/claim"): {"404", "409"},
    ("post", "/ack"): {"404", "409"},
    ("post", "/admin/webhooks/{id}/rotate-secret"): {"409"},
    ("get", "/api/services/{name}/logs"): {"426"},
    ("post", "/api/services/{name}/restart"): {"409"},
    ("delete", "/api/services/{name}"): {"409"},
}
_GATEWAY_SCHEMA = {
    "type": "object",
    "required": ["error", "status", "request_id"],
    "properties": {
        "error": {"type": "string"},
        "status": {"type": "integer"},
        "request_id": {"type": "string"},
    },
}
_CREDENTIALS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "hammurabi": {"type": "apiKey", "in": "header", "name": "X-Hammurabi-Api-Key"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def build() -> dict[str, Any]:
    """Merge what FastAPI knows of each group, in the order of GROUPS."""
    for name in ("GATEHOUSE_KEYS_TABLE", "GATEHOUSE_MAIN_TABLE"):
        os.environ.setdefault(name, "unused")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    from gatehouse.web import door as doors  # noqa: PLC0415 - after the path is set
    from gatehouse.web import reference, surfaces  # noqa: PLC0415
    from support.aws.invocation import load  # noqa: PLC0415

    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {
        f"{surface.name.capitalize()}Error": surface.error_schema
        for surface in (surfaces.SERVICES, surfaces.ACCOUNT, surfaces.ADMIN)
    }
    schemas["GatewayError"] = _GATEWAY_SCHEMA
    for group in GROUPS:
        door = load(group).door
        needs = {
            (method.lower(), route.path): door.needs[route.endpoint]
            for route in door.app.routes
            for method in route.methods
        }
        # Groups name their schemas independently of each other.
        prefix = "#/components/schemas/"
        text = json.dumps(door.app.openapi()).replace(prefix, prefix + _schema_prefix(group))
        found = json.loads(text)
        for name, schema in found.get("components", {}).get("schemas", {}).items():
            if name not in {"HTTPValidationError", "ValidationError"}:
                schemas[_schema_prefix(group) + name] = schema
        for path, methods in found["paths"].items():
            for method, operation in methods.items():
                requirement = needs[method, path]
                _finish(
                    operation,
                    requirement,
                    door.surface.name,
                    public=doors.public,
                    also=_ALSO.get((method, path), set()),
                )
                operation["operationId"] = f"{group}_{method}_{path.strip('/')}".translate(
                    str.maketrans("/{}.-", "_____")
                )
                paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse",
            "version": reference.VERSION,
            "description": "API keys, accounts, policy and audit: three surfaces, one core.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _CREDENTIALS},
    }


def _schema_prefix(group: str) -> str:
    return "".join(word.capitalize() for word in group.split("_"))


def _finish(
    operation: dict[str, Any], requirement: Any, surface: str, *, public: Any, also: set[str]
) -> None:
    first, _, rest = operation["description"].partition(". ")
    operation["summary"] = first.rstrip(".")
    operation["description"] = rest or f"{first.rstrip('.')}."
    responses = operation["responses"]
    responses.pop("422", None)
    reference = {"$ref": f"#/components/schemas/{surface.capitalize()}Error"}
    statuses = also | ({"413", "500"} if "requestBody" in operation else {"500"})
    if "requestBody" in operation or operation.get("parameters"):
        statuses.add("400")
    gateway = {"503"}
    if requirement is public:
        operation["security"] = []
        operation["x-needs"] = "nothing"
    else:
        operation["security"] = [{name: []} for name in _CREDENTIALS]
        operation["x-needs"] = (
            requirement.__doc__ if requirement.__name__ == "check" else "any live key"
        )
        statuses |= {"403", "429"}
        gateway.add("401")
    if any(entry["in"] == "path" for entry in operation.get("parameters", [])):
        statuses.add("404")
    if "201" in responses:
        statuses.add("409")
    for status in sorted(statuses):
        responses[status] = _error(_ERRORS[status], reference)
    gateway_reference = {"$ref": "#/components/schemas/GatewayError"}
    both = {"503", *(gateway & statuses)}
    for status in sorted(gateway):
        # A handler whose table does not answer says 503 too, in its own dialect.
        schema = {"anyOf": [reference, gateway_reference]} if status in both else gateway_reference
        responses[status] = _error(_GATEWAY[status], schema)
    operation["responses"] = dict(sorted(responses.items()))


def _error(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def text() -> str:
    """Write the document as it is committed."""
    return json.dumps(build(), indent=1, sort_keys=False) + "\n"


if __name__ == "__main__":
    current = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    wanted = text()
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(wanted)
        COPY.write_text(wanted)
    elif current != wanted:
        sys.exit("openapi.json is not what the handlers say: run `make openapi`")

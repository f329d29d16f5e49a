"""A client that knows the API document only: schemathesis, which makes requests from it.

Requests that the document allows, at its bounds and at random, must be accepted; requests that it
forbids, one beyond a bound or of a wrong form, must be refused; each answer must be as described.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import hooks
from schemathesis.engine import from_schema

from support.actors.people import Holder
from support.aws import wsgi
from support.aws.api_gateway import Front

# Fields of bodies that must have a time to come, or a member of the account.
EXPIRIES = ("expires_at", "expiresAt")
MEMBERS = ("owner", "identity")
# Refusals of requests that the document allows. No schema can say these reasons.
UNSAYABLE = (
    # Whether a host is public, resolves, has its full name, or is this API's own.
    r"(url|healthUrl|restartUrl) must (name a host|not lead|write an IPv4 address|use port)",
    # The document serves the local stack, too, which allows http.
    r"(url|healthUrl|restartUrl) must be an https URL",
    # A name that a delivery sets itself, in any case and with _ for -; or twice, in another case.
    r"headers must not set ",
    # JSON Schema counts 1.0 among the integers.
    r"[\w.]+ must be a whole number$",
)
_SETTINGS: dict[str, Any] = {
    # The same requests in each run.
    "generation": {"max-examples": 2, "deterministic": True, "no-shrink": True},
    # API Gateway answers methods that no route has.
    "phases": {"coverage": {"unexpected-methods": []}},
    "continue-on-failure": True,
    "checks": {
        # A body that is too long has more entries than the document allows.
        "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 409, 413, 415, 429]},
        # tests/functions/test_credentials.py sends these; here they would double the requests.
        "ignored_auth": {"enabled": False},
        # A revoked key and a removed identity are still shown.
        "use_after_free": {"enabled": False},
    },
}


@dataclass
class Findings:
    """What a run found: how many answers had which status, by operation, and what was wrong."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    wrong: dict[tuple[str, ...], str] = field(default_factory=dict)


def run(front: Front, admin: Holder, *, future: str) -> Findings:
    """Send requests of an admin; `future` is an expiry that is accepted now."""
    known = dict.fromkeys(EXPIRIES, future)
    known |= dict.fromkeys(MEMBERS, f"identity:{admin.identity_id}")
    config = schemathesis.Config.from_dict(
        {
            **_SETTINGS,
            "headers": {"Authorization": f"Bearer {admin.key}"},
        }
    )
    schema = schemathesis.openapi.from_wsgi("/openapi.json", wsgi.application(front), config=config)

    @schemathesis.hook
    def before_call(_: Any, case: schemathesis.Case, **__: Any) -> None:
        _mend(case, known)

    found = Findings()
    try:
        for event in from_schema(schema).execute():
            if hasattr(event, "recorder"):
                _read(event.recorder, found)
            elif "Error" in type(event).__name__:
                found.wrong[type(event).__name__,] = str(vars(event))
    finally:
        hooks.unregister(before_call)
    return found


def _mend(case: schemathesis.Case, known: Mapping[str, str]) -> None:
    """Replace what no schema can say: which times are to come, who exists, and known cursors."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query and "after" in case.query:
        del case.query["after"]
    if isinstance(case.body, dict):
        for name, value in known.items():
            if isinstance(case.body.get(name), str):
                case.body[name] = value


def _read(recorder: Any, found: Findings) -> None:
    for case_id, checks in recorder.checks.items():
        case = recorder.cases[case_id].value
        response = recorder.interactions[case_id].response
        if response is None:
            found.wrong[recorder.label, "no response"] = str(checks)
            continue
        of_operation = found.statuses.setdefault(case.operation.label, Counter())
        of_operation[response.status_code] += 1
        answer = response.content.decode()
        for check in checks:
            failed = check.failure_info is not None
            if failed and not (check.name == "positive_data_acceptance" and _unsayable(answer)):
                found.wrong.setdefault(
                    (recorder.label, check.name, _message(answer)),
                    f"{check.failure_info.failure} {case.path_parameters} {case.query} {case.body}",
                )


def _message(answer: str) -> str:
    try:
        value = json.loads(answer)
    except ValueError:
        return answer
    return str(value.get("message", answer)) if isinstance(value, Mapping) else answer


def _unsayable(answer: str) -> bool:
    return any(re.match(reason, _message(answer)) for reason in UNSAYABLE)

"""The examples in docs/ work."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from gatehouse.audit import rules as chain
from gatehouse.audit.model import Change, Head, Origin
from gatehouse.bootstrap import actions as bootstrap
from gatehouse.core import clock
from gatehouse.federation import rules as proofs
from gatehouse.outbound import headers as outbound
from gatehouse.services import rules as services
from gatehouse.signals import rules as signals
from gatehouse.signals.model import NewSignal
from gatehouse.webhooks import signing

DOCS = Path(__file__).parents[2] / "docs"
NOW = 1_790_000_000_000_000


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of one language."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_proof_on_the_page_is_accepted() -> None:
    (code,) = blocks("federation.md", "python")
    namespace: dict[str, Any] = {}
    exec(compile(code, "docs/federation.md", "exec"), namespace)  # noqa: S102 - our own page
    body = b'{"signal_type": "task"}'

    proof = proofs.read_proof(namespace["proof"]("the secret", body))
    assert proof is not None
    now = proof.timestamp * 1_000
    assert proofs.is_valid(proof, "the secret", method="POST", body=body, now=now)
    assert not proofs.is_valid(proof, "another", method="POST", body=body, now=now)


def test_a_hook_with_the_page_s_check_accepts_our_restarts_only() -> None:
    (code,) = blocks("services.md", "python")
    namespace: dict[str, Any] = {}
    exec(compile(code, "docs/services.md", "exec"), namespace)  # noqa: S102 - our own page
    genuine = namespace["genuine"]
    secret, other = (services.secret_text(bytes([start]) * 32) for start in (1, 2))
    body, now = b'{"type": "service.restart"}', clock.now() // clock.SECOND

    def headers(timestamp: int) -> dict[str, str]:
        return signing.standard([secret], message_id="restart:1", timestamp=timestamp, body=body)

    assert genuine(secret, headers(now), body)
    assert not genuine(other, headers(now), body)
    assert not genuine(secret, headers(now), body + b" ")
    assert not genuine(secret, headers(now) | {"webhook-id": "restart:2"}, body)
    assert not genuine(secret, headers(now - 301), body)


def test_the_bootstrap_file_on_the_page_is_valid() -> None:
    (text,) = blocks("bootstrap.md", "yaml")
    seed = bootstrap.parse(text)

    assert [identity.name for identity in seed.identities] == ["deploy bot"]
    assert {name.kind for name in seed.names} == {"role", "ring"}
    assert [invite.max_uses for invite in seed.invites] == [1]
    assert [webhook.secret_env for webhook in seed.webhooks] == ["ON_CALL_SECRET"]


def test_an_audit_event_is_hashed_as_on_the_page() -> None:
    event, _ = chain.link(Head(), Change("a.b", "c:d"), origin=Origin("x", "r"), now=NOW)
    body = {name: value for name, value in event.items() if name != "hash"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    assert event["hash"] == hashlib.sha256(text.encode()).hexdigest()
    assert (event["seq"], event["prev_hash"]) == (1, "0" * 64)


def test_a_signal_is_returned_as_on_the_page() -> None:
    (text,) = blocks("signals.md", "json")
    shown = json.loads(text)
    made = signals.create(
        NewSignal(**{field.name: shown[field.name] for field in fields(NewSignal)}),
        signal_id=shown["id"].removeprefix("signal:"),
        account_id="account",
        from_identity=shown["from_identity"],
        now=clock.parse(shown["created_at"]),
        expires_at=NOW,
    )

    assert list(signals.view(made, NOW).items()) == list(shown.items())


def test_every_json_example_is_valid_json() -> None:
    for page in DOCS.glob("*.md"):
        for text in blocks(page.name, "json"):
            json.loads(text)


def test_the_page_has_the_bounds_and_the_reserved_names_of_custom_headers() -> None:
    _, _, section = (DOCS / "outbound.md").read_text().partition("\n## Custom headers\n")
    section, _, _ = section.partition("\n## ")
    starts = {name[:-1].lower() for name in re.findall(r"`([\w-]+\*)`", section)}
    names = {name.lower() for name in re.findall(r"`([\w-]+)`", section)}

    assert f"may have {outbound.MAX_CUSTOM} headers" in section
    assert f"names of at most {outbound.MAX_CUSTOM_NAME} characters" in section
    assert f"values of 1 to {outbound.MAX_CUSTOM_VALUE:,} printable" in section
    assert starts == set(outbound._RESERVED_STARTS)  # noqa: SLF001
    assert names == {
        name
        for name in outbound._RESERVED  # noqa: SLF001
        if not name.startswith(outbound._RESERVED_STARTS)  # noqa: SLF001
    }

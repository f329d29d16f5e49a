"""The check of a delivery's signatures that end-to-end tests use."""

import base64
import json
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from gatehouse.webhooks import signing
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Received
from support.checks.signatures import check_delivery

OLD, NEW = ("whsec_" + base64.b64encode(bytes([one]) * 32).decode() for one in b"on")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as up:
        yield up


def post(url: str, body: bytes = b"{}", **more: object) -> httpx.Response:
    return httpx.post(url, content=body, trust_env=False, **{"timeout": 30, **more})


def delivered(receiver: Receiver, *secrets: str, **changed: str | None) -> Received:
    """Send what the delivery worker would send, with some headers changed or left out."""
    body = json.dumps({"id": "signal:x", "content": "Grüße"}, ensure_ascii=False).encode()
    headers: dict[str, str | None] = dict(
        signing.headers(
            secrets,
            delivery_id=f"delivery:{uuid.uuid4()}",
            event="task",
            timestamp=int(time.time()),
            body=body,
        )
    )
    known = {name.lower(): name for name in headers}
    for name, value in changed.items():
        dashed = name.replace("_", "-")
        headers[known.get(dashed, dashed)] = value
    present = {name: value for name, value in headers.items() if value is not None}
    post(receiver.url(), body, headers=present)
    return receiver.requests()[-1]


@pytest.mark.parametrize("secrets", [(OLD,), (OLD, NEW)])
def test_a_signed_delivery_passes_the_check(receiver: Receiver, secrets: tuple[str, ...]) -> None:
    signal = check_delivery(delivered(receiver, *secrets), *secrets, event="task")

    assert signal == {"id": "signal:x", "content": "Grüße"}


def test_a_delivery_signed_with_another_secret_or_too_early_fails(receiver: Receiver) -> None:
    with pytest.raises(WebhookVerificationError):
        check_delivery(delivered(receiver, OLD), NEW)
    with pytest.raises(WebhookVerificationError):
        check_delivery(delivered(receiver, NEW, OLD), OLD, NEW)
    with pytest.raises(WebhookVerificationError, match="too old"):
        check_delivery(delivered(receiver, OLD, webhook_timestamp=str(int(time.time()) - 400)), OLD)


@pytest.mark.parametrize(("signing_secrets", "live"), [((OLD, NEW), (OLD,)), ((OLD,), (OLD, NEW))])
def test_a_delivery_must_be_signed_with_each_live_secret_and_no_other(
    receiver: Receiver, signing_secrets: tuple[str, ...], live: tuple[str, ...]
) -> None:
    with pytest.raises(AssertionError):
        check_delivery(delivered(receiver, *signing_secrets), *live)


@pytest.mark.parametrize(
    "changed",
    [
        {"x_chorus_signature": "sha256=" + "0" * 64},
        {"x_chorus_signature_next": "sha256=" + "0" * 64},
        {"x_chorus_delivery": f"delivery:{uuid.UUID(int=1)}"},
        {"content_type": "text/plain"},
        {"user_agent": "another"},
        {"x_chorus_event": "pulse"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_header_fails_the_check(receiver: Receiver, changed: dict[str, str]) -> None:
    check_delivery(delivered(receiver, OLD), OLD, event="task")

    with pytest.raises(AssertionError):
        check_delivery(delivered(receiver, OLD, **changed), OLD, event="task")


@pytest.mark.parametrize(
    "name",
    [
        *("webhook_id", "webhook_timestamp", "webhook_signature", "x_chorus_signature"),
        *("x_chorus_delivery", "x_chorus_event", "content_type"),
    ],
)
def test_a_missing_header_fails_the_check(receiver: Receiver, name: str) -> None:
    with pytest.raises((ValueError, WebhookVerificationError)):
        check_delivery(delivered(receiver, OLD, **{name: None}), OLD, event="task")

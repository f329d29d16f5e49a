"""The headers of a delivery: their exact bytes, verified by the published library."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gatehouse.webhooks import signing


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


OLD = secret(bytes(range(32)))
NEW = secret(bytes(range(32, 64)))
DELIVERY = "delivery:01940000-0000-7000-8000-000000000001"
AT = 1_735_689_600
BODY = '{"id":"signal:01940000-0000-7000-8000-000000000000","signal_type":"task","content":"Grüße"}'

SENT = {
    "Content-Type": "application/json",
    "User-Agent": "Chorus-Webhook/1.0",
    "X-Chorus-Event": "task",
    "X-Chorus-Delivery": DELIVERY,
    "webhook-id": DELIVERY,
    "webhook-timestamp": "1735689600",
}
# Computed with openssl, not with our own code.
OLD_OVER_BODY = "sha256=6f5aedd52d24ee7b3522e4153f7b1b9fa7c6cdc2d2942e8a529d6404642305e3"
NEW_OVER_BODY = "sha256=8238bb7f5181cd5edb2ea401bdc729b6f21c2c6bfee9c24c9d701295f9ac74d0"
OLD_OVER_MESSAGE = "v1,qXMKP3PKwUBaljJodht3nJ2utq9Ie6qeuSTiUqiVvmQ="
NEW_OVER_MESSAGE = "v1,mzpQsttDoHT5yhdrWwwWuGHvOwaj/qmr/mTTIfnJGq0="


def headers(
    *secrets: str, timestamp: int = AT, body: bytes = BODY.encode(), event: str = "task"
) -> dict[str, str]:
    return signing.headers(
        secrets, delivery_id=DELIVERY, event=event, timestamp=timestamp, body=body
    )


def test_the_headers_never_change() -> None:
    """They are published: existing receivers verify them."""
    assert headers(OLD) == {
        **SENT,
        "X-Chorus-Signature": OLD_OVER_BODY,
        "webhook-signature": OLD_OVER_MESSAGE,
    }


def test_during_a_rotation_both_secrets_sign() -> None:
    assert headers(OLD, NEW) == {
        **SENT,
        "X-Chorus-Signature": OLD_OVER_BODY,
        "X-Chorus-Signature-Next": NEW_OVER_BODY,
        "webhook-signature": f"{OLD_OVER_MESSAGE} {NEW_OVER_MESSAGE}",
    }


def test_x_chorus_signatures_use_the_oldest_and_the_newest_secret() -> None:
    sent = headers(OLD, secret(b"between"), NEW)

    assert sent["X-Chorus-Signature"] == OLD_OVER_BODY
    assert sent["X-Chorus-Signature-Next"] == NEW_OVER_BODY
    assert len(sent["webhook-signature"].split(" ")) == 3


@pytest.mark.parametrize("known", [OLD, NEW])
def test_the_published_library_accepts_either_secret(known: str) -> None:
    sent = headers(OLD, NEW, timestamp=int(time.time()))

    assert Webhook(known).verify(BODY.encode(), sent)["content"] == "Grüße"


@given(
    body=st.text(st.characters(exclude_categories=["Cs"])),
    key=st.binary(min_size=1, max_size=96),
)
def test_the_published_library_accepts_any_signed_body(body: str, key: bytes) -> None:
    sent = headers(secret(key), timestamp=int(time.time()), body=body.encode())

    Webhook(secret(key)).verify(body, sent, json_parse=False)


def test_the_signature_depends_on_id_time_body_and_secret() -> None:
    now = int(time.time())
    sent = headers(OLD, timestamp=now)
    Webhook(OLD).verify(BODY, sent)

    for known, body, changed in (
        (OLD, BODY, {"webhook-id": DELIVERY.replace("1", "2")}),
        (OLD, BODY, {"webhook-timestamp": str(now - 1)}),
        (OLD, BODY + " ", {}),
        (NEW, BODY, {}),
    ):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(known).verify(body, {**sent, **changed})


def test_the_headers_have_the_attempts_time_and_event() -> None:
    sent = headers(OLD, timestamp=AT + 305, event="ping")

    assert (sent["webhook-timestamp"], sent["X-Chorus-Event"]) == ("1735689905", "ping")
    assert sent["webhook-id"] == DELIVERY
    assert sent["webhook-signature"] != OLD_OVER_MESSAGE


@pytest.mark.parametrize("text", ["", OLD.removeprefix("whsec_"), "whsec_not base64!"])
def test_a_malformed_secret_raises_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        headers(text)

    assert not text or text not in str(raised.value)

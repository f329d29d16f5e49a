"""What the messages of deliveries contain, and how long they are delayed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.deliveries.model import (
    AttemptMessage,
    Delivery,
    DueMessage,
    FanOutMessage,
    Message,
    RecoverMessage,
    UnparkMessage,
)

LONGEST_DELAY = 900  # seconds by which SQS can delay a message


def write(message: Message) -> str:
    """Return a message's body. Append-only: old messages wait in the queue at a deployment."""
    match message:
        case AttemptMessage(delivery_id, attempt, account_id, webhook_id):
            fields: dict[str, Any] = {
                "delivery": delivery_id,
                "attempt": attempt,
                "account": account_id,
                "webhook": webhook_id,
            }
        case FanOutMessage(account_id, signal_id):
            fields = {"fan_out": signal_id, "account": account_id}
        case DueMessage(shard, visible, since):
            fields = {"due": shard, "visible": visible, "above": since}
        case UnparkMessage(account_id, webhook_id, above, sent):
            fields = {"wake": webhook_id, "account": account_id, "above": above, "sent": sent}
        case RecoverMessage(account_id, webhook_id, above, asked_at, sent):
            fields = {
                "recover": webhook_id,
                "account": account_id,
                "above": above,
                "asked_at": asked_at,
                "sent": sent,
            }
    return json.dumps(fields, separators=(",", ":"))


def read(body: str) -> Message:
    """Parse what `write` returned. Raises ValueError or KeyError on anything else."""
    fields: Mapping[str, Any] = json.loads(body)
    if "delivery" in fields:
        return AttemptMessage(
            fields["delivery"], fields["attempt"], fields["account"], fields["webhook"]
        )
    if "fan_out" in fields:
        return FanOutMessage(fields["account"], fields["fan_out"])
    if "due" in fields:
        return DueMessage(fields["due"], fields["visible"], fields["above"])
    if "wake" in fields:
        return UnparkMessage(fields["account"], fields["wake"], fields["above"], fields["sent"])
    return RecoverMessage(
        fields["account"], fields["recover"], fields["above"], fields["asked_at"], fields["sent"]
    )


def delay(delivery: Delivery, now: Micros) -> int:
    """Return the seconds by which to delay the message of a delivery's next attempt."""
    wait = (delivery.next_retry_at or now) - now
    return max(0, min(LONGEST_DELAY, -(-wait // SECOND)))

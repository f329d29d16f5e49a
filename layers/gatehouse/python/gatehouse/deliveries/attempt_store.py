"""Attempts: the last one is part of the delivery's item, older ones are `ATTEMPT#<delivery>`.

An attempt is written once, with the delivery; it moves out when the next one is recorded.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import fields

from gatehouse.core.clock import SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries.model import Attempt, Delivery
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, TransactionConflict

# What attempts have in common, the most usual last: each is compressed as if it followed these
# bytes. They are part of the stored format: a change makes stored attempts unreadable.
_USUAL = (
    b'"error":"connection""protocol""redirect""refused""timeout",'
    rb'"response":"{\"status\":\"error\",\"message\":\"'
    rb'received\":true,\"success\":true,\"ok\":true}",'
    b'"received":{"retry-after":"","www-authenticate":"Bearer","x-runtime":"0.0"'
    b'"location":"https://api.hooks.example.com/webhooks/webhook"'
    b'"x-amzn-requestid":"x-amzn-trace-id":"Root=1-","x-amz-cf-id":"x-amz-cf-pop":"'
    b'"x-cache":"Miss from cloudfront",'
    rb'"report-to":"{\"endpoints\":[{\"url\":\"https:\\/\\/a.nel.cloudflare.com'
    rb'\\/report\\/v4?s=","nel":"{\"success_fraction\":0,\"report_to\":\"cf-nel\",'
    rb'\"max_age\":604800}","cf-ray":"-FRA","cf-cache-status":"DYNAMIC",'
    rb'"alt-svc":"h3=\":443\"; ma=86400",'
    b'"via":"1.1 google","access-control-allow-origin":"*",'
    b'"content-security-policy":"default-src '
    b'"referrer-policy":"strict-origin-when-cross-origin","x-xss-protection":"1; mode=block",'
    b'"x-frame-options":"SAMEORIGIN","x-content-type-options":"nosniff",'
    b'"strict-transport-security":"max-age=31536000; includeSubDomains; preload",'
    rb'"set-cookie":null,"x-request-id":"","x-powered-by":"Express","etag":"W/\"",'
    b'"vary":"Accept-Encoding",'
    b'"cache-control":"no-cache, no-store, must-revalidate, max-age=0, private",'
    b'"transfer-encoding":"chunked","content-type":"text/html; charset=utf-8",'
    b'"content-type":"text/plain; charset=utf-8",'
    b'"content-type":"application/json; charset=utf-8",'
    b'"content-length":"0","keep-alive":"timeout=5","connection":"keep-alive",'
    b'"date":"Mon, 01 Jan 2027 00:00:00 GMT","server":"cloudflare","server":"nginx/1.",'
    b'"sent":{"Authorization":null,"X-Api-Key":null,"Content-Type":"application/json",'
    b'"User-Agent":"Chorus-Webhook/1.0","X-Chorus-Event":"order.created""task""alert""ping",'
    b'"X-Chorus-Signature":"sha256=","X-Chorus-Delivery":"delivery:01",'
    b'"webhook-id":"delivery:01","webhook-timestamp":"18","webhook-signature":"v1,",'
    b'"X-Chorus-Signature-Next":"sha256="},'
    b'{"number":1,"started_at":18,"duration_ms":1,"status_code":500,"status_code":200,'
    b'"response":"ok","url":"https://'
)
_FIELDS = tuple(field.name for field in fields(Attempt))


def move_out(table: Table, delivery: Delivery) -> None:
    """Write the last attempt as an item of its own, before the next one takes its place.

    May be repeated: an attempt that is recorded never changes. Raises Unavailable.
    """
    if delivery.last is None:
        return
    item: Item = {
        "pk": keyspace.ATTEMPT.pk(delivery.id),
        "sk": f"{delivery.last.number:06d}",
        "attempt": encode(delivery.last),
        "ttl": delivery.expires_at // SECOND,
    }
    try:
        table.write(table.overwrite(item))
    except TransactionConflict as conflict:
        raise Unavailable from conflict


def list_all(table: Table, delivery: Delivery, *, limit: int) -> list[Attempt]:
    """Read the last attempts of a delivery, up to the one it ends with, oldest first."""
    last = delivery.last
    if last is None:
        return []
    if last.number == 1 or limit == 1:
        return [last]
    # An attempt may be in both places, if the process died while it moved.
    below = f"{last.number:06d}"
    items, _ = table.query(
        keyspace.ATTEMPT.pk(delivery.id), below=below, newest_first=True, limit=limit - 1
    )
    return [*(decode(item["attempt"]) for item in reversed(items)), last]


def encode(attempt: Attempt) -> bytes:
    """Return an attempt as it is stored: JSON, compressed, since headers are long and alike.

    With those of a usual response an attempt and its delivery are one write unit.
    """
    present = {
        name: value for name in _FIELDS if (value := getattr(attempt, name)) not in (None, {})
    }
    text = json.dumps(present, default=dict, ensure_ascii=False, separators=(",", ":"))
    packed = zlib.compressobj(level=9, zdict=_USUAL)
    return packed.compress(text.encode()) + packed.flush()


def decode(stored: bytes) -> Attempt:
    """Return a stored attempt."""
    present = json.loads(zlib.decompressobj(zdict=_USUAL).decompress(stored))
    return Attempt(**{"status_code": None, "error": None, "response": None} | present)

"""The encrypted parts of a webhook, one secret for each: its signing secrets, its header values.

Header values are sent to the receiver, so they are bound to the origin of the webhook's URL: they
cannot be decrypted for another. A signing secret is not sent; it signs for whatever URL the webhook
has. A webhook without headers has no second secret.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatehouse.dynamo.table import Table, Write
from gatehouse.outbound.origins import origin_of
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.model import Place, Purpose, Sealer
from gatehouse.webhooks import secret_rules
from gatehouse.webhooks.model import SealedSecrets, Webhook


def create(
    table: Table,
    vault: Sealer,
    webhook: Webhook,
    *,
    sealed: SealedSecrets,
    headers: Mapping[str, str],
) -> dict[str, Write]:
    """Return the writes of a new webhook's secrets, `secret`, and of its headers, if any."""
    text = secret_rules.write_sealed(sealed)
    writes = {"secret": secret_writes.put_new(table, vault, secrets_place(webhook), text)}
    if headers:
        writes["headers"] = put_headers(table, vault, webhook, headers=headers)
    return writes


def replace(table: Table, vault: Sealer, webhook: Webhook, *, sealed: SealedSecrets) -> Write:
    """Encrypt and overwrite a webhook's secrets. The condition fails if there are none."""
    text = secret_rules.write_sealed(sealed)
    return secret_writes.replace(table, vault, secrets_place(webhook), text)


def put_headers(
    table: Table, vault: Sealer, webhook: Webhook, *, headers: Mapping[str, str]
) -> Write:
    """Encrypt and write header values for the origin of the webhook's URL; {} removes them."""
    place = headers_place(webhook)
    if not headers:
        return secret_writes.remove(table, place)
    return secret_writes.put(table, vault, place, secret_rules.write_headers(headers))


def remove(table: Table, webhook: Webhook) -> dict[str, Write]:
    """Delete a webhook's secrets and headers."""
    return {
        "secret": secret_writes.remove(table, secrets_place(webhook)),
        "headers": secret_writes.remove(table, headers_place(webhook)),
    }


def secrets_place(webhook: Webhook) -> Place:
    """Return where a webhook's secrets are stored."""
    return Place(Purpose.WEBHOOK, webhook.account_id, webhook.id)


def headers_place(webhook: Webhook) -> Place:
    """Return where a webhook's header values are stored, bound to the origin of its URL."""
    origin = origin_of(webhook.url)
    return Place(Purpose.WEBHOOK, webhook.account_id, f"{webhook.id}#headers", origin)

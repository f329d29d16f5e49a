"""Everything that can go wrong, as one family.

GatehouseError
├── BadInput              400  the caller's request is malformed; names the field
│   └── FieldRequired     400
├── Unauthorized          401
├── Forbidden             403
│   ├── ScopeMissing      403  the key's scopes do not open this
│   ├── PolicyDenied      403  the rules do not allow it; carries the decision
│   ├── GrantsExceeded    403  more was asked for than the caller holds
│   └── CreationClosed    403
├── NotFound              404  unknown, or another account's
├── MethodNotAllowed      405
├── Conflict              409
│   ├── IdempotencyReused 409
│   └── BoundReached      409  an account's bound on live things
├── Gone                  410  it was there, and its time is over
├── TooLarge              413
├── UpgradeRequired       426  the path is a WebSocket's
├── RateLimited           429
├── Internal              500  a bug of ours
│   └── SettingsKeyUnusable 500  the stack's own key for secrets is not usable as it is set
└── Unavailable           503  a service of ours did not answer; trying again may help

A surface turns one of these into its own body; see `surfaces`.
"""

from collections.abc import Mapping
from typing import Any

# Every code of the admin surface, with what it means to a caller. Published: never renamed.
CODES = {
    "ACCOUNT_CREATION_CLOSED": "This stack does not let anybody open an account.",
    "ACCOUNT_NOT_FOUND": "There is no such account.",
    "ALREADY_BOOTSTRAPPED": "The operator's account exists already.",
    "API_KEY_EXPIRED": "The key has expired; extend it first.",
    "API_KEY_NOT_FOUND": "The account has no live key of this id that the caller may see.",
    "AUTH_INVALID_SIGNATURE": "Message, signature or nonce of a sign-in is not good, or was used.",
    "AUTH_INVALID_KEY": "The credential is missing or not good for anything.",
    "CONFLICT": "The thing is in a state that forbids this.",
    "DELIVERY_NOT_FOUND": "The account has no such delivery.",
    "DELIVERY_OPEN": "The delivery is still on its way; it is replayed when it has ended.",
    "FEDERATION_INVALID_PROOF": "The peer's proof is missing, wrong, late or used.",
    "FEDERATION_SCOPE_DENIED": "The peer may not send signals of this type.",
    "GONE": "It was there once, and its time is over.",
    "GRANTS_EXCEEDED": "More was asked for than the caller or the owner holds; details names it.",
    "IDEMPOTENCY_KEY_REUSED": "The Idempotency-Key was used in the last 24 hours.",
    "IDENTITY_NOT_ACTIVE": "The owner is not an active member of the account.",
    "IDENTITY_NOT_FOUND": "The account has no such identity.",
    "INTERNAL_ERROR": "A bug of ours; the log has more under the request id.",
    "IDENTITY_LAST_ADMIN": "An account keeps at least one admin who may act.",
    "INVITE_ALREADY_REDEEMED": "The invite was redeemed as often as it may be.",
    "INVITE_EXPIRED": "The invite has expired.",
    "INVITE_NOT_FOUND": "There is no invite of this code.",
    "LIMIT_REACHED": "The account has as many live things of this kind as it may.",
    "METHOD_NOT_ALLOWED": "The path is known, the method is not.",
    "NOT_BOOTSTRAPPED": "There is no operator's account yet.",
    "NOT_FOUND": "Unknown, or another account's.",
    "PAYLOAD_TOO_LARGE": "The body is over 256 KiB.",
    "PEER_NOT_FOUND": "The account trusts no such peer.",
    "POLICY_DENIED": "The policy denies; details has rule, reasons and would_allow.",
    "RATE_LIMIT_EXCEEDED": "The key's requests per minute are used up; see Retry-After.",
    "SERVICE_UNAVAILABLE": "A service of ours did not answer; try again after Retry-After.",
    "SECRET_NOT_FOUND": "The account keeps no such secret.",
    "SETTINGS_KEY_UNUSABLE": "The key set for secrets is malformed, missing or another one.",
    "WALLET_ATTACHED": "The identity has a wallet, or the wallet belongs to somebody.",
    "SIGNAL_CLAIM_CONFLICT": "Somebody else has the signal, or it is done, or the claim has ended.",
    "SIGNAL_EMIT_INVALID_TYPE": "There is no such type of signal.",
    "SIGNAL_EXPIRED": "The signal is past its retention; there is nothing left to send.",
    "SIGNAL_LOOP": "A delivery of this stack may not emit a signal.",
    "SIGNAL_NOT_FOUND": "The account has no signal of this id that the key may see.",
    "UPGRADE_REQUIRED": "The path is a WebSocket's.",
    "VALIDATION_CONTENT_TYPE": "The body is not declared as JSON.",
    "VALIDATION_DUPLICATE_KEY": "A key stands twice in a JSON object.",
    "VALIDATION_FIELD_REQUIRED": "A field is missing or empty.",
    "VALIDATION_INVALID_ID": "An id in the path is none of this kind.",
    "VALIDATION_INVALID_TYPE": "A field has the wrong type.",
    "VALIDATION_INVALID_VALUE": "A field, parameter or header is out of its bounds.",
    "VALIDATION_MALFORMED_JSON": "The body is no JSON.",
    "WEBHOOK_NOT_FOUND": "The account has no such webhook.",
}


class GatehouseError(Exception):
    """An outcome that ends a request. `status` is HTTP's, `code` is the admin surface's."""

    status = 500
    code = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Keep what the surface shows: `details` for machines, `retry_after` in seconds."""
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = dict(details or {})
        self.retry_after = retry_after


class BadInput(GatehouseError):
    """The request cannot be read or breaks a documented bound. Nothing was done."""

    status = 400
    code = "VALIDATION_INVALID_VALUE"


class FieldRequired(BadInput):
    """A field that must be there is missing, null or empty."""

    code = "VALIDATION_FIELD_REQUIRED"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is required", details={"field": field})


class Unauthorized(GatehouseError):
    """The credential is missing or not good for anything."""

    status = 401
    code = "AUTH_INVALID_KEY"


class Forbidden(GatehouseError):
    """The caller is known and may not do this."""

    status = 403
    code = "POLICY_DENIED"


class ScopeMissing(Forbidden):
    """The key's scopes do not cover what the route asks for."""

    def __init__(self, scope: str) -> None:
        super().__init__("Insufficient API key scope", details={"required_scope": scope})


class PolicyDenied(Forbidden):
    """The rules deny; `details` carries rule, reasons and would_allow."""


class GrantsExceeded(Forbidden):
    """The target holds more than the caller or the owner may give; `details` names the excess."""

    code = "GRANTS_EXCEEDED"


class CreationClosed(Forbidden):
    """POST /v1/accounts is switched off on this stack."""

    code = "ACCOUNT_CREATION_CLOSED"


class NotFound(GatehouseError):
    """Unknown here. What belongs to another account is not found either."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(GatehouseError):
    """The path is known, the method is not."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class Conflict(GatehouseError):
    """The thing is in a state that forbids this."""

    status = 409
    code = "CONFLICT"


class IdempotencyReused(Conflict):
    """The Idempotency-Key was used before, and its answer cannot be given again."""

    code = "IDEMPOTENCY_KEY_REUSED"


class BoundReached(Conflict):
    """The account holds as many live things of this kind as it may."""

    code = "LIMIT_REACHED"


class Gone(GatehouseError):
    """It was there once, and its time is over."""

    status = 410
    code = "GONE"


class TooLarge(GatehouseError):
    """The body is over 256 KiB."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class UpgradeRequired(GatehouseError):
    """The path is a WebSocket's, and the request does not ask for one."""

    status = 426
    code = "UPGRADE_REQUIRED"


class RateLimited(GatehouseError):
    """The key's requests per minute are used up; `retry_after` tells when one is free."""

    status = 429
    code = "RATE_LIMIT_EXCEEDED"


class Internal(GatehouseError):
    """A bug. The message tells the caller nothing; the log has the rest."""


class SettingsKeyUnusable(Internal):
    """What is set as the key for secrets cannot be used; the message names the variable."""

    code = "SETTINGS_KEY_UNUSABLE"


class Unavailable(GatehouseError):
    """The table, KMS or a queue did not answer in time, or was throttled."""

    status = 503
    code = "SERVICE_UNAVAILABLE"

    def __init__(self, message: str = "Service Unavailable") -> None:
        super().__init__(message, retry_after=1)

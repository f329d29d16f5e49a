"""All errors that end a request, as one family.

GatehouseError
├── BadInput              400  the caller's request is malformed; names the field
│   └── FieldRequired     400
├── Unauthorized          401
├── Forbidden             403
│   ├── ScopeMissing      403  the key's scopes do not allow this
│   ├── PolicyDenied      403  the policy denies; `details` has the decision
│   ├── GrantsExceeded    403  the request asks for more than the caller has
│   └── CreationClosed    403
├── NotFound              404  unknown, or of another account
├── MethodNotAllowed      405
├── Conflict              409
│   ├── IdempotencyReused 409
│   └── BoundReached      409  the account's maximum of things of a kind
├── Gone                  410  it existed and has expired
├── TooLarge              413
├── UnsupportedCharset    415  the Content-Type names another charset than UTF-8
├── UpgradeRequired       426  the path needs a WebSocket
├── RateLimited           429
├── Internal              500  a bug of ours
│   └── SettingsKeyUnusable 500  the settings key for secrets cannot be used
└── Unavailable           503  an AWS service did not answer; a retry may succeed

`web.surfaces` builds each surface's body from these.
"""

from collections.abc import Mapping
from typing import Any

# Every code of the admin surface and its meaning. Codes are published: never rename one.
CODES = {
    "ACCOUNT_CREATION_CLOSED": "Account creation is closed on this stack.",
    "ACCOUNT_NOT_FOUND": "The account does not exist.",
    "ALREADY_BOOTSTRAPPED": "The operator's account already exists.",
    "API_KEY_EXPIRED": "The key has expired; extend it first.",
    "API_KEY_NOT_FOUND": "The account has no valid key with this id that the caller may see.",
    "AUTH_INVALID_SIGNATURE": "The sign-in's message, signature or nonce is invalid or was used.",
    "AUTH_INVALID_KEY": "The credential is missing or invalid.",
    "CONFLICT": "The state of the thing does not allow this.",
    "DELIVERY_NOT_FOUND": "The account has no delivery with this id.",
    "DELIVERY_OPEN": "The delivery is still open; it can be replayed after it has ended.",
    "FEDERATION_INVALID_PROOF": "The peer's proof is missing, wrong, expired or already used.",
    "FEDERATION_SCOPE_DENIED": "The peer may not send signals of this type.",
    "GONE": "It existed and has expired.",
    "GRANTS_EXCEEDED": "The request asks for more than caller or owner has; the message names it.",
    "IDEMPOTENCY_KEY_REUSED": "The Idempotency-Key was used in the last 24 hours.",
    "IDENTITY_NOT_ACTIVE": "The owner is not an active member of the account.",
    "IDENTITY_NOT_FOUND": "The account has no identity with this id.",
    "INTERNAL_ERROR": "A bug in Gatehouse; the logs have details under the request id.",
    "IDENTITY_LAST_ADMIN": "An account must keep at least one active admin.",
    "INVITE_ALREADY_REDEEMED": "The invite was redeemed as often as it allows.",
    "INVITE_EXPIRED": "The invite has expired.",
    "INVITE_NOT_FOUND": "There is no invite with this code.",
    "LIMIT_REACHED": "The account has the maximum number of things of this kind.",
    "METHOD_NOT_ALLOWED": "The path is known, the method is not.",
    "NOT_BOOTSTRAPPED": "The operator's account does not exist yet.",
    "NOT_FOUND": "Unknown, or of another account.",
    "PAYLOAD_TOO_LARGE": "The body is larger than 256 KiB.",
    "PEER_NOT_FOUND": "The account has no peer with this id.",
    "POLICY_DENIED": "The key or its owner may not do this; the message says why.",
    "RATE_LIMIT_EXCEEDED": "The key's requests per minute are used up; see Retry-After.",
    "REQUEST_BLOCKED": "A web ACL in front of the API refused the request.",
    "SERVICE_UNAVAILABLE": "An AWS service did not answer; try again after Retry-After.",
    "SECRET_NOT_FOUND": "The account has no such secret.",
    "SETTINGS_KEY_UNUSABLE": "The settings key for secrets is malformed, missing or the wrong one.",
    "WALLET_NOT_FOUND": "The identity has no wallet.",
    "WALLET_ATTACHED": "The identity has a wallet, or the wallet belongs to another identity.",
    "SESSION_NOT_FOUND": "The key has no session with this id.",
    "SIGNAL_CLAIM_CONFLICT": "Claimed by another identity, done already, or the claim has expired.",
    "SIGNAL_EMIT_INVALID_TYPE": "Unknown signal type.",
    "SIGNAL_EXPIRED": "The signal has expired; it can no longer be sent.",
    "SIGNAL_LOOP": "Requests that carry X-Chorus-Delivery cannot emit signals (loop protection).",
    "SIGNAL_NOT_FOUND": "The account has no signal with this id that the key may see.",
    "UPGRADE_REQUIRED": "The path needs a WebSocket.",
    "VALIDATION_CHARSET": "The body is not in UTF-8.",
    "VALIDATION_CONTENT_TYPE": "The Content-Type is not JSON.",
    "VALIDATION_DUPLICATE_KEY": "A JSON object has the same key twice.",
    "VALIDATION_DUPLICATE_PARAMETER": "A query parameter is given twice.",
    "VALIDATION_FIELD_REQUIRED": "A field is missing or empty.",
    "VALIDATION_INVALID_ID": "An id in the path is malformed.",
    "VALIDATION_INVALID_TYPE": "A field has the wrong type.",
    "VALIDATION_INVALID_VALUE": "A field, parameter or header has a value that is not allowed.",
    "VALIDATION_MALFORMED_JSON": "The body is not valid JSON.",
    "VALIDATION_UNKNOWN_FIELD": "The body has a field that the route does not know.",
    "VALIDATION_UNKNOWN_PARAMETER": "The query has a parameter that the route does not know.",
    "WEBHOOK_NOT_FOUND": "The account has no webhook with this id.",
}


class GatehouseError(Exception):
    """An error that ends a request. `status` is the HTTP status, `code` the admin surface's."""

    status = 500
    code = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        needed: str | None = None,
    ) -> None:
        """Store what a surface shows: `details` for programs, `retry_after` in seconds.

        `needed` is the scope that the key lacks.
        """
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = dict(details or {})
        self.retry_after = retry_after
        self.needed = needed


class BadInput(GatehouseError):
    """The request is malformed or out of range. Nothing was done."""

    status = 400
    code = "VALIDATION_INVALID_VALUE"


class FieldRequired(BadInput):
    """A required field is missing, null or empty."""

    code = "VALIDATION_FIELD_REQUIRED"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is required", details={"field": field})


class Unauthorized(GatehouseError):
    """The credential is missing or invalid."""

    status = 401
    code = "AUTH_INVALID_KEY"


class Forbidden(GatehouseError):
    """The caller is known and must not do this."""

    status = 403
    code = "POLICY_DENIED"


class ScopeMissing(Forbidden):
    """The key's scopes do not include the scope that the route requires."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            "Insufficient API key scope", details={"required_scope": scope}, needed=scope
        )


class PolicyDenied(Forbidden):
    """The policy denies; `details` has rule, reasons and would_allow."""


class GrantsExceeded(Forbidden):
    """The request asks for more than the caller or the owner has; `details` names the excess."""

    code = "GRANTS_EXCEEDED"


class CreationClosed(Forbidden):
    """POST /v1/accounts is closed on this stack."""

    code = "ACCOUNT_CREATION_CLOSED"


class NotFound(GatehouseError):
    """Unknown. A thing of another account is not found either."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(GatehouseError):
    """The path is known, the method is not."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class Conflict(GatehouseError):
    """The state of the thing does not allow this."""

    status = 409
    code = "CONFLICT"


class IdempotencyReused(Conflict):
    """The Idempotency-Key was used before, and its answer cannot be returned again."""

    code = "IDEMPOTENCY_KEY_REUSED"


class BoundReached(Conflict):
    """The account has the maximum number of things of this kind."""

    code = "LIMIT_REACHED"


class Gone(GatehouseError):
    """It existed and has expired."""

    status = 410
    code = "GONE"


class TooLarge(GatehouseError):
    """The body is larger than 256 KiB."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class UnsupportedCharset(GatehouseError):
    """The Content-Type names another charset than UTF-8."""

    status = 415
    code = "VALIDATION_CHARSET"


class UpgradeRequired(GatehouseError):
    """The path needs a WebSocket, and the request does not open one."""

    status = 426
    code = "UPGRADE_REQUIRED"


class RateLimited(GatehouseError):
    """The key's requests per minute are used up until `retry_after`."""

    status = 429
    code = "RATE_LIMIT_EXCEEDED"


class Internal(GatehouseError):
    """A bug. The message has no details; the logs have."""


class SettingsKeyUnusable(Internal):
    """The settings key for secrets cannot be used; the message names the variable."""

    code = "SETTINGS_KEY_UNUSABLE"


class Unavailable(GatehouseError):
    """DynamoDB, KMS or SQS did not answer in time, or throttled the request."""

    status = 503
    code = "SERVICE_UNAVAILABLE"

    def __init__(self, message: str = "Service Unavailable") -> None:
        super().__init__(message, retry_after=1)

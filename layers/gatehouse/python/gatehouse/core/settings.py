"""Settings: one typed table of environment variables.

Each function has only the variables that it needs, so a setting is read when it is used.
"""

import os
from dataclasses import dataclass


class SettingError(Exception):
    """A variable is missing or invalid; the message names it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable; it must be set if `default` is None."""

    name: str
    meaning: str
    default: str | None = None
    choices: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the value, or the default if the variable is not set."""
        value = os.environ.get(self.name, self.default)
        if value is None:
            raise SettingError(f"{self.name} is not set: {self.meaning}")
        if self.choices and value not in self.choices:
            raise SettingError(f"{self.name} must be one of {', '.join(self.choices)}")
        return value

    def entries(self) -> tuple[str, ...]:
        """Return the comma-separated entries of the value."""
        return tuple(entry.strip() for entry in self.text().split(",") if entry.strip())

    def number(self) -> int:
        """Return the value as a whole number."""
        try:
            return int(self.text())
        except ValueError as error:
            raise SettingError(f"{self.name} must be a whole number") from error


def of_aws(name: str) -> str:
    """Return a variable that Lambda or the local engine sets by itself; empty if it is not set."""
    return os.environ.get(name, "")


KEYS_TABLE = Setting("GATEHOUSE_KEYS_TABLE", "table of the keys as looked up")
MAIN_TABLE = Setting("GATEHOUSE_MAIN_TABLE", "table of everything else")
DEFAULT_RATE_LIMIT = Setting(
    "GATEHOUSE_DEFAULT_RATE_LIMIT",
    "requests per minute of a key that was created without a limit",
    "6000",
)
ACCOUNT_CREATION = Setting(
    "GATEHOUSE_ACCOUNT_CREATION",
    "whether POST /v1/accounts creates accounts",
    "closed",
    ("open", "closed"),
)
SETTINGS_KEY = Setting("GATEHOUSE_SETTINGS_KEY", "KMS key that wraps the data keys of secrets")
SETTINGS_ENCRYPTION_KEY = Setting(
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY", "wraps the data keys of secrets instead of KMS", ""
)
SETTINGS_ENCRYPTION_KEY_PREVIOUS = Setting(
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS",
    "the previous one, until a rewrap has finished",
    "",
)
WALLET_DOMAINS = Setting(
    "GATEHOUSE_WALLET_DOMAINS", "domains that sign-in messages may name, separated by commas", ""
)
WALLET_CHAIN_IDS = Setting(
    "GATEHOUSE_WALLET_CHAIN_IDS", "chain ids of sign-in messages, separated by commas", "1"
)
REQUIRE_WALLET = Setting(
    "GATEHOUSE_REQUIRE_WALLET",
    "whether redeeming an invite needs a wallet",
    "false",
    ("true", "false"),
)
SWEEP_MINUTES = Setting("GATEHOUSE_SWEEP_MINUTES", "the sweeper's interval", "1")
EXTRACTION_TYPES = Setting(
    "GATEHOUSE_EXTRACTION_TYPES", "shown by GET /admin/config, separated by commas", ""
)
BOOTSTRAP_PATH = Setting("CHORUS_BOOTSTRAP", "path of the last applied bootstrap file", "")
SIGNAL_DAYS = Setting("GATEHOUSE_SIGNAL_DAYS", "days that signals are kept", "30")
OUTBOUND = Setting(
    "GATEHOUSE_OUTBOUND",
    "where requests may go: public https only, or this machine too",
    "guarded",
    ("guarded", "local"),
)
OWN_HOSTS = Setting(
    "GATEHOUSE_OWN_HOSTS",
    "hosts that are never called, each with or without a port, separated by commas",
    "",
)
BASE_URL = Setting(
    "GATEHOUSE_BASE_URL", "the API's base URL for links; empty: as API Gateway sees it", ""
)
EMBEDDING_QUEUE = Setting(
    "GATEHOUSE_EMBEDDING_QUEUE", "queue for the ids of new signals; empty for none", ""
)
STREAM_SHARDS = Setting(
    "GATEHOUSE_STREAM_SHARDS",
    "whether events of the table's stream name their shard (many) or not (one, the local engine)",
    "many",
    ("many", "one"),
)
DELIVERY_QUEUE = Setting("GATEHOUSE_DELIVERY_QUEUE", "URL of the queue of deliveries to attempt")
SLOW_DELIVERY_QUEUE = Setting(
    "GATEHOUSE_SLOW_DELIVERY_QUEUE", "URL of the queue of deliveries to slow webhooks"
)
HEALTH_SOURCE = Setting(
    "GATEHOUSE_HEALTH_SOURCE",
    "where failed invocations of functions are counted",
    "metrics",
    ("metrics", "logs"),
)
LOG_GROUPS = Setting("GATEHOUSE_LOG_GROUPS", "ARN of this region's log groups, without a name")
RELAY_QUEUE = Setting("GATEHOUSE_RELAY_QUEUE", "URL of the queue of the log relay's tasks")
SOCKETS = Setting("GATEHOUSE_SOCKETS", "URL of the API that manages open sockets")
PAGE = Setting("GATEHOUSE_PAGE", "whether the page is served", "on", choices=("on", "off"))
SOCKET_URL = Setting("GATEHOUSE_SOCKET_URL", "URL of the WebSocket API, for the page", "")
DEPLOYED_AT = Setting("GATEHOUSE_DEPLOYED_AT", "when this version was deployed, RFC 3339", "")

ALL = tuple(value for value in tuple(vars().values()) if isinstance(value, Setting))

"""List prices of AWS in us-east-1, in dollars, as docs/costs.md shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MILLION = 1_000_000
HOURS = 730  # of a month
SECONDS = HOURS * 3_600


@dataclass(frozen=True, slots=True)
class Price:
    """What `per` of a unit cost. `since` is empty where we do not know when the price changed."""

    what: str
    dollars: float
    per: int = 1
    unit: str = ""
    since: str = ""

    def of(self, amount: float) -> float:
        """Return what an amount costs."""
        return amount * self.dollars / self.per

    @property
    def text(self) -> str:
        """Return the price as AWS writes it: $0.625 a million."""
        dollars = f"${self.dollars:.10f}".rstrip("0")
        decimals = len(dollars.partition(".")[2])
        return f"{dollars}{'0' * (2 - decimals)} {self.unit}"


REST = Price(
    "API Gateway, REST: the first 333 million requests of a month", 3.5, MILLION, "a million"
)
# The next steps of the same price: how many requests, and dollars for a million of them.
REST_STEPS = ((333, 3.5), (667, 2.8), (19_000, 2.38), (float("inf"), 1.51))
RUN = Price("Lambda, requests", 0.2, MILLION, "a million")
TIME = Price("Lambda, time on arm64", 0.0000133334, 1, "a GB-second")
WRITE = Price("DynamoDB on demand, write units", 0.625, MILLION, "a million", "November 2024")
READ = Price("DynamoDB on demand, read units", 0.125, MILLION, "a million", "November 2024")
WRITE_HOUR = Price("DynamoDB provisioned, write units", 0.00065, 1, "a unit and hour")
READ_HOUR = Price("DynamoDB provisioned, read units", 0.00013, 1, "a unit and hour")
STORED = Price("DynamoDB, items and indexes", 0.25, 1, "a GB and month")
RECOVERY = Price("DynamoDB, point-in-time recovery", 0.2, 1, "a GB of tables and month")
SQS = Price("SQS, requests to a standard queue", 0.4, MILLION, "a million")
SQS_GROUP = Price(
    "SQS, requests with a message group, in addition", 0.1, MILLION, "a million", "July 2025"
)
LOGS = Price("CloudWatch Logs, written: the first 10 TB of a month", 0.5, 1, "a GB", "May 2025")
TRACE = Price("X-Ray, traces", 5.0, MILLION, "a million")
KEY = Price("KMS, a key", 1.0, 1, "a month")
KEY_CALL = Price("KMS, requests", 0.03, 10_000, "for 10,000")
ALARM = Price("CloudWatch, an alarm", 0.1, 1, "a month")
DASHBOARD = Price("CloudWatch, a dashboard", 3.0, 1, "a month")
METRIC = Price("CloudWatch, a metric of the stack's own", 0.3, 1, "a month")
OUT = Price("Data out", 0.09, 1, "a GB")

ALL: Sequence[Price] = tuple(one for one in tuple(vars().values()) if isinstance(one, Price))


def of_rest_requests(millions: float) -> float:
    """Return what API Gateway bills for a month's requests."""
    cost, left = 0.0, millions
    for step, dollars in REST_STEPS:
        cost += min(left, step) * dollars
        left -= min(left, step)
    return cost

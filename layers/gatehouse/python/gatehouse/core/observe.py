"""Logs: one JSON line per unit of work, without bodies and secrets. Metrics are such lines too."""

from collections.abc import Iterable
from functools import cache

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

# The service name comes from POWERTOOLS_SERVICE_NAME, the level from POWERTOOLS_LOG_LEVEL.
logger = Logger(use_rfc3339=True, utc=True)


def measure(name: str, values: Iterable[float], *, unit: str) -> None:
    """Add values to a metric, which `flush` writes. Not thread-safe.

    `unit` is a unit of CloudWatch: Count, Milliseconds.
    """
    for value in values:
        _metrics().add_metric(name, unit, value)


def flush() -> None:
    """Write the metrics as log lines in CloudWatch's embedded metric format."""
    if _metrics().metric_set:
        _metrics().flush_metrics()


@cache
def _metrics() -> Metrics:
    # The namespace comes from POWERTOOLS_METRICS_NAMESPACE, which only some functions have.
    return Metrics()

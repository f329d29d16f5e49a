"""Logs, one JSON line for one unit of work, without bodies or secrets; metrics as such lines."""

from collections.abc import Iterable
from functools import cache

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

# The service name comes from POWERTOOLS_SERVICE_NAME, the level from POWERTOOLS_LOG_LEVEL.
logger = Logger(use_rfc3339=True, utc=True)


def measure(name: str, values: Iterable[float], *, unit: str) -> None:
    """Note values of a metric, to be written by `flush`. Not for several threads at once.

    `unit` is one of CloudWatch's: Count, Milliseconds.
    """
    for value in values:
        _metrics().add_metric(name, unit, value)


def flush() -> None:
    """Write what was measured, as lines that CloudWatch makes metrics of."""
    if _metrics().metric_set:
        _metrics().flush_metrics()


@cache
def _metrics() -> Metrics:
    # The namespace comes from POWERTOOLS_METRICS_NAMESPACE, which only some functions have.
    return Metrics()

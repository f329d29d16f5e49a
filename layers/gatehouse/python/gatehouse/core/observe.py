"""Logs: one JSON line per unit of work, without bodies and secrets. Metrics are such lines too."""

from collections.abc import Iterable
from functools import cache

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

# The service name comes from POWERTOOLS_SERVICE_NAME, the level from POWERTOOLS_LOG_LEVEL.
_MOST_CAUSES = 8
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


def log_failure(error: BaseException, *, request_id: str | None, code: str) -> None:
    """Write the ERROR line of an answer of 500 or more: what failed, and which call of AWS.

    Of the cause it has names and codes only: a message may repeat what a caller sent.
    """
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < _MOST_CAUSES:
        causes.append(_described(cause))
        cause = cause.__cause__ or cause.__context__
    logger.error(
        "failed",
        request_id=request_id,
        code=code,
        error=str(error),
        at=_place(error),
        causes=causes,
    )


def _described(cause: BaseException) -> str:
    name = type(cause).__name__
    response = getattr(cause, "response", None)
    if isinstance(response, dict):  # botocore's ClientError
        code = response.get("Error", {}).get("Code")
        name = f"{name} {getattr(cause, 'operation_name', '')} {code}"
    failed = getattr(cause, "failed", None)
    if isinstance(failed, dict):  # the writes of a transaction whose conditions failed
        name = " ".join((name, *sorted(map(str, failed))))
    return f"{name} at {_place(cause)}"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"

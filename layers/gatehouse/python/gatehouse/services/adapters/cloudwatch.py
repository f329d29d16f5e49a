"""CloudWatch's metrics and logs: calls and failures of functions, and metrics of machines.

Each metric that is read is billed, so invocations are read only for functions with errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.services.model import CallCount, MetricSample

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_logs import CloudWatchLogsClient

WINDOW: Micros = 5 * MINUTE

_AT_ONCE = 500  # metrics in one request
_MOST_LINES = 1_000
_FRESH: Micros = 15 * MINUTE
# Where a machine reports several disks and processors, these dimensions are its totals.
_WHOLE = {"cpu": "cpu-total", "path": "/"}


def count_calls(
    client: CloudWatchClient, functions: Sequence[str], *, now: Micros
) -> dict[str, CallCount]:
    """Count calls and failures of the last five minutes. Raises ControlPlaneError."""
    errors = _sums(client, "Errors", functions=functions, now=now)
    failing = [name for name in functions if errors[name]]
    invocations = _sums(client, "Invocations", functions=failing, now=now)
    return {name: CallCount(invocations.get(name, 0), errors[name]) for name in functions}


def read_lines(client: CloudWatchLogsClient, log_group: str, *, now: Micros) -> list[str]:
    """Read a log group's lines of the last five minutes, up to 1,000, oldest first."""
    answer = control_plane.call(
        client.filter_log_events,
        logGroupName=log_group,
        startTime=(now - WINDOW) // 1_000,
        limit=_MOST_LINES,
    )
    events = sorted(answer["events"], key=lambda event: event["timestamp"])
    return [event["message"] for event in events]


def read_samples(
    client: CloudWatchClient, namespace: str, *, metrics: Iterable[str], now: Micros
) -> list[MetricSample]:
    """Read the newest values of some metrics, for each machine that reports them.

    Empty if nothing writes to the namespace. Raises ControlPlaneError.
    """
    wanted = set(metrics)
    listed = control_plane.call(client.list_metrics, Namespace=namespace, RecentlyActive="PT3H")
    chosen = [
        entry
        for entry in listed["Metrics"]
        if entry["MetricName"] in wanted and _is_total(entry["Dimensions"])
    ][:_AT_ONCE]
    if not chosen:
        return []
    answer = control_plane.call(
        client.get_metric_data,
        MetricDataQueries=[
            _query(f"m{number}", namespace, entry["MetricName"], entry["Dimensions"], "Average")
            for number, entry in enumerate(chosen)
        ],
        StartTime=_moment(now - _FRESH),
        EndTime=_moment(now),
        ScanBy="TimestampDescending",
    )
    values = {result["Id"]: result["Values"] for result in answer["MetricDataResults"]}
    return [
        MetricSample(entry["MetricName"], values[f"m{number}"][0])
        for number, entry in enumerate(chosen)
        if values.get(f"m{number}")
    ]


def _is_total(dimensions: Iterable[dict[str, str]]) -> bool:
    values = {one["Name"]: one["Value"] for one in dimensions}
    return all(values.get(name, value) == value for name, value in _WHOLE.items())


def _sums(
    client: CloudWatchClient, metric: str, *, functions: Sequence[str], now: Micros
) -> dict[str, int]:
    if not functions:
        return {}
    found = dict.fromkeys(functions, 0)
    for start in range(0, len(functions), _AT_ONCE):
        chunk = functions[start : start + _AT_ONCE]
        answer = control_plane.call(
            client.get_metric_data,
            MetricDataQueries=[
                _query(
                    f"m{number}",
                    "AWS/Lambda",
                    metric,
                    [{"Name": "FunctionName", "Value": name}],
                    "Sum",
                )
                for number, name in enumerate(chunk)
            ],
            StartTime=_moment(now - WINDOW),
            EndTime=_moment(now),
        )
        for result in answer["MetricDataResults"]:
            found[chunk[int(result["Id"][1:])]] += round(sum(result["Values"]))
    return found


def _query(
    name: str, namespace: str, metric: str, dimensions: Sequence[dict[str, str]], statistic: str
) -> dict[str, Any]:
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": list(dimensions),
            },
            "Period": 60,
            "Stat": statistic,
        },
    }


def _moment(micros: Micros) -> datetime:
    return datetime.fromtimestamp(micros // SECOND, UTC)

"""What CloudWatch knows: how often functions failed, and how machines are.

Every metric that is asked for is billed, so invocations are asked only of functions with errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.services.model import Calls, Sample

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_logs import CloudWatchLogsClient

WINDOW: Micros = 5 * MINUTE

_AT_ONCE = 500  # metrics that one call answers
_MOST_LINES = 1_000
_FRESH: Micros = 15 * MINUTE
# Of several disks and processors, those that stand for the machine.
_WHOLE = {"cpu": "cpu-total", "path": "/"}


def calls(client: CloudWatchClient, functions: Sequence[str], *, now: Micros) -> dict[str, Calls]:
    """Count calls and failures of the last five minutes. Raises ControlPlaneError."""
    errors = _sums(client, "Errors", functions=functions, now=now)
    failing = [name for name in functions if errors[name]]
    invocations = _sums(client, "Invocations", functions=failing, now=now)
    return {name: Calls(invocations.get(name, 0), errors[name]) for name in functions}


def lines(client: CloudWatchLogsClient, log_group: str, *, now: Micros) -> list[str]:
    """Read what a function logged in the last five minutes, up to 1,000 lines, oldest first."""
    answer = control_plane.call(
        client.filter_log_events,
        logGroupName=log_group,
        startTime=(now - WINDOW) // 1_000,
        limit=_MOST_LINES,
    )
    events = sorted(answer["events"], key=lambda event: event["timestamp"])
    return [event["message"] for event in events]


def machines(
    client: CloudWatchClient, namespace: str, *, metrics: Iterable[str], now: Micros
) -> list[Sample]:
    """Read the newest values of some metrics, of each machine that has them.

    Empty where nothing writes to the namespace. Raises ControlPlaneError.
    """
    wanted = set(metrics)
    listed = control_plane.call(client.list_metrics, Namespace=namespace, RecentlyActive="PT3H")
    chosen = [
        entry
        for entry in listed["Metrics"]
        if entry["MetricName"] in wanted and _stands_for_all(entry["Dimensions"])
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
        Sample(entry["MetricName"], values[f"m{number}"][0])
        for number, entry in enumerate(chosen)
        if values.get(f"m{number}")
    ]


def _stands_for_all(dimensions: Iterable[dict[str, str]]) -> bool:
    given = {one["Name"]: one["Value"] for one in dimensions}
    return all(given.get(name, value) == value for name, value in _WHOLE.items())


def _sums(
    client: CloudWatchClient, metric: str, *, functions: Sequence[str], now: Micros
) -> dict[str, int]:
    if not functions:
        return {}
    found = dict.fromkeys(functions, 0)
    for start in range(0, len(functions), _AT_ONCE):
        some = functions[start : start + _AT_ONCE]
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
                for number, name in enumerate(some)
            ],
            StartTime=_moment(now - WINDOW),
            EndTime=_moment(now),
        )
        for result in answer["MetricDataResults"]:
            found[some[int(result["Id"][1:])]] += round(sum(result["Values"]))
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

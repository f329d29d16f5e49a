"""Logs, alarms, dashboard and tables of the template."""

from __future__ import annotations

import json
import re
from typing import Any

from house.sources import ROOT
from support.aws import resources

TEMPLATE = resources.template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
LAMBDAS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}


def test_a_function_has_a_log_group_with_retention() -> None:
    offenders = []
    for name, block in LAMBDAS.items():
        group = block["LoggingConfig"]["LogGroup"]["Ref"]
        properties = RESOURCES[group]["Properties"]
        named = group == name.removesuffix("Function") + "LogGroup"
        if not named or properties["RetentionInDays"] != {"Ref": "LogRetentionDays"}:
            offenders.append(name)

    assert offenders == []
    assert {one["Type"] for name, one in RESOURCES.items() if name.endswith("LogGroup")} == {
        "AWS::Logs::LogGroup"
    }


def test_functions_are_traced_unless_they_read_a_queue_or_a_stream() -> None:
    """Nobody waits for those, and each of their batches would be a trace that costs."""
    assert TEMPLATE["Globals"]["Function"]["Tracing"] == "Active"
    reading = {name for name in LAMBDAS if event_of(name, "SQS") or event_of(name, "DynamoDB")}
    assert {
        name: block["Tracing"] for name, block in LAMBDAS.items() if "Tracing" in block
    } == dict.fromkeys(reading, "Disabled")


def test_a_share_of_requests_to_the_api_is_traced() -> None:
    rule = RESOURCES["TraceSamplingRule"]["Properties"]["SamplingRule"]

    assert rule["ServiceName"] == {"Fn::Sub": "${AWS::StackName}/live"}
    assert rule["FixedRate"] == {"Ref": "TraceSampling"}
    assert RESOURCES["Api"]["Properties"]["Name"] == {"Fn::Sub": "${AWS::StackName}"}
    assert RESOURCES["Api"]["Properties"]["StageName"] == "live"


def test_access_logs_do_not_hold_the_query_string() -> None:
    _, there, _ = RESOURCES["Api"]["Properties"]["AccessLogSetting"]["Fn::If"]
    logged = json.loads(there["Format"])

    assert not [value for value in logged.values() if "query" in value.lower()]
    assert logged["request_id"] == "$context.requestId"
    assert logged["extended_id"] == "$context.extendedRequestId"


ALARMS = {
    "AuthorizerErrorsAlarm": ("AWS/Lambda", "Errors", 1, 1),
    "InviteGuessingAlarm": ({"Fn::Sub": "Gatehouse/${AWS::StackName}"}, "InviteGuessing", 1, 1),
    "SweeperErrorsAlarm": ("AWS/Lambda", "Errors", 5, 3),
    "StatisticsFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
    "Api5xxAlarm": ("AWS/ApiGateway", "5XXError", 5, 3),
    "DeliveryFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
    "SlowDeliveryFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
    "FanOutFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
    "RelayFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
    "RelayErrorsAlarm": ("AWS/Lambda", "Errors", 5, 3),
    "ServicesErrorsAlarm": ("AWS/Lambda", "Errors", 5, 3),
    "SocketsErrorsAlarm": ("AWS/Lambda", "Errors", 5, 3),
    "DeadLettersAlarm": ({"Fn::Sub": "Gatehouse/${AWS::StackName}"}, "DeadLettered", 1, 1),
    "LostDeliveriesAlarm": ({"Fn::Sub": "Gatehouse/${AWS::StackName}"}, "LostDeliveries", 1, 1),
}


def test_the_alarms_are_these() -> None:
    found = {name for name, one in RESOURCES.items() if one["Type"] == "AWS::CloudWatch::Alarm"}

    # These measure lateness, not failures.
    assert found == {*ALARMS, "DeliveryQueueAgeAlarm", "SlowDeliveryQueueAgeAlarm"}


def test_an_alarm_goes_off_at_the_first_failure() -> None:
    offenders = []
    for name, (namespace, metric, periods, needed) in ALARMS.items():
        block = RESOURCES[name]["Properties"]
        # Counts are summed within a minute; of a queue's depth the maximum is taken.
        expected = {
            "Namespace": namespace,
            "MetricName": metric,
            "Statistic": "Maximum" if namespace == "AWS/SQS" else "Sum",
            "Period": 60,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "EvaluationPeriods": periods,
            "TreatMissingData": "notBreaching",
        }
        if not (
            expected.items() <= block.items()
            and block.get("DatapointsToAlarm", periods) == needed
            and block["AlarmActions"] == block["OKActions"]
            and block["AlarmDescription"]
        ):
            offenders.append(name)

    assert offenders == []


def event_of(function: str, kind: str) -> dict[str, Any] | None:
    """Return the properties of a function's first event of a type, None where it has none."""
    events = LAMBDAS[function].get("Events", {}).values()
    return next((event["Properties"] for event in events if event["Type"] == kind), None)


def default_of(value: Any) -> Any:
    """Return a value, or the default of the parameter that it refers to."""
    return TEMPLATE["Parameters"][value["Ref"]]["Default"] if isinstance(value, dict) else value


def test_a_message_stays_invisible_for_six_times_the_timeout_of_its_function() -> None:
    offenders = []
    for name, block in LAMBDAS.items():
        queue = event_of(name, "SQS")
        if queue is not None:
            source = RESOURCES[queue["Queue"]["Fn::GetAtt"][0]]["Properties"]
            window = queue.get("MaximumBatchingWindowInSeconds", 0)
            if source["VisibilityTimeout"] < 6 * block["Timeout"] + window:
                offenders.append(name)
            assert window or queue["BatchSize"] <= 10, "a large batch needs a window"

    assert offenders == []


def test_every_queue_s_mapping_has_a_bound_and_together_they_leave_room() -> None:
    """Without one a burst of messages takes all concurrent executions of the AWS account."""
    queues = {name: event_of(name, "SQS") for name in LAMBDAS}
    bounds = {
        name: default_of(queue.get("ScalingConfig", {}).get("MaximumConcurrency"))
        for name, queue in queues.items()
        if queue is not None
    }

    assert set(bounds) >= {
        "DeliveryWorkerFunction",
        "SlowDeliveryWorkerFunction",
        "LogRelayFunction",
    }
    assert [name for name, bound in bounds.items() if not 2 <= (bound or 0) <= 100] == []
    assert sum(bounds.values()) <= 500  # of the 1,000 that an AWS account usually has


def alarmed(name: str, logical: str) -> bool:
    """Return whether an alarm watches a function's errors or a queue's depth."""
    metric, dimension = ALARM_OF[name]
    value = {"Ref": logical} if name == "function" else {"Fn::GetAtt": [logical, "QueueName"]}
    return any(
        RESOURCES[alarm]["Properties"]["MetricName"] == metric
        and {"Name": dimension, "Value": value} in RESOURCES[alarm]["Properties"]["Dimensions"]
        for alarm in ALARMS
        if "Dimensions" in RESOURCES[alarm]["Properties"]
    )


ALARM_OF = {
    "function": ("Errors", "FunctionName"),
    "queue": ("ApproximateNumberOfMessagesVisible", "QueueName"),
}


def test_failures_of_every_function_reach_an_alarm() -> None:
    """Its own alarm, its queue's or stream's failure queue, or the API's 5xx responses."""
    unwatched = set()
    for name in LAMBDAS:
        queue, stream = event_of(name, "SQS"), event_of(name, "DynamoDB")
        watched = alarmed("function", name) or event_of(name, "Api") is not None
        if queue is not None:
            source = RESOURCES[queue["Queue"]["Fn::GetAtt"][0]]["Properties"]["RedrivePolicy"]
            watched = alarmed("queue", source["deadLetterTargetArn"]["Fn::GetAtt"][0])
        if stream is not None:
            failures = stream["DestinationConfig"]["OnFailure"]["Destination"]
            watched = alarmed("queue", failures["Fn::GetAtt"][0])
        if not watched:
            unwatched.add(name)

    # These run when an operator calls them, who sees the error.
    assert unwatched == {"BootstrapFunction", "RewrapFunction"}
    assert not [name for name in unwatched if "Events" in LAMBDAS[name]]


def test_the_dashboard_shows_the_errors_of_every_function() -> None:
    body = json.loads(RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    (widget,) = [
        one["properties"]
        for one in body["widgets"]
        if one["properties"]["title"] == "Function errors"
    ]
    shown = [metric[-1] for metric in widget["metrics"]]

    assert sorted(shown) == sorted(f"${{{name}}}" for name in LAMBDAS)


def test_the_docs_list_every_alarm_as_the_template_describes_it() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    found = re.findall(r"^\| `(\w+Alarm)` \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    rows = [(alarm, means) for alarm, means, _ in found]

    assert all(len(to_do) > 30 for _, _, to_do in found)
    assert dict(rows) == {
        name: resource["Properties"]["AlarmDescription"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert len(rows) == len(dict(rows))


def test_tables_outlive_the_stack_and_can_be_restored() -> None:
    for table in ("KeysTable", "MainTable"):
        block = RESOURCES[table]["Properties"]
        assert RESOURCES[table]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert RESOURCES[table]["UpdateReplacePolicy"] == "Retain"
        # A failed first deployment must be able to delete it; `gatehouse deploy` protects it later.
        assert "DeletionProtectionEnabled" not in block
        assert block["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert block["BillingMode"] == {"Ref": "BillingMode"}


def test_tables_are_on_demand_and_provisioned_ones_have_units_for_every_index() -> None:
    assert TEMPLATE["Parameters"]["BillingMode"]["Default"] == "PAY_PER_REQUEST"
    rule = TEMPLATE["Rules"]["ProvisionedTablesHaveUnits"]
    asserted = {one["Assert"]["Fn::Not"][0]["Fn::Equals"][0]["Ref"] for one in rule["Assertions"]}
    used: set[str] = set()
    for table in ("KeysTable", "MainTable"):
        block = RESOURCES[table]["Properties"]
        for one in [block, *block.get("GlobalSecondaryIndexes", [])]:
            condition, there, otherwise = one["ProvisionedThroughput"]["Fn::If"]
            assert (condition, otherwise) == ("Provisioned", {"Ref": "AWS::NoValue"})
            used |= {value["Ref"] for value in there.values()}

    assert used == asserted | {"IndexUnits"}


def test_the_keys_table_has_no_stream() -> None:
    assert "StreamSpecification" not in RESOURCES["KeysTable"]["Properties"]

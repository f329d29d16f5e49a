"""What AWS asks of live logs, and the local engine does not: it would let each of these pass."""

from __future__ import annotations

import json
import re
from typing import Any

from gatehouse.aws.queue import LONGEST_DELAY
from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.logs import backlog, frame_rules, message_rules, rules
from gatehouse.logs.model import MOST_LINES, CatchUp, Line
from support.aws import resources

TEMPLATE = resources.template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
API = RESOURCES["SocketApi"]["Properties"]
RELAY = RESOURCES["LogRelayFunction"]["Properties"]
QUEUE = RESOURCES["RelayQueue"]["Properties"]
LAMBDAS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}


def statements(function: str) -> list[dict[str, Any]]:
    """List a function's own statements."""
    return [resources.given(one) for one in LAMBDAS[function]["Policies"][0]["Statement"]]


# ---- Who may open a socket ---------------------------------------------------------------------


def test_the_authorizer_judges_whoever_opens_a_socket() -> None:
    auth = API["Auth"]

    assert auth["AuthType"] == "CUSTOM"
    assert auth["AuthArn"] == {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}
    # With a role in its place SAM would write no permission to call the function.
    assert "InvokeRole" not in auth


def test_no_credential_is_refused_before_the_authorizer_sees_it() -> None:
    """A request without one of these is answered 401 unasked; a key may be in six places."""
    assert API["Auth"]["IdentitySource"] == ["route.request.header.Host"]


def test_all_that_a_socket_does_goes_to_one_function() -> None:
    to = {"FunctionArn": {"Fn::GetAtt": ["SocketsFunction", "Arn"]}}

    assert API["Routes"] == dict.fromkeys(("$connect", "$disconnect", "$default"), to)


def test_opening_and_talking_are_throttled() -> None:
    said = API["DefaultRouteSettings"]

    assert 0 < said["ThrottlingRateLimit"] <= said["ThrottlingBurstLimit"] <= 100


def test_who_opens_a_socket_is_answered_within_the_gateway_s_patience() -> None:
    assert LAMBDAS["SocketsFunction"]["Timeout"] <= 29


# ---- Writing into sockets ----------------------------------------------------------------------

SENDERS = ("LogRelayFunction", "SweeperFunction")
CONNECTIONS = (
    "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${SocketApi}/live/"
)


def test_functions_may_only_post_to_and_close_sockets_of_this_stage() -> None:
    allowed = [{"Fn::Sub": f"{CONNECTIONS}{one}/@connections/*"} for one in ("POST", "DELETE")]
    granted = {
        function: [
            one["Resource"]
            for one in statements(function)
            if one["Action"] == "execute-api:ManageConnections"
        ]
        for function in SENDERS
    }

    assert API["StageName"] == "live"
    assert granted == {function: [allowed] for function in SENDERS}


def test_nobody_else_may_write_into_a_socket() -> None:
    may = {name for name in LAMBDAS if "execute-api:" in str(LAMBDAS[name].get("Policies"))}

    assert may == {"LogRelayFunction", "SweeperFunction"}


def test_frames_are_sent_to_the_stack_s_own_websocket_api() -> None:
    url = "https://${SocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/live"
    found = {
        function: LAMBDAS[function]["Environment"]["Variables"]["GATEHOUSE_SOCKETS"]["Fn::Sub"]
        for function in SENDERS
    }

    assert found == dict.fromkeys(SENDERS, url)


# ---- From CloudWatch to the relay --------------------------------------------------------------


def test_cloudwatch_may_call_the_relay_for_groups_of_this_account_alone() -> None:
    permissions = [
        one["Properties"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::Lambda::Permission"
        and one["Properties"]["Principal"] == "logs.amazonaws.com"
    ]

    assert permissions == [
        {
            "Action": "lambda:InvokeFunction",
            # Without a version: filters outlive what was deployed when they were put.
            "FunctionName": {"Ref": "LogRelayFunction"},
            "Principal": "logs.amazonaws.com",
            "SourceAccount": {"Ref": "AWS::AccountId"},
            "SourceArn": {
                "Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"
            },
        }
    ]
    assert "AutoPublishAlias" not in {*RELAY, *TEMPLATE["Globals"]["Function"]}


def test_filters_are_put_and_taken_away_by_a_resource_that_aws_and_the_engine_know() -> None:
    """For AWS it ends in `:*`, for the engine it does not: this star stands for both."""
    for function, action in (
        ("LogRelayFunction", "logs:PutSubscriptionFilter"),
        ("SweeperFunction", "logs:DeleteSubscriptionFilter"),
    ):
        (resource,) = [
            one["Resource"]["Fn::Sub"] for one in statements(function) if action in one["Action"]
        ]
        assert resource.endswith(":log-group:*")


def test_who_puts_filters_does_not_take_them_away_and_the_other_way_round() -> None:
    may = {
        action: {name for name in LAMBDAS if action in str(LAMBDAS[name].get("Policies"))}
        for action in ("logs:PutSubscriptionFilter", "logs:DeleteSubscriptionFilter")
    }

    assert may == {
        "logs:PutSubscriptionFilter": {"LogRelayFunction"},
        "logs:DeleteSubscriptionFilter": {"SweeperFunction"},
    }


def test_a_push_that_fails_is_tried_again_as_lambda_does_by_itself() -> None:
    """Fewer tries or a short life would drop lines, and no viewer would be told."""
    assert "EventInvokeConfig" not in {*RELAY, *TEMPLATE["Globals"]["Function"]}
    assert not [
        one for one in RESOURCES.values() if one["Type"] == "AWS::Lambda::EventInvokeConfig"
    ]
    # A bound would hold pushes up behind backlogs.
    assert "ReservedConcurrentExecutions" not in {*RELAY, *TEMPLATE["Globals"]["Function"]}


def test_what_runs_on_a_line_s_way_is_no_source_of_lines() -> None:
    """What a push makes them write would be pushed, for ever."""
    tags = {name: said["Tags"].get("gatehouse:logs") for name, said in LAMBDAS.items()}
    off = {name for name, tag in tags.items() if tag is not None}

    assert off == {"SocketsFunction", "LogRelayFunction", "SweeperFunction"}
    assert {tags[name] for name in off} == {"off"}


# ---- The relay's tasks -------------------------------------------------------------------------


def test_a_task_is_hidden_for_six_times_as_long_as_the_relay_may_run() -> None:
    assert QUEUE["VisibilityTimeout"] >= 6 * RELAY["Timeout"]


def test_a_task_that_failed_again_and_again_is_kept_and_an_alarm_tells() -> None:
    redrive = QUEUE["RedrivePolicy"]
    alarm = RESOURCES["RelayFailuresAlarm"]["Properties"]

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["RelayFailures", "Arn"]}
    assert redrive["maxReceiveCount"] >= 3
    kept = RESOURCES["RelayFailures"]["Properties"]["MessageRetentionPeriod"]
    assert kept > QUEUE["MessageRetentionPeriod"]  # SQS counts from when it was first sent
    assert alarm["Dimensions"] == [
        {"Name": "QueueName", "Value": {"Fn::GetAtt": ["RelayFailures", "QueueName"]}}
    ]


def test_tasks_are_done_one_by_one_and_fail_one_by_one() -> None:
    assert RELAY["Events"] == {
        "Tasks": {
            "Type": "SQS",
            "Properties": {
                "Queue": {"Fn::GetAtt": ["RelayQueue", "Arn"]},
                "BatchSize": 1,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
            },
        }
    }


def test_the_relay_may_send_itself_messages_for_ever_as_the_workers_of_deliveries_may() -> None:
    """Lambda takes a chain of sixteen for a mistake; a chain of polls is longer, or of retries."""
    allowed = {
        name: said["RecursiveLoop"] for name, said in LAMBDAS.items() if "Recur" in str(said)
    }

    assert allowed == {"LogRelayFunction": "Allow", "DeliveryWorkerFunction": "Allow"}


# ---- Bounds that are AWS's ---------------------------------------------------------------------


def test_no_task_is_held_back_for_longer_than_sqs_does() -> None:
    longest = max(rules.POLL_EVERY, backlog.CATCH_UP_AFTER, rules.SEARCH_LAG // 1_000)

    assert 0 < longest <= LONGEST_DELAY


def test_a_task_with_all_that_it_may_carry_is_a_message_that_sqs_takes() -> None:
    name = f"{'9' * 15}-{'f' * 16}-{'9' * 6}"
    task = CatchUp("g" * 512, "c" * 32, 10**15, 10**15, (name,) * rules.MOST_SEEN)

    assert len(message_rules.task_body(task).encode()) <= 256 * 1024


def test_a_frame_is_one_that_api_gateway_takes() -> None:
    lines = [Line(f"{at}-{'f' * 16}", at, "\x00\U0001f600" * 400) for at in range(MOST_LINES)]
    frames = [
        *frame_rules.log_frames("s" * 128, lines),
        *frame_rules.log_frames("s", [Line("1-f", 1, "x" * 300_000)]),
    ]

    assert max(len(frame.encode()) for frame in frames) <= 32 * 1024
    assert sum(len(json.loads(frame)["lines"]) for frame in frames) > MOST_LINES


def test_a_socket_is_pinged_before_it_counts_as_idle_and_ended_before_it_is_cut() -> None:
    """The sweeper comes once a minute; API Gateway gives ten minutes, and two hours in all."""
    minute = RESOURCES["SweeperFunction"]["Properties"]["Events"]["Minute"]["Properties"]
    assert minute["Schedule"] == "rate(1 minute)"
    late = MINUTE + LAMBDAS["SweeperFunction"]["Timeout"] * SECOND

    assert rules.PING_EVERY + late < 10 * MINUTE
    assert rules.SOCKET_LIFE + late <= 120 * MINUTE


def test_the_stack_says_where_its_sockets_are() -> None:
    url = TEMPLATE["Outputs"]["SocketUrl"]["Value"]["Fn::Sub"]

    assert re.fullmatch(r"wss://\$\{SocketApi\}\.execute-api\..*/live", url)
    assert TEMPLATE["Outputs"]["SocketApiId"]["Value"] == {"Ref": "SocketApi"}

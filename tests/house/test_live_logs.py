"""Rules of AWS for live logs that the local engine does not enforce."""

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
    """List the policy statements of one function."""
    return [resources.given(one) for one in LAMBDAS[function]["Policies"][0]["Statement"]]


# ---- Who may open a socket ---------------------------------------------------------------------


def test_the_websocket_api_uses_the_authorizer() -> None:
    auth = API["Auth"]

    assert auth["AuthType"] == "CUSTOM"
    assert auth["AuthArn"] == {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}
    # With an InvokeRole SAM would not create the permission to invoke the authorizer.
    assert "InvokeRole" not in auth


def test_every_request_for_a_socket_reaches_the_authorizer() -> None:
    """API Gateway answers 401 if an identity source is missing; a key may be in six places."""
    assert API["Auth"]["IdentitySource"] == ["route.request.header.Host"]


def test_every_route_of_the_websocket_api_has_the_same_function() -> None:
    to = {"FunctionArn": {"Fn::GetAtt": ["SocketsFunction", "Arn"]}}

    assert API["Routes"] == dict.fromkeys(("$connect", "$disconnect", "$default"), to)


def test_the_websocket_api_is_throttled() -> None:
    said = API["DefaultRouteSettings"]

    assert 0 < said["ThrottlingRateLimit"] <= said["ThrottlingBurstLimit"] <= 100


def test_the_sockets_function_ends_before_api_gateway_times_out() -> None:
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


def test_only_the_relay_and_the_sweeper_may_write_into_sockets() -> None:
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


def test_cloudwatch_may_call_the_relay_only_for_this_account() -> None:
    permissions = [
        one["Properties"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::Lambda::Permission"
        and one["Properties"]["Principal"] == "logs.amazonaws.com"
    ]

    assert permissions == [
        {
            "Action": "lambda:InvokeFunction",
            # Without a version, because filters outlive the deployment that put them.
            "FunctionName": {"Ref": "LogRelayFunction"},
            "Principal": "logs.amazonaws.com",
            "SourceAccount": {"Ref": "AWS::AccountId"},
            "SourceArn": {
                "Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"
            },
        }
    ]
    assert "AutoPublishAlias" not in {*RELAY, *TEMPLATE["Globals"]["Function"]}


def test_permissions_for_filters_fit_aws_and_the_local_engine() -> None:
    """A log group's ARN ends in `:*` on AWS and not in the engine; this star matches both."""
    for function, action in (
        ("LogRelayFunction", "logs:PutSubscriptionFilter"),
        ("SweeperFunction", "logs:DeleteSubscriptionFilter"),
    ):
        (resource,) = [
            one["Resource"]["Fn::Sub"] for one in statements(function) if action in one["Action"]
        ]
        assert resource.endswith(":log-group:*")


def test_the_relay_only_puts_filters_and_the_sweeper_only_deletes() -> None:
    may = {
        action: {name for name in LAMBDAS if action in str(LAMBDAS[name].get("Policies"))}
        for action in ("logs:PutSubscriptionFilter", "logs:DeleteSubscriptionFilter")
    }

    assert may == {
        "logs:PutSubscriptionFilter": {"LogRelayFunction"},
        "logs:DeleteSubscriptionFilter": {"SweeperFunction"},
    }


def test_lambda_s_default_retries_of_a_failed_push_are_kept() -> None:
    """Fewer retries or a shorter event age would lose lines without a notice to the viewers."""
    assert "EventInvokeConfig" not in {*RELAY, *TEMPLATE["Globals"]["Function"]}
    assert not [
        one for one in RESOURCES.values() if one["Type"] == "AWS::Lambda::EventInvokeConfig"
    ]
    # With a limit, pushes would wait for backlogs.
    assert "ReservedConcurrentExecutions" not in {*RELAY, *TEMPLATE["Globals"]["Function"]}


def test_functions_that_carry_live_logs_are_not_log_sources() -> None:
    """Each pushed line would make them write another line, in an endless loop."""
    tags = {name: said["Tags"].get("gatehouse:logs") for name, said in LAMBDAS.items()}
    off = {name for name, tag in tags.items() if tag is not None}

    assert off == {"SocketsFunction", "LogRelayFunction", "SweeperFunction"}
    assert {tags[name] for name in off} == {"off"}


# ---- The relay's tasks -------------------------------------------------------------------------


def test_a_task_stays_hidden_for_six_timeouts_of_the_relay() -> None:
    assert QUEUE["VisibilityTimeout"] >= 6 * RELAY["Timeout"]


def test_failed_tasks_go_to_a_dead_letter_queue_with_an_alarm() -> None:
    redrive = QUEUE["RedrivePolicy"]
    alarm = RESOURCES["RelayFailuresAlarm"]["Properties"]

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["RelayFailures", "Arn"]}
    assert redrive["maxReceiveCount"] >= 3
    kept = RESOURCES["RelayFailures"]["Properties"]["MessageRetentionPeriod"]
    assert kept > QUEUE["MessageRetentionPeriod"]  # SQS counts from the first send
    assert alarm["Dimensions"] == [
        {"Name": "QueueName", "Value": {"Fn::GetAtt": ["RelayFailures", "QueueName"]}}
    ]


def test_the_relay_gets_one_task_at_a_time() -> None:
    assert RELAY["Events"] == {
        "Tasks": {
            "Type": "SQS",
            "Properties": {
                "Queue": {"Fn::GetAtt": ["RelayQueue", "Arn"]},
                "BatchSize": 1,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": 10},
            },
        }
    }


def test_recursive_loops_are_allowed_for_three_functions() -> None:
    """Lambda stops a function after 16 calls in a chain; polls and retries make longer chains."""
    allowed = {
        name: said["RecursiveLoop"] for name, said in LAMBDAS.items() if "Recur" in str(said)
    }

    assert allowed == {
        "LogRelayFunction": "Allow",
        "DeliveryWorkerFunction": "Allow",
        "SlowDeliveryWorkerFunction": "Allow",
    }


# ---- Limits of AWS -----------------------------------------------------------------------------


def test_delays_of_tasks_are_within_the_limit_of_sqs() -> None:
    longest = max(rules.POLL_EVERY, backlog.CATCH_UP_AFTER, rules.SEARCH_LAG // 1_000)

    assert 0 < longest <= LONGEST_DELAY


def test_the_largest_task_fits_into_an_sqs_message() -> None:
    name = f"{'9' * 15}-{'f' * 16}-{'9' * 6}"
    task = CatchUp("g" * 512, "c" * 32, 10**15, 10**15, (name,) * rules.MOST_SEEN)

    assert len(message_rules.task_body(task).encode()) <= 256 * 1024


def test_frames_are_within_the_limit_of_api_gateway() -> None:
    lines = [Line(f"{at}-{'f' * 16}", at, "\x00\U0001f600" * 400) for at in range(MOST_LINES)]
    frames = [
        *frame_rules.log_frames("s" * 128, lines),
        *frame_rules.log_frames("s", [Line("1-f", 1, "x" * 300_000)]),
    ]

    assert max(len(frame.encode()) for frame in frames) <= 32 * 1024
    assert sum(len(json.loads(frame)["lines"]) for frame in frames) > MOST_LINES


def test_sockets_are_pinged_and_closed_before_api_gateway_ends_them() -> None:
    """The sweeper runs each minute; API Gateway's limits are 10 minutes idle and 2 hours in all."""
    minute = RESOURCES["SweeperFunction"]["Properties"]["Events"]["Minute"]["Properties"]
    assert minute["Schedule"] == "rate(1 minute)"
    late = MINUTE + LAMBDAS["SweeperFunction"]["Timeout"] * SECOND

    assert rules.PING_EVERY + late < 10 * MINUTE
    assert rules.SOCKET_LIFE + late <= 120 * MINUTE


def test_the_stack_outputs_the_url_of_its_sockets() -> None:
    url = TEMPLATE["Outputs"]["SocketUrl"]["Value"]["Fn::Sub"]

    assert re.fullmatch(r"wss://\$\{SocketApi\}\.execute-api\..*/live", url)
    assert TEMPLATE["Outputs"]["SocketApiId"]["Value"] == {"Ref": "SocketApi"}

"""template.yaml against the code: routes, settings, gateway responses, permissions, alarms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatehouse.core import settings
from gatehouse.web import door as doors
from house import sources
from house.sources import ROOT
from support.aws import invocation, resources

TEMPLATE = resources.template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
API = RESOURCES["Api"]["Properties"]
LAMBDAS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}
GROUPS = {block["CodeUri"].removeprefix("functions/"): block for block in LAMBDAS.values()}
MODULES = {module.path.parent.name: module for module in sources.functions()}
MAX_ROUTES = 30  # a Lambda permission policy has at most 20 KB

Route = tuple[str, str, bool]  # method, path, public


def routes_of_the_template(group: str) -> set[Route]:
    """List the routes of a function's Api events."""
    found = set()
    for event in GROUPS[group].get("Events", {}).values():
        if event["Type"] == "Api":
            block = event["Properties"]
            public = block.get("Auth", {}).get("Authorizer") == "NONE"
            found.add((block["Method"], block["Path"], public))
    return found


def routes_of_the_handler(group: str) -> set[Route]:
    """List the routes of a function's FastAPI application."""
    door = getattr(invocation.load(group), "door", None)
    if door is None:
        return set()
    return {
        (method, route.path, door.needs[route.endpoint] is doors.public)
        for route in door.app.routes
        for method in route.methods
    }


@pytest.fixture(autouse=True, scope="module")
def _environment() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in (
            "GATEHOUSE_KEYS_TABLE",
            "GATEHOUSE_MAIN_TABLE",
            "GATEHOUSE_DELIVERY_QUEUE",
        ):
            patch.setenv(name, "unused")
        yield


# ---- Functions and routes ----------------------------------------------------------------------


def test_every_function_folder_is_in_the_template_and_no_other() -> None:
    assert set(GROUPS) == sources.lambdas()


@pytest.mark.parametrize("group", GROUPS)
def test_routes_of_template_and_handler_are_the_same(group: str) -> None:
    assert routes_of_the_template(group) == routes_of_the_handler(group)


@pytest.mark.parametrize("group", GROUPS)
def test_a_function_has_at_most_thirty_routes(group: str) -> None:
    assert len(routes_of_the_template(group)) <= MAX_ROUTES


def test_a_route_belongs_to_one_function() -> None:
    every = [
        (method, path) for group in GROUPS for method, path, _ in routes_of_the_template(group)
    ]

    assert len(every) == len(set(every))


def test_every_route_has_the_authorizer_unless_it_opts_out() -> None:
    auth = API["Auth"]
    authorizer = auth["Authorizers"][auth["DefaultAuthorizer"]]

    assert authorizer["FunctionArn"] == {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}
    assert authorizer["FunctionPayloadType"] == "REQUEST"
    assert authorizer["Identity"]["ReauthorizeEvery"] == 0


def test_exactly_the_public_routes_have_a_throttle_of_their_own() -> None:
    public = {
        (path, method)
        for group in GROUPS
        for method, path, is_public in routes_of_the_template(group)
        if is_public
    }
    # CloudFormation needs `/a/b` as `/~1a~1b`; the plain form matches no method.
    assert all(
        re.fullmatch(r"/(~1[^/]+)+", block["ResourcePath"]) for block in API["MethodSettings"]
    )
    throttled = {
        (block["ResourcePath"][1:].replace("~1", "/"), block["HttpMethod"]): block
        for block in API["MethodSettings"]
    }

    assert set(throttled) == public
    for block in throttled.values():
        assert 0 < block["ThrottlingRateLimit"] <= block["ThrottlingBurstLimit"] <= 100


# ---- Gateway responses -------------------------------------------------------------------------

RESPONSES = {
    "UNAUTHORIZED": (401, "Unauthorized"),
    "ACCESS_DENIED": (401, "Unauthorized"),
    "EXPIRED_TOKEN": (401, "Unauthorized"),
    "INVALID_SIGNATURE": (401, "Unauthorized"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "Not Found"),
    "RESOURCE_NOT_FOUND": (404, "Not Found"),
    "REQUEST_TOO_LARGE": (413, "Payload Too Large"),
    "THROTTLED": (429, "Too Many Requests"),
    "QUOTA_EXCEEDED": (429, "Too Many Requests"),
    "AUTHORIZER_FAILURE": (503, "Service Unavailable"),
    "AUTHORIZER_CONFIGURATION_ERROR": (503, "Service Unavailable"),
    "API_CONFIGURATION_ERROR": (503, "Service Unavailable"),
    "INTEGRATION_FAILURE": (503, "Service Unavailable"),
    "INTEGRATION_TIMEOUT": (503, "Service Unavailable"),
    "DEFAULT_5XX": (503, "Service Unavailable"),
}


def test_every_gateway_response_is_in_the_template() -> None:
    assert set(API["GatewayResponses"]) == {*RESPONSES, "DEFAULT_4XX"}


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_gateway_response_has_the_contract_s_status_and_body(kind: str) -> None:
    status, text = RESPONSES[kind]
    block = API["GatewayResponses"][kind]
    body = json.loads(block["ResponseTemplates"]["application/json"])
    headers = block["ResponseParameters"]["Headers"]

    assert block["StatusCode"] == status
    assert body == {"error": text, "status": status, "request_id": "$context.requestId"}
    assert headers["X-Request-Id"] == "context.requestId"
    assert headers.get("WWW-Authenticate") == ("'Bearer'" if status == 401 else None)
    assert headers.get("Retry-After") == ("'1'" if status in {429, 503} else None)


def test_other_4xx_keep_the_gateway_s_message_and_status() -> None:
    block = API["GatewayResponses"]["DEFAULT_4XX"]

    assert "StatusCode" not in block
    assert block["ResponseParameters"]["Headers"] == {"X-Request-Id": "context.requestId"}
    assert block["ResponseTemplates"]["application/json"] == (
        '{"error":$context.error.messageString,"status":$context.error.responseStatus,'
        '"request_id":"$context.requestId"}'
    )


# ---- Settings ----------------------------------------------------------------------------------


def variables(block: dict[str, Any]) -> set[str]:
    """Name the variables that a block of the template sets."""
    return set(block.get("Environment", {}).get("Variables", {}))


EVERYWHERE = variables(TEMPLATE["Globals"]["Function"])


def read_by(group: str) -> set[str]:
    """Name the settings that a function reads, in all modules that it loads."""
    constants = {
        name: value.name
        for name, value in vars(settings).items()
        if isinstance(value, settings.Setting)
    }
    known = sources.by_name()
    reached = sources.reached(MODULES[group])
    texts = [MODULES[group].path.read_text()]
    texts += [known[name].path.read_text() for name in reached if name in known]
    found = {name for text in texts for name in re.findall(r"settings\.([A-Z_]+)\b", text)}
    return {constants[name] for name in found}


def test_every_variable_of_a_function_is_in_the_table_of_settings() -> None:
    there = EVERYWHERE | {name for block in LAMBDAS.values() for name in variables(block)}
    ours = {name for name in there if not name.startswith("POWERTOOLS_")}

    assert ours <= {one.name for one in settings.ALL}


def test_the_table_of_settings_is_complete() -> None:
    named = {value for value in vars(settings).values() if isinstance(value, settings.Setting)}

    assert set(settings.ALL) == named


# Settings that a function loads the code of and never reads. Bootstrap makes the operator's account
# whether or not account creation is open; rewrap only reads it. Functions that only read webhooks
# open no secrets, and functions that only read signals store none. Sockets registers no services.
SECRETS = {
    "GATEHOUSE_SETTINGS_KEY",
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY",
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS",
}
NEVER_READ = {
    "deliveries": SECRETS,
    "webhooks": {"GATEHOUSE_SIGNAL_DAYS"},
    "delivery_worker": {"GATEHOUSE_SIGNAL_DAYS"},
    "fan_out": SECRETS | {"GATEHOUSE_SIGNAL_DAYS"},
    "sockets": SECRETS | {"GATEHOUSE_LOG_GROUPS"},
    "sweeper": SECRETS | {"GATEHOUSE_SIGNAL_DAYS"},
    "bootstrap": {"GATEHOUSE_ACCOUNT_CREATION"},
    "people": {"GATEHOUSE_ACCOUNT_CREATION"},
    "rewrap": {"GATEHOUSE_ACCOUNT_CREATION"},
    "wallets": {"GATEHOUSE_ACCOUNT_CREATION"},
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_function_has_every_setting_that_it_reads(group: str) -> None:
    set_variables = EVERYWHERE | variables(GROUPS[group])

    assert read_by(group) - set_variables - NEVER_READ.get(group, set()) == set()


@pytest.mark.parametrize("group", GROUPS)
def test_a_function_has_no_setting_that_it_does_not_read(group: str) -> None:
    ours = {name for name in variables(GROUPS[group]) if not name.startswith("POWERTOOLS_")}

    assert ours <= read_by(group)


def test_only_the_settings_module_reads_the_environment() -> None:
    readers = {
        module.name
        for module in sources.everything()
        if re.search(r"os\.(environ|getenv)", module.path.read_text())
    }

    assert readers == {"gatehouse.core.settings"}


# ---- Least privilege ---------------------------------------------------------------------------


def policies() -> list[tuple[str, dict[str, Any]]]:
    """List every inline statement with its function's name."""
    return [
        (name, resources.given(statement))
        for name, block in LAMBDAS.items()
        for policy in block.get("Policies", [])
        for statement in policy["Statement"]
    ]


def listed(value: Any) -> list[Any]:
    """Return one value or several as a list."""
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_function_has_inline_policies_only(name: str) -> None:
    assert "Role" not in LAMBDAS[name]
    for policy in LAMBDAS[name].get("Policies", []):
        assert isinstance(policy, dict), f"{policy} is a managed policy"
        assert set(policy) == {"Version", "Statement"}, "a policy template of SAM"


# Actions on resources whose names are not known at deploy time, or that IAM takes with `*` only.
STARRED = {
    "ServicesFunction": {
        *("lambda:GetFunction", "lambda:ListTags", "lambda:UpdateFunctionConfiguration"),
        *("lambda:GetAlias", "lambda:PublishVersion", "lambda:UpdateAlias"),
        "lambda:ListAliases",
        *("ecs:DescribeServices", "ecs:UpdateService", "ecs:DescribeTaskDefinition"),
        *("logs:ListTagsForResource", "logs:FilterLogEvents", "tag:GetResources"),
        *("cloudwatch:GetMetricData", "cloudwatch:ListMetrics"),
    },
    # It reads what the services function reads, and changes nothing.
    "SocketsFunction": {
        *("lambda:GetFunction", "lambda:ListTags", "ecs:DescribeServices"),
        *("ecs:DescribeTaskDefinition", "tag:GetResources", "cloudwatch:GetMetricData"),
        "logs:FilterLogEvents",
    },
    # Any log group may be a service's, and a socket's id is made when it opens.
    "LogRelayFunction": {
        *("logs:FilterLogEvents", "logs:PutSubscriptionFilter", "execute-api:ManageConnections"),
    },
    "SweeperFunction": {"logs:DeleteSubscriptionFilter", "execute-api:ManageConnections"},
}


def test_no_action_has_a_wildcard_and_only_listed_resources_have_one() -> None:
    for name, statement in policies():
        actions, resources = statement["Action"], statement["Resource"]
        for action in listed(actions):
            assert "*" not in action, name
        for resource in listed(resources):
            starred = resource == "*" or str(resource).endswith(("*'}", ":*", "/*"))
            assert not starred or set(listed(actions)) <= STARRED.get(name, set()), name


def test_a_wildcard_resource_has_a_comment_with_its_reason() -> None:
    """The comment is on the line above, or above the list."""
    lines = (ROOT / "template.yaml").read_text().splitlines()
    starred = [
        number
        for number, line in enumerate(lines)
        if re.search(r"(Resource:|SourceArn:|- !Sub) .*\*\"$", line)
        and "KeyPolicy" not in "".join(lines[number - 8 : number])
    ]

    def line_above(number: int) -> str:
        above = number - 1
        while lines[number].lstrip().startswith("- ") and lines[above].lstrip().startswith("- "):
            above -= 1
        return lines[above]

    assert len(starred) >= 12
    assert [lines[number] for number in starred if "# " not in line_above(number)] == []


def test_only_tagged_functions_and_services_can_be_changed() -> None:
    changing = {"lambda:UpdateFunctionConfiguration", "lambda:PublishVersion"} | {
        "lambda:UpdateAlias",
        "ecs:UpdateService",
    }
    guarded = {
        action
        for _, statement in policies()
        if statement.get("Condition") == {"Null": {"aws:ResourceTag/gatehouse:service": "false"}}
        for action in listed(statement["Action"])
    }

    assert changing <= guarded


def test_each_function_is_tagged_as_a_service_of_its_own_name() -> None:
    names = {
        name: block.get("Tags", {}).get("gatehouse:service", {}).get("Fn::Sub")
        for name, block in LAMBDAS.items()
    }

    assert [name for name, service in names.items() if service is None] == []
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"\$\{AWS::StackName\}(-[a-z0-9]+)+", text) for text in names.values())


def test_only_the_gateway_s_logging_role_has_a_managed_policy() -> None:
    managed = {
        name: resource["Properties"]["ManagedPolicyArns"]
        for name, resource in RESOURCES.items()
        if "ManagedPolicyArns" in resource.get("Properties", {})
    }

    assert set(managed) == {"ApiLoggingRole"}
    assert all("service-role/" in str(arn) for arn in managed["ApiLoggingRole"])


# ---- Logs, alarms, tables ----------------------------------------------------------------------


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_function_has_a_log_group_with_retention(name: str) -> None:
    group = LAMBDAS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    block = RESOURCES[group]

    assert group == name.removesuffix("Function") + "LogGroup"
    assert block["Type"] == "AWS::Logs::LogGroup"
    assert block["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_function_is_traced() -> None:
    assert TEMPLATE["Globals"]["Function"]["Tracing"] == "Active"
    assert not [name for name, block in LAMBDAS.items() if "Tracing" in block]


def test_access_logs_do_not_hold_the_query_string() -> None:
    _, there, _ = API["AccessLogSetting"]["Fn::If"]
    logged = json.loads(there["Format"])

    assert not [value for value in logged.values() if "query" in value.lower()]
    assert logged["request_id"] == "$context.requestId"


ALARMS = {
    "AuthorizerErrorsAlarm": ("AWS/Lambda", "Errors", 1, 1),
    "InviteGuessingAlarm": ({"Fn::Sub": "Gatehouse/${AWS::StackName}"}, "InviteGuessing", 1, 1),
    "SweeperErrorsAlarm": ("AWS/Lambda", "Errors", 5, 3),
    "StatisticsFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
    "Api5xxAlarm": ("AWS/ApiGateway", "5XXError", 5, 3),
    "DeliveryFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, 1),
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

    # This one measures lateness, not failures.
    assert found == {*ALARMS, "DeliveryQueueAgeAlarm"}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_goes_off_at_the_first_failure(name: str) -> None:
    block = RESOURCES[name]["Properties"]
    namespace, metric, periods, needed = ALARMS[name]

    assert (block["Namespace"], block["MetricName"]) == (namespace, metric)
    # Counts are summed within a minute; a queue's depth is a measurement, so its maximum counts.
    statistic = "Maximum" if namespace == "AWS/SQS" else "Sum"
    assert (block["Statistic"], block["Period"], block["Threshold"]) == (statistic, 60, 1)
    assert block["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert block["EvaluationPeriods"] == periods
    assert block.get("DatapointsToAlarm", periods) == needed
    assert block["TreatMissingData"] == "notBreaching"
    assert block["AlarmActions"] == block["OKActions"]
    assert block["AlarmDescription"]


def event_of(function: str, kind: str) -> dict[str, Any] | None:
    """Return the properties of a function's first event of a type, None where it has none."""
    events = LAMBDAS[function].get("Events", {}).values()
    return next((event["Properties"] for event in events if event["Type"] == kind), None)


def alarmed(name: str, logical: str) -> bool:
    """Tell whether an alarm watches a function's errors or a queue's depth."""
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
    text = (ROOT / "docs" / "deploying.md").read_text()
    rows = re.findall(r"^\| `(\w+Alarm)` \| (.+) \|$", text, re.MULTILINE)

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
        assert block["DeletionProtectionEnabled"] is True
        assert block["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert block["BillingMode"] == "PAY_PER_REQUEST"


def test_the_keys_table_has_no_time_to_live_and_no_stream() -> None:
    block = RESOURCES["KeysTable"]["Properties"]

    assert not {"TimeToLiveSpecification", "StreamSpecification"} & set(block)


# ---- The template as text ----------------------------------------------------------------------


def test_every_parameter_has_a_description() -> None:
    assert not [
        name for name, block in TEMPLATE["Parameters"].items() if "Description" not in block
    ]


def test_cfn_lint_reports_nothing() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, ROOT / "template.yaml"], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "")

"""The template against the code: routes, settings, refusals, logs, alarms, throttles."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
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
GROUPS = {said["CodeUri"].removeprefix("functions/"): said for said in LAMBDAS.values()}
MODULES = {module.path.parent.name: module for module in sources.functions()}
MOST_ROUTES = 30  # a Lambda's permission policy ends at 20 KB

Route = tuple[str, str, bool]  # method, path, public


def routes_of_the_template(group: str) -> set[Route]:
    """Read a function's Api events."""
    found = set()
    for event in GROUPS[group].get("Events", {}).values():
        if event["Type"] == "Api":
            said = event["Properties"]
            public = said.get("Auth", {}).get("Authorizer") == "NONE"
            found.add((said["Method"], said["Path"], public))
    return found


def routes_of_the_handler(group: str) -> set[Route]:
    """Read a function's FastAPI routes."""
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


def test_each_folder_is_a_function_and_each_function_a_folder() -> None:
    assert set(GROUPS) == sources.lambdas()


@pytest.mark.parametrize("group", GROUPS)
def test_routes_are_the_handler_s(group: str) -> None:
    assert routes_of_the_template(group) == routes_of_the_handler(group)


@pytest.mark.parametrize("group", GROUPS)
def test_a_function_has_at_most_thirty_routes(group: str) -> None:
    assert len(routes_of_the_template(group)) <= MOST_ROUTES


def test_a_route_has_one_function() -> None:
    every = [
        (method, path) for group in GROUPS for method, path, _ in routes_of_the_template(group)
    ]

    assert len(every) == len(set(every))


def test_every_route_is_judged_unless_it_says_otherwise() -> None:
    auth = API["Auth"]
    authorizer = auth["Authorizers"][auth["DefaultAuthorizer"]]

    assert authorizer["FunctionArn"] == {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}
    assert authorizer["FunctionPayloadType"] == "REQUEST"
    assert authorizer["Identity"]["ReauthorizeEvery"] == 0


def test_public_routes_and_no_others_are_throttled_one_by_one() -> None:
    public = {
        (path, method)
        for group in GROUPS
        for method, path, is_public in routes_of_the_template(group)
        if is_public
    }
    # CloudFormation wants `/a/b` as `/~1a~1b`; written plainly it names no method.
    assert all(re.fullmatch(r"/(~1[^/]+)+", said["ResourcePath"]) for said in API["MethodSettings"])
    throttled = {
        (said["ResourcePath"][1:].replace("~1", "/"), said["HttpMethod"]): said
        for said in API["MethodSettings"]
    }

    assert set(throttled) == public
    for said in throttled.values():
        assert 0 < said["ThrottlingRateLimit"] <= said["ThrottlingBurstLimit"] <= 100


# ---- Refusals of the gateway -------------------------------------------------------------------

REFUSALS = {
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


def test_every_refusal_of_the_gateway_is_written() -> None:
    assert set(API["GatewayResponses"]) == {*REFUSALS, "DEFAULT_4XX"}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_what_the_contract_says(kind: str) -> None:
    status, text = REFUSALS[kind]
    said = API["GatewayResponses"][kind]
    body = json.loads(said["ResponseTemplates"]["application/json"])
    headers = said["ResponseParameters"]["Headers"]

    assert said["StatusCode"] == status
    assert body == {"error": text, "status": status, "request_id": "$context.requestId"}
    assert headers["X-Request-Id"] == "context.requestId"
    assert headers.get("WWW-Authenticate") == ("'Bearer'" if status == 401 else None)
    assert headers.get("Retry-After") == ("'1'" if status in {429, 503} else None)


def test_any_other_refusal_keeps_the_gateway_s_words_and_status() -> None:
    said = API["GatewayResponses"]["DEFAULT_4XX"]

    assert "StatusCode" not in said
    assert said["ResponseParameters"]["Headers"] == {"X-Request-Id": "context.requestId"}
    assert said["ResponseTemplates"]["application/json"] == (
        '{"error":$context.error.messageString,"status":$context.error.responseStatus,'
        '"request_id":"$context.requestId"}'
    )


# ---- Settings ----------------------------------------------------------------------------------


def variables(said: dict[str, Any]) -> set[str]:
    """Name what a block of the template sets."""
    return set(said.get("Environment", {}).get("Variables", {}))


EVERYWHERE = variables(TEMPLATE["Globals"]["Function"])


def read_by(group: str) -> set[str]:
    """Name the settings that a function reads in what it loads."""
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


def test_every_variable_of_ours_is_a_setting() -> None:
    there = EVERYWHERE | {name for said in LAMBDAS.values() for name in variables(said)}
    ours = {name for name in there if not name.startswith("POWERTOOLS_")}

    assert ours <= {one.name for one in settings.ALL}


def test_the_table_of_settings_is_complete() -> None:
    named = {value for value in vars(settings).values() if isinstance(value, settings.Setting)}

    assert set(settings.ALL) == named


# Bootstrap opens the operator's account whatever strangers may do, a rewrap only looks it up. Who
# only looks at webhooks opens none of their secrets, and who only looks at signals makes none. Who
# looks services up for their logs registers none.
VAULT = {
    "GATEHOUSE_SETTINGS_KEY",
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY",
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS",
}
NEVER_ASKED = {
    "deliveries": VAULT,
    "webhooks": {"GATEHOUSE_SIGNAL_DAYS"},
    "delivery_worker": {"GATEHOUSE_SIGNAL_DAYS"},
    "fan_out": VAULT | {"GATEHOUSE_SIGNAL_DAYS"},
    "sockets": VAULT | {"GATEHOUSE_LOG_GROUPS"},
    "sweeper": VAULT | {"GATEHOUSE_SIGNAL_DAYS"},
    "bootstrap": {"GATEHOUSE_ACCOUNT_CREATION"},
    "people": {"GATEHOUSE_ACCOUNT_CREATION"},
    "rewrap": {"GATEHOUSE_ACCOUNT_CREATION"},
    "wallets": {"GATEHOUSE_ACCOUNT_CREATION"},
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_function_gets_each_setting_that_it_reads(group: str) -> None:
    given = EVERYWHERE | variables(GROUPS[group])

    assert read_by(group) - given - NEVER_ASKED.get(group, set()) == set()


@pytest.mark.parametrize("group", GROUPS)
def test_a_function_gets_no_setting_of_its_own_that_it_does_not_read(group: str) -> None:
    ours = {name for name in variables(GROUPS[group]) if not name.startswith("POWERTOOLS_")}

    assert ours <= read_by(group)


def test_nothing_reads_the_environment_past_the_settings() -> None:
    readers = {
        module.name
        for module in sources.everything()
        if re.search(r"os\.(environ|getenv)", module.path.read_text())
    }

    assert readers == {"gatehouse.core.settings"}


# ---- The door out ------------------------------------------------------------------------------


def test_only_the_local_engine_s_stack_may_call_this_machine() -> None:
    """Where conditions are enforced, which is everywhere but there, requests are guarded."""
    given = [TEMPLATE["Globals"]["Function"], *LAMBDAS.values()]
    found = [
        said["Environment"]["Variables"][settings.OUTBOUND.name]
        for said in given
        if settings.OUTBOUND.name in variables(said)
    ]

    assert found
    assert all(value == {"Fn::If": ["Enforce", "guarded", "local"]} for value in found)
    assert TEMPLATE["Conditions"]["Enforce"] == {
        "Fn::Equals": [{"Ref": "EnforceConditions"}, "true"]
    }
    assert TEMPLATE["Parameters"]["EnforceConditions"]["Default"] == "true"
    assert settings.OUTBOUND.default == "guarded"


def test_no_parameter_set_for_aws_lifts_the_conditions() -> None:
    places = tomllib.loads((ROOT / "samconfig.toml").read_text())
    sets = {
        name: place["deploy"]["parameters"]["parameter_overrides"]
        for name, place in places.items()
        if isinstance(place, dict)
    }

    lifted = {name for name, said in sets.items() if "EnforceConditions" in str(said)}
    assert {"local", "dev", "prod"} <= set(sets)
    assert lifted == {"local"}


# ---- Least privilege ---------------------------------------------------------------------------


def policies() -> list[tuple[str, dict[str, Any]]]:
    """List every inline statement of a function, with the function's name."""
    return [
        (name, resources.given(statement))
        for name, said in LAMBDAS.items()
        for policy in said.get("Policies", [])
        for statement in policy["Statement"]
    ]


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_function_s_policies_are_written_out(name: str) -> None:
    assert "Role" not in LAMBDAS[name]
    for policy in LAMBDAS[name].get("Policies", []):
        assert isinstance(policy, dict), f"{policy} is a managed policy"
        assert set(policy) == {"Version", "Statement"}, "a policy template of SAM"


# What may be done to things that nobody can name beforehand, or that IAM lets nobody name.
STARRED = {
    "ServicesFunction": {
        *("lambda:GetFunction", "lambda:ListTags", "lambda:UpdateFunctionConfiguration"),
        *("lambda:GetAlias", "lambda:PublishVersion", "lambda:UpdateAlias"),
        "lambda:ListAliases",
        *("ecs:DescribeServices", "ecs:UpdateService", "ecs:DescribeTaskDefinition"),
        *("logs:ListTagsForResource", "logs:FilterLogEvents", "tag:GetResources"),
        *("cloudwatch:GetMetricData", "cloudwatch:ListMetrics"),
    },
    # It finds what the services function finds, and changes nothing.
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


# AWS knows one action that begins so; the engine asks for another one for a batch.
A_BATCH_TOO = "sqs:SendMessage*"


def test_no_grant_has_a_star_for_an_action_or_a_resource() -> None:
    for name, statement in policies():
        actions, resources = statement["Action"], statement["Resource"]
        asked = actions if isinstance(actions, list) else [actions]
        for action in asked:
            assert "*" not in action or action == A_BATCH_TOO, name
        for resource in resources if isinstance(resources, list) else [resources]:
            starred = resource == "*" or str(resource).endswith(("*'}", ":*", "/*"))
            assert not starred or set(asked) <= STARRED.get(name, set()), name


def test_a_star_has_its_reason_beside_it() -> None:
    """On the line above, or where the list of them begins."""
    lines = (ROOT / "template.yaml").read_text().splitlines()
    starred = [
        number
        for number, line in enumerate(lines)
        if re.search(r"(Resource:|SourceArn:|- !Sub) .*\*\"$", line)
        and "KeyPolicy" not in "".join(lines[number - 8 : number])
    ]

    def said_beside(number: int) -> str:
        above = number - 1
        while lines[number].lstrip().startswith("- ") and lines[above].lstrip().startswith("- "):
            above -= 1
        return lines[above]

    assert len(starred) >= 12
    assert [lines[number] for number in starred if "# " not in said_beside(number)] == []


def test_only_what_carries_the_tag_may_be_changed() -> None:
    changing = {"lambda:UpdateFunctionConfiguration", "lambda:PublishVersion"} | {
        "lambda:UpdateAlias",
        "ecs:UpdateService",
    }
    guarded = {
        action
        for _, statement in policies()
        if statement.get("Condition")
        == {
            "Fn::If": [
                "Enforce",
                {"Null": {"aws:ResourceTag/gatehouse:service": "false"}},
                {"Ref": "AWS::NoValue"},
            ]
        }
        for action in statement["Action"]
    }

    assert changing <= guarded


def test_each_function_is_a_service_of_its_own_name() -> None:
    names = {
        name: said.get("Tags", {}).get("gatehouse:service", {}).get("Fn::Sub")
        for name, said in LAMBDAS.items()
    }

    assert [name for name, service in names.items() if service is None] == []
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"\$\{AWS::StackName\}(-[a-z0-9]+)+", text) for text in names.values())


def test_managed_policies_are_service_roles_of_the_gateway_only() -> None:
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
    said = RESOURCES[group]

    assert group == name.removesuffix("Function") + "LogGroup"
    assert said["Type"] == "AWS::Logs::LogGroup"
    assert said["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_function_is_traced() -> None:
    assert TEMPLATE["Globals"]["Function"]["Tracing"] == "Active"
    assert not [name for name, said in LAMBDAS.items() if "Tracing" in said]


def test_access_logs_leave_the_query_out() -> None:
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
    "DeadLettersAlarm": ({"Fn::Sub": "Gatehouse/${AWS::StackName}"}, "DeadLettered", 1, 1),
    "LostDeliveriesAlarm": ({"Fn::Sub": "Gatehouse/${AWS::StackName}"}, "LostDeliveries", 1, 1),
}


def test_the_alarms_are_these() -> None:
    found = {name for name, one in RESOURCES.items() if one["Type"] == "AWS::CloudWatch::Alarm"}

    # This one is about lateness, not about a failure.
    assert found == {*ALARMS, "DeliveryQueueAgeAlarm"}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_goes_off_at_the_first_failure_of_ours(name: str) -> None:
    said = RESOURCES[name]["Properties"]
    namespace, metric, periods, needed = ALARMS[name]

    assert (said["Namespace"], said["MetricName"]) == (namespace, metric)
    # What is counted adds up within a minute; what is measured, as a queue's depth, does not.
    statistic = "Maximum" if namespace == "AWS/SQS" else "Sum"
    assert (said["Statistic"], said["Period"], said["Threshold"]) == (statistic, 60, 1)
    assert said["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert said["EvaluationPeriods"] == periods
    assert said.get("DatapointsToAlarm", periods) == needed
    assert said["TreatMissingData"] == "notBreaching"
    assert said["AlarmActions"] == said["OKActions"]
    assert said["AlarmDescription"]


def test_tables_outlive_the_stack_and_can_be_restored() -> None:
    for table in ("KeysTable", "MainTable"):
        said = RESOURCES[table]["Properties"]
        assert RESOURCES[table]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert RESOURCES[table]["UpdateReplacePolicy"] == "Retain"
        assert said["DeletionProtectionEnabled"] == {"Fn::If": ["Enforce", True, False]}
        assert said["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert said["BillingMode"] == "PAY_PER_REQUEST"


def test_keys_never_expire_out_of_the_table() -> None:
    said = RESOURCES["KeysTable"]["Properties"]

    assert not {"TimeToLiveSpecification", "StreamSpecification"} & set(said)


# ---- The template as a text --------------------------------------------------------------------


def test_every_parameter_is_described() -> None:
    assert not [name for name, said in TEMPLATE["Parameters"].items() if "Description" not in said]


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, ROOT / "template.yaml"], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "")

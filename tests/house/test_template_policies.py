"""Policies of the template: inline, exact actions, exact resources."""

from __future__ import annotations

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


def test_functions_have_inline_policies_only() -> None:
    with_role = [name for name, block in LAMBDAS.items() if "Role" in block]
    not_inline = [
        name
        for name, block in LAMBDAS.items()
        for policy in block.get("Policies", [])
        if not isinstance(policy, dict) or set(policy) != {"Version", "Statement"}
    ]

    assert with_role + not_inline == []


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

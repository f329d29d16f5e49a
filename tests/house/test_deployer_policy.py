"""docs/deployer-policy.json: what a deployer may do, against what the template has."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import botocore.session

from house.sources import ROOT
from support.aws.translation import translated

TEXT = (ROOT / "docs" / "deployer-policy.json").read_text()
STATEMENTS: list[dict[str, Any]] = json.loads(TEXT)["Statement"]
OPERATING = (ROOT / "docs" / "operating.md").read_text()

# What creates and what deletes a resource of each type. A new type needs its actions in both.
ACTIONS = {
    "AWS::ApiGateway::Account": {"apigateway:PATCH"},
    "AWS::ApiGateway::Deployment": {"apigateway:POST", "apigateway:DELETE"},
    "AWS::ApiGateway::RestApi": {"apigateway:POST", "apigateway:PUT", "apigateway:DELETE"},
    "AWS::ApiGateway::Stage": {"apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"},
    "AWS::ApiGatewayV2::Api": {"apigateway:POST", "apigateway:DELETE"},
    "AWS::ApiGatewayV2::Authorizer": {"apigateway:POST", "apigateway:DELETE"},
    "AWS::ApiGatewayV2::Integration": {"apigateway:POST", "apigateway:DELETE"},
    "AWS::ApiGatewayV2::Route": {"apigateway:POST", "apigateway:DELETE"},
    "AWS::ApiGatewayV2::Stage": {"apigateway:POST", "apigateway:DELETE"},
    "AWS::CloudFront::Distribution": {
        *("cloudfront:CreateDistribution", "cloudfront:UpdateDistribution"),
        "cloudfront:DeleteDistribution",
    },
    "AWS::CloudFront::Function": {
        *("cloudfront:CreateFunction", "cloudfront:PublishFunction", "cloudfront:DeleteFunction"),
    },
    "AWS::CloudWatch::Alarm": {"cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"},
    "AWS::CloudWatch::Dashboard": {"cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards"},
    "AWS::DynamoDB::Table": {
        *("dynamodb:CreateTable", "dynamodb:UpdateTable", "dynamodb:DeleteTable"),
        *("dynamodb:UpdateTimeToLive", "dynamodb:UpdateContinuousBackups"),
    },
    "AWS::Events::Rule": {
        *("events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:DeleteRule"),
    },
    "AWS::IAM::Role": {
        *("iam:CreateRole", "iam:DeleteRole", "iam:PassRole", "iam:PutRolePolicy"),
        *("iam:DeleteRolePolicy", "iam:AttachRolePolicy", "iam:DetachRolePolicy"),
    },
    "AWS::KMS::Key": {"kms:CreateKey", "kms:EnableKeyRotation", "kms:ScheduleKeyDeletion"},
    "AWS::Lambda::EventSourceMapping": {
        *("lambda:CreateEventSourceMapping", "lambda:DeleteEventSourceMapping"),
    },
    "AWS::Lambda::Function": {
        *("lambda:CreateFunction", "lambda:DeleteFunction", "lambda:UpdateFunctionCode"),
        *("lambda:UpdateFunctionConfiguration", "lambda:PutFunctionRecursionConfig"),
    },
    "AWS::Lambda::LayerVersion": {"lambda:PublishLayerVersion", "lambda:DeleteLayerVersion"},
    "AWS::Lambda::Permission": {"lambda:AddPermission", "lambda:RemovePermission"},
    "AWS::Logs::LogGroup": {
        *("logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:DeleteLogGroup"),
    },
    "AWS::Logs::MetricFilter": {"logs:PutMetricFilter", "logs:DeleteMetricFilter"},
    "AWS::SQS::Queue": {"sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:DeleteQueue"},
    "AWS::XRay::SamplingRule": {
        *("xray:CreateSamplingRule", "xray:UpdateSamplingRule", "xray:DeleteSamplingRule"),
    },
}
ALLOWED = {action for statement in STATEMENTS for action in statement["Action"]}


def test_each_type_of_the_template_can_be_created_and_deleted() -> None:
    types = {resource["Type"] for resource in translated()["Resources"].values()}
    wanted = {action for kind in types for action in ACTIONS[kind]}

    assert wanted - ALLOWED == set()


# Services whose IAM actions are not named as the operations of their API.
OTHER_NAMES = {"apigateway", "s3"}
# Actions that are no operations, or not under this name.
ONLY_ACTIONS = {"cloudformation:TagResource", "iam:PassRole", "lambda:InvokeFunction"}


def test_each_action_exists() -> None:
    missing = [
        action
        for action in sorted(ALLOWED - ONLY_ACTIONS)
        if action.partition(":")[0] not in OTHER_NAMES
        and action.partition(":")[2] not in operations(action.partition(":")[0])
    ]

    assert missing == []


@cache
def operations(service: str) -> set[str]:
    """Name the operations of a service, without the version that CloudFront's carry."""
    named = botocore.session.get_session().get_service_model(service).operation_names
    return {re.sub(r"\d{4}_\d\d_\d\d$", "", name) for name in named}


def test_no_action_has_a_wildcard_and_each_is_listed_once() -> None:
    every = [action for statement in STATEMENTS for action in statement["Action"]]

    assert [action for action in every if not re.fullmatch(r"[a-z0-9]+:[A-Z]\w+", action)] == []
    # CloudFront's functions and Lambda's share names of actions, not services.
    assert len(every) == len(set(every))


def test_only_actions_without_resources_are_allowed_on_all() -> None:
    everywhere = [one["Sid"] for one in STATEMENTS if "*" in one["Resource"]]
    scoped = [
        resource
        for one in STATEMENTS
        if one["Sid"] not in {*everywhere, "Apis", "Keys", "Layers", "FrontDoor"}
        for resource in one["Resource"]
    ]

    assert everywhere == ["WithoutResources"]
    assert [one for one in scoped if not re.search("gatehouse|aws-sam-cli|Serverless", one)] == []


def test_roles_are_passed_to_the_services_that_run_the_stack_only() -> None:
    (passing,) = [one for one in STATEMENTS if "iam:PassRole" in one["Action"]]

    assert passing["Action"] == ["iam:PassRole"]
    assert passing["Condition"] == {
        "StringEquals": {
            "iam:PassedToService": ["lambda.amazonaws.com", "apigateway.amazonaws.com"]
        }
    }


def test_the_policy_fits_into_one_managed_policy() -> None:
    assert len(re.sub(r"\s", "", TEXT)) <= 6_144


def test_the_page_explains_each_statement() -> None:
    table = OPERATING.partition("## Permissions")[2].partition("\n## ")[0]
    named = re.findall(r"`([A-Z]\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))

    assert sorted(named) == sorted(one["Sid"] for one in STATEMENTS)

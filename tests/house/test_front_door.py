"""The optional CloudFront distribution: created on request, caches nothing, uses TLS only."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from house.sources import FUNCTIONS, ROOT
from support.aws import resources

TEMPLATE = resources.template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
DISTRIBUTION = RESOURCES["FrontDoorDistribution"]["Properties"]["DistributionConfig"]
FUNCTION = RESOURCES["FrontDoorFunction"]["Properties"]
SOURCE = FUNCTIONS / "front_door" / "handler.js"
ORIGINS = {origin["Id"]: origin for origin in DISTRIBUTION["Origins"]}
DEFAULT = DISTRIBUTION["DefaultCacheBehavior"]
LOG_PATH = DISTRIBUTION["CacheBehaviors"][0]
BEHAVIORS = [DEFAULT, *DISTRIBUTION["CacheBehaviors"]]
# The managed policies, by the ids that CloudFront documents.
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
# Every error status whose caching can be configured in CloudFront.
CACHED_UNLESS_SET = {400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}
LARGEST_FUNCTION = 10 * 1024


# ---- Created on request ------------------------------------------------------------------------


def test_the_distribution_is_created_only_on_request() -> None:
    there = {
        name: resource.get("Condition")
        for name, resource in RESOURCES.items()
        if resource["Type"].startswith("AWS::CloudFront::")
    }

    assert there == {"FrontDoorFunction": "WithFrontDoor", "FrontDoorDistribution": "WithFrontDoor"}
    assert TEMPLATE["Conditions"]["WithFrontDoor"] == {
        "Fn::Equals": [{"Ref": "FrontDoor"}, "cloudfront"]
    }
    assert TEMPLATE["Parameters"]["FrontDoor"]["Default"] == "none"
    assert TEMPLATE["Parameters"]["FrontDoor"]["AllowedValues"] == ["none", "cloudfront"]


def test_the_local_stack_does_not_ask_for_the_distribution() -> None:
    places = tomllib.loads((ROOT / "samconfig.toml").read_text())

    assert "FrontDoor" not in str(places["local"])


def test_the_url_of_the_distribution_is_an_output() -> None:
    said = TEMPLATE["Outputs"]["FrontDoorUrl"]

    assert said["Condition"] == "WithFrontDoor"
    assert said["Value"] == {"Fn::Sub": "https://${FrontDoorDistribution.DomainName}"}


def test_no_other_resource_refers_to_the_distribution() -> None:
    """A reference would make a cycle: the distribution refers to the APIs, they to functions."""
    others = {
        name: resource for name, resource in RESOURCES.items() if not name.startswith("FrontDoor")
    }

    assert "FrontDoor" not in str(others)


# ---- Forwarding --------------------------------------------------------------------------------


def test_each_behavior_forwards_everything_over_tls_and_caches_nothing() -> None:
    methods = {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
    found = [
        {
            name: set(value) if name == "AllowedMethods" else value
            for name, value in behavior.items()
            if name not in {"TargetOriginId", "PathPattern", "FunctionAssociations"}
        }
        for behavior in BEHAVIORS
    ]

    # Nothing else, because a response headers policy would change the API's answers.
    expected = {
        "ViewerProtocolPolicy": "https-only",
        "AllowedMethods": methods,
        "CachePolicyId": CACHING_DISABLED,
        "OriginRequestPolicyId": ALL_VIEWER_EXCEPT_HOST_HEADER,
    }
    assert found == [expected] * len(BEHAVIORS)
    assert {behavior["TargetOriginId"] for behavior in BEHAVIORS} == {"rest", "socket"}


def test_error_responses_are_neither_cached_nor_replaced() -> None:
    said = DISTRIBUTION["CustomErrorResponses"]

    assert {one["ErrorCode"] for one in said} == CACHED_UNLESS_SET
    assert all(one == {"ErrorCode": one["ErrorCode"], "ErrorCachingMinTTL": 0} for one in said)


def test_access_logs_are_off_since_a_query_may_hold_a_key() -> None:
    assert "Logging" not in DISTRIBUTION


def test_connections_to_the_origins_use_tls() -> None:
    for origin in ORIGINS.values():
        assert origin["CustomOriginConfig"] == {
            "OriginProtocolPolicy": "https-only",
            "OriginSSLProtocols": ["TLSv1.2"],
        }


def test_a_custom_certificate_sets_the_minimum_tls_version() -> None:
    condition, there, otherwise = DISTRIBUTION["ViewerCertificate"]["Fn::If"]

    assert condition == "WithFrontDoorCertificate"
    assert there == {
        "AcmCertificateArn": {"Ref": "FrontDoorCertificateArn"},
        "SslSupportMethod": "sni-only",
        "MinimumProtocolVersion": "TLSv1.2_2021",
    }
    assert otherwise == {"CloudFrontDefaultCertificate": True}
    assert resources.given(DISTRIBUTION["Aliases"]) == [{"Ref": "FrontDoorDomain"}]
    assert DISTRIBUTION["HttpVersion"] == "http2and3"


@pytest.mark.parametrize(
    ("arn", "fits"),
    [
        ("", True),
        ("arn:aws:acm:us-east-1:123456789012:certificate/1-2", True),
        ("arn:aws:acm:eu-west-1:123456789012:certificate/1-2", False),
        ("arn:aws:iam::123456789012:server-certificate/1-2", False),
    ],
)
def test_a_certificate_must_be_in_us_east_1(arn: str, *, fits: bool) -> None:
    pattern = TEMPLATE["Parameters"]["FrontDoorCertificateArn"]["AllowedPattern"]

    assert bool(re.search(pattern, arn)) == fits


# ---- The two origins, and the function that chooses --------------------------------------------


def test_the_origins_are_the_stack_s_two_apis() -> None:
    host = "execute-api.${AWS::Region}.${AWS::URLSuffix}"

    assert {name: origin["DomainName"] for name, origin in ORIGINS.items()} == {
        "rest": {"Fn::Sub": f"${{Api}}.{host}"},
        "socket": {"Fn::Sub": f"${{SocketApi}}.{host}"},
    }
    assert {origin["OriginPath"] for origin in ORIGINS.values()} == {"/live"}
    assert {RESOURCES[name]["Properties"]["StageName"] for name in ("Api", "SocketApi")} == {"live"}


def test_only_the_log_path_runs_the_function() -> None:
    assert DEFAULT["TargetOriginId"] == "rest"
    assert "FunctionAssociations" not in DEFAULT
    assert [one["PathPattern"] for one in DISTRIBUTION["CacheBehaviors"]] == [
        "/api/services/*/logs"
    ]
    assert LOG_PATH["TargetOriginId"] == "socket"
    assert LOG_PATH["FunctionAssociations"] == [
        {
            "EventType": "viewer-request",
            "FunctionARN": {"Fn::GetAtt": ["FrontDoorFunction", "FunctionARN"]},
        }
    ]


def test_the_template_holds_the_code_of_the_function_s_file() -> None:
    assert FUNCTION["FunctionCode"].encode() == SOURCE.read_bytes()
    assert FUNCTION["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert FUNCTION["AutoPublish"] is True


def test_the_function_is_small_and_uses_only_supported_syntax() -> None:
    """The engine of the tests accepts newer syntax than CloudFront's documented runtime."""
    text = SOURCE.read_text()
    code = re.sub(r"//[^\n]*", "", text)
    unknown = r"\?\.|\?\?|\.\.\.|`|\bclass\b|\bof\b|\brequire\b|catch\s*\{|(?:const|let)\s*[\[{]"

    assert len(text.encode()) <= LARGEST_FUNCTION
    assert re.findall(unknown, code) == []
    assert re.findall(r"^import .*", code, re.MULTILINE) == ['import cf from "cloudfront";']


def test_the_function_selects_only_existing_origins() -> None:
    named = re.findall(r'selectRequestOriginById\("([^"]*)"\)', SOURCE.read_text())

    assert named == ["rest"]
    assert set(named) <= set(ORIGINS)

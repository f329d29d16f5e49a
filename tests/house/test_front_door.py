"""The optional distribution: there only when asked for, nothing kept, nothing in plain."""

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
# Every status whose caching CloudFront lets one set.
KEPT_UNLESS_SAID = {400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}
LARGEST_FUNCTION = 10 * 1024


# ---- There when asked for ----------------------------------------------------------------------


def test_nobody_gets_a_distribution_unasked() -> None:
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


def test_the_local_engine_has_a_front_door_of_its_own() -> None:
    places = tomllib.loads((ROOT / "samconfig.toml").read_text())

    assert "FrontDoor" not in str(places["local"])


def test_its_url_is_an_output() -> None:
    said = TEMPLATE["Outputs"]["FrontDoorUrl"]

    assert said["Condition"] == "WithFrontDoor"
    assert said["Value"] == {"Fn::Sub": "https://${FrontDoorDistribution.DomainName}"}


def test_nothing_else_knows_it() -> None:
    """Else there would be a cycle: it points to the APIs, and they to their functions."""
    others = {
        name: resource for name, resource in RESOURCES.items() if not name.startswith("FrontDoor")
    }

    assert "FrontDoor" not in str(others)


# ---- What passes -------------------------------------------------------------------------------


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

    # Nothing else: a policy that adds headers, or a function, would change the API's answers.
    expected = {
        "ViewerProtocolPolicy": "https-only",
        "AllowedMethods": methods,
        "CachePolicyId": CACHING_DISABLED,
        "OriginRequestPolicyId": ALL_VIEWER_EXCEPT_HOST_HEADER,
    }
    assert found == [expected] * len(BEHAVIORS)
    assert {behavior["TargetOriginId"] for behavior in BEHAVIORS} == {"rest", "socket"}


def test_no_refusal_is_kept_or_replaced() -> None:
    said = DISTRIBUTION["CustomErrorResponses"]

    assert {one["ErrorCode"] for one in said} == KEPT_UNLESS_SAID
    assert all(one == {"ErrorCode": one["ErrorCode"], "ErrorCachingMinTTL": 0} for one in said)


def test_the_query_is_written_to_no_log() -> None:
    assert "Logging" not in DISTRIBUTION


def test_to_the_origins_it_is_tls_too() -> None:
    for origin in ORIGINS.values():
        assert origin["CustomOriginConfig"] == {
            "OriginProtocolPolicy": "https-only",
            "OriginSSLProtocols": ["TLSv1.2"],
        }


def test_a_certificate_of_one_s_own_sets_the_least_tls() -> None:
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
def test_a_certificate_lies_where_cloudfront_looks_for_it(arn: str, *, fits: bool) -> None:
    pattern = TEMPLATE["Parameters"]["FrontDoorCertificateArn"]["AllowedPattern"]

    assert bool(re.search(pattern, arn)) == fits


# ---- Two origins, and what chooses -------------------------------------------------------------


def test_each_origin_is_an_api_of_the_stack_at_its_stage() -> None:
    host = "execute-api.${AWS::Region}.${AWS::URLSuffix}"

    assert {name: origin["DomainName"] for name, origin in ORIGINS.items()} == {
        "rest": {"Fn::Sub": f"${{Api}}.{host}"},
        "socket": {"Fn::Sub": f"${{SocketApi}}.{host}"},
    }
    assert {origin["OriginPath"] for origin in ORIGINS.values()} == {"/live"}
    assert {RESOURCES[name]["Properties"]["StageName"] for name in ("Api", "SocketApi")} == {"live"}


def test_only_the_log_path_meets_the_function() -> None:
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


def test_the_function_is_the_file() -> None:
    assert FUNCTION["FunctionCode"].encode() == SOURCE.read_bytes()
    assert FUNCTION["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert FUNCTION["AutoPublish"] is True


def test_the_function_fits_and_says_nothing_that_the_edge_does_not_know() -> None:
    """The engine that runs it in tests is newer than the edge's, which lists what it knows."""
    text = SOURCE.read_text()
    code = re.sub(r"//[^\n]*", "", text)
    unknown = r"\?\.|\?\?|\.\.\.|`|\bclass\b|\bof\b|\brequire\b|catch\s*\{|(?:const|let)\s*[\[{]"

    assert len(text.encode()) <= LARGEST_FUNCTION
    assert re.findall(unknown, code) == []
    assert re.findall(r"^import .*", code, re.MULTILINE) == ['import cf from "cloudfront";']


def test_the_function_names_origins_that_there_are() -> None:
    named = re.findall(r'selectRequestOriginById\("([^"]*)"\)', SOURCE.read_text())

    assert named == ["rest"]
    assert set(named) <= set(ORIGINS)

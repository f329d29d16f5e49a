"""What CloudFormation gets after SAM has translated template.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.aws.translation import translated


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return dict(translated()["Resources"])


def of_type(found: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the resources of one type by logical id."""
    return {name: one for name, one in found.items() if one["Type"] == kind}


def test_the_rest_api_has_one_public_stage(found: dict[str, Any]) -> None:
    (stage,) = of_type(found, "AWS::ApiGateway::Stage").values()

    assert stage["Properties"]["StageName"] == "live"
    # A deployment that names a stage creates it, without throttles, access log and alarms.
    (deployment,) = of_type(found, "AWS::ApiGateway::Deployment").values()
    assert "StageName" not in deployment["Properties"]


def test_the_socket_api_has_one_public_stage(found: dict[str, Any]) -> None:
    (stage,) = of_type(found, "AWS::ApiGatewayV2::Stage").values()

    assert stage["Properties"]["StageName"] == "live"
    assert of_type(found, "AWS::ApiGatewayV2::Deployment") == {}


def test_the_logging_role_is_used_after_the_api_and_before_the_stage(
    found: dict[str, Any],
) -> None:
    (account,) = of_type(found, "AWS::ApiGateway::Account").values()
    (stage,) = of_type(found, "AWS::ApiGateway::Stage").values()

    assert account["DependsOn"] == "Api"
    assert {"Ref": "ApiLogging"} in list(values(stage["Properties"]["Variables"]))


def test_gateway_responses_reach_the_api_s_document(found: dict[str, Any]) -> None:
    document = found["Api"]["Properties"]["Body"]
    responses = document["x-amazon-apigateway-gateway-responses"]

    assert document["swagger"] == "2.0"
    assert responses["DEFAULT_4XX"]["statusCode"] == "404"
    text = responses["UNAUTHORIZED"]["responseTemplates"]["application/json"]
    assert json.loads(text)["status"] == 401
    parameters = responses["UNAUTHORIZED"]["responseParameters"]
    assert parameters["gatewayresponse.header.WWW-Authenticate"] == "'Bearer'"


def values(node: Any) -> Iterator[Any]:
    """List a node and everything below it."""
    yield node
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for one in below:
        yield from values(one)

"""What the CLI reads from template.yaml, and what samconfig.toml sets for each place."""

import re
from pathlib import Path

import pytest

from gatehouse_cli import samconfig
from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import template
from gatehouse_cli.local.sam import host_parameters

PROJECT = Path(__file__).parents[2]
RESOURCES = template.resources(PROJECT / "template.yaml")


def test_gateway_responses_are_read_in_api_gateway_s_own_terms() -> None:
    responses = {
        response.response_type: response for response in template.gateway_responses(RESOURCES)
    }

    denied = responses["ACCESS_DENIED"]
    assert denied.status_code == "401"
    assert denied.parameters == {
        "gatewayresponse.header.X-Request-Id": "context.requestId",
        "gatewayresponse.header.WWW-Authenticate": "'Bearer'",
    }
    assert denied.templates["application/json"].startswith('{"error":"Unauthorized","status":401')
    assert set(responses) == set(RESOURCES["Api"]["Properties"]["GatewayResponses"])


def test_tables_with_a_time_to_live_are_found_with_its_attribute() -> None:
    assert template.expiring_tables(RESOURCES) == {"KeysTable": "ttl", "MainTable": "ttl"}


def test_log_groups_are_found() -> None:
    assert {"AuthorizerLogGroup", "KeysServicesLogGroup"} <= set(template.log_groups(RESOURCES))


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_runtime_and_architecture_are_the_same_in_all_three_files(
    place: str,
) -> None:
    given = dict(
        re.findall(
            r"^GATEHOUSE_(RUNTIME|ARCHITECTURE) \?= (\S+)$",
            (PROJECT / "layers/target.mk").read_text(),
            re.MULTILINE,
        )
    )
    defaults = re.search(
        r"PythonRuntime:.*?Default: (\S+).*?Architecture:.*?Default: (\S+)",
        (PROJECT / "template.yaml").read_text(),
        re.DOTALL,
    )
    parameters = samconfig.read(PROJECT, place).parameters

    assert defaults is not None
    assert (
        (parameters["PythonRuntime"], parameters["Architecture"])
        == defaults.groups()
        == (given["RUNTIME"], given["ARCHITECTURE"])
    )


def test_the_local_place_opens_account_creation() -> None:
    parameters = samconfig.read(PROJECT, "local").parameters

    assert parameters["AccountCreation"] == "open"
    assert parameters["AccessLogs"] == "off"


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_places_on_aws_keep_account_creation_closed(place: str) -> None:
    parameters = samconfig.read(PROJECT, place).parameters

    assert parameters["AccountCreation"] == "closed"


def test_an_unknown_place_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CommandError, match=r"has no parameter set test\. It has local, dev, prod"):
        samconfig.read(PROJECT, "test")


def test_the_host_s_own_python_is_the_local_runtime() -> None:
    assert re.fullmatch(r"python3\.1[1-9]", host_parameters()["PythonRuntime"])

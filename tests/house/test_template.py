"""template.yaml against the code: routes and settings."""

from __future__ import annotations

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
            "GATEHOUSE_SLOW_DELIVERY_QUEUE",
        ):
            patch.setenv(name, "unused")
        yield


# ---- Functions and routes ----------------------------------------------------------------------


def test_every_function_folder_is_in_the_template_and_no_other() -> None:
    assert set(GROUPS) == sources.lambdas()


def test_routes_of_template_and_handler_are_the_same() -> None:
    differing = {
        group: routes_of_the_template(group) ^ routes_of_the_handler(group)
        for group in GROUPS.keys() - sources.WITHOUT_DOOR
        if routes_of_the_template(group) != routes_of_the_handler(group)
    }

    assert differing == {}


def test_a_function_has_at_most_thirty_routes() -> None:
    assert [group for group in GROUPS if len(routes_of_the_template(group)) > MAX_ROUTES] == []


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
        re.fullmatch(r"/((~1[^/]+)+)?", block["ResourcePath"]) for block in API["MethodSettings"]
    )
    throttled = {
        (block["ResourcePath"][1:].replace("~1", "/") or "/", block["HttpMethod"]): block
        for block in API["MethodSettings"]
    }

    assert set(throttled) == public
    for block in throttled.values():
        assert 0 < block["ThrottlingRateLimit"] <= block["ThrottlingBurstLimit"] <= 100


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
    "slow_delivery_worker": {"GATEHOUSE_SIGNAL_DAYS"},
    "fan_out": SECRETS | {"GATEHOUSE_SIGNAL_DAYS"},
    "sockets": SECRETS | {"GATEHOUSE_LOG_GROUPS"},
    "sweeper": SECRETS | {"GATEHOUSE_SIGNAL_DAYS"},
    "bootstrap": {"GATEHOUSE_ACCOUNT_CREATION"},
    "people": {"GATEHOUSE_ACCOUNT_CREATION"},
    "rewrap": {"GATEHOUSE_ACCOUNT_CREATION"},
    "wallets": {"GATEHOUSE_ACCOUNT_CREATION"},
}


def test_a_function_has_every_setting_that_it_reads() -> None:
    missing = {
        group: read_by(group) - EVERYWHERE - variables(block) - NEVER_READ.get(group, set())
        for group, block in GROUPS.items()
    }

    assert {group: names for group, names in missing.items() if names} == {}


def test_a_function_has_no_setting_that_it_does_not_read() -> None:
    unread = {
        group: {name for name in variables(block) if not name.startswith("POWERTOOLS_")}
        - read_by(group)
        for group, block in GROUPS.items()
    }

    assert {group: names for group, names in unread.items() if names} == {}


def test_only_the_settings_module_reads_the_environment() -> None:
    readers = {
        module.name
        for module in sources.everything()
        if re.search(r"os\.(environ|getenv)", module.path.read_text())
    }

    assert readers == {"gatehouse.core.settings"}


# ---- The template as text ----------------------------------------------------------------------


def test_every_parameter_has_a_description() -> None:
    assert not [
        name for name, block in TEMPLATE["Parameters"].items() if "Description" not in block
    ]


@pytest.mark.slow
def test_cfn_lint_reports_nothing() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, ROOT / "template.yaml"], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "")

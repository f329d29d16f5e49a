"""Which stack, region and profile the commands use that call AWS."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatehouse_cli import aws_session
from gatehouse_cli.errors import CommandError, OptionError
from gatehouse_cli.main import cli
from gatehouse_cli.samconfig import Place

PLACES = """
[local.global.parameters]
stack_name = "gatehouse"
[local.deploy.parameters]
parameter_overrides = []
[dev.global.parameters]
stack_name = "shop-dev"
[dev.deploy.parameters]
parameter_overrides = []
[prod.global.parameters]
stack_name = "shop"
region = "eu-west-1"
profile = "work"
[prod.deploy.parameters]
parameter_overrides = []
"""
NO_REGION = (
    "Error: No AWS region is set: set the variable AWS_REGION, or `region` of the place in"
    " samconfig.toml.\n"
)


@pytest.fixture(autouse=True)
def _no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be in a clone, with the profiles `default` and `work`, and no region in the environment."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    profiles = tmp_path / "profiles"
    profiles.write_text("[default]\n[profile work]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profiles))
    (tmp_path / "template.yaml").write_text("")
    (tmp_path / "samconfig.toml").write_text(PLACES)
    monkeypatch.chdir(tmp_path)


def region(place: Place) -> str | None:
    return aws_session.open_session(place).region_name


def test_the_region_is_the_place_s_then_that_of_the_variables_then_the_profile_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place("shop", {}, profile="work")

    assert region(place) == "us-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert region(place) == "eu-north-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert region(place) == "eu-west-3"
    assert region(Place("shop", {}, region="eu-west-1", profile="work")) == "eu-west-1"


@pytest.mark.parametrize(
    "command",
    [
        "deploy",
        "restore --keys-table a --main-table b",
        "bootstrap",
        "bootstrap --stack other",
        "secrets get a provider/x",
        "secrets rewrap",
    ],
)
def test_without_a_region_every_command_says_what_to_set(command: str) -> None:
    assert outcome(command) == (1, NO_REGION)


def test_a_profile_that_does_not_exist_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none")

    with pytest.raises(CommandError, match="The config profile \\(none\\) could not be found"):
        aws_session.open_session(Place("shop", {}))


def test_a_command_uses_the_stack_that_a_deployment_uses_by_default() -> None:
    assert aws_session.find_stack(None, None).stack == "shop-dev"
    assert aws_session.find_stack("prod", None).stack == "shop"


def test_a_stack_of_samconfig_has_its_place_s_region_and_profile() -> None:
    found = aws_session.find_stack(None, "shop")

    assert (found.region, found.profile) == ("eu-west-1", "work")
    # The local stack is not on AWS, so its region does not matter.
    assert aws_session.find_stack(None, "gatehouse") == Place("gatehouse", {})
    assert aws_session.find_stack(None, "other") == Place("other", {})


def test_outside_a_clone_the_stack_must_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    assert aws_session.find_stack(None, "other") == Place("other", {})
    with pytest.raises(OptionError, match="name the stack with --stack"):
        aws_session.find_stack(None, None)


def test_a_place_and_a_stack_are_not_both_given() -> None:
    assert outcome("bootstrap --place prod --stack shop") == (
        2,
        "Error: Use either --place or --stack.\n",
    )


def outcome(command: str) -> tuple[int, str]:
    result: Result = CliRunner().invoke(cli, command.split())
    return result.exit_code, result.output


def test_only_one_module_opens_sessions() -> None:
    package = Path(aws_session.__file__).parent
    makers = {
        path.name
        for path in package.glob("*.py")
        if "boto3.Session(" in path.read_text(encoding="utf-8")
    }

    assert makers == {"aws_session.py"}

"""The engine's copy of the template differs from template.yaml in exactly what is listed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatehouse_cli import yaml_text
from gatehouse_cli.local import engine_template
from support.aws import resources

ENDPOINT = "http://127.0.0.1:4566/_aws/execute-api"
AWS = resources.template()
ENGINE = engine_template.for_engine(AWS, ENDPOINT)
MISSING = "missing"

Difference = tuple[tuple[str, ...], Any, Any]  # where, on AWS, on the engine


def differences(aws: Any, engine: Any, where: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Compare two documents and list each place where they differ."""
    if isinstance(aws, dict) and isinstance(engine, dict):
        for name in {**aws, **engine}:
            yield from differences(
                aws.get(name, MISSING), engine.get(name, MISSING), (*where, name)
            )
    elif isinstance(aws, list) and isinstance(engine, list):
        yield from differences(dict(enumerate(aws)), dict(enumerate(engine)), where)
    elif aws != engine:
        yield where, aws, engine


FOUND = list(differences(AWS, ENGINE))


def at(name: str) -> list[Difference]:
    return [one for one in FOUND if name in one[0]]


def test_the_two_templates_differ_in_these_kinds_of_places_only() -> None:
    kinds = {"Condition", "Variables", "Action", "Statement", "MaximumConcurrency"}

    assert [where for where, *_ in FOUND if not kinds & set(where)] == [
        ("Resources", "TraceSamplingRule")
    ]
    assert all("Policies" in where for where, _, _ in [*at("Condition"), *at("Statement")])


def test_every_condition_that_the_engine_cannot_evaluate_is_left_out() -> None:
    removed = [aws for where, aws, engine in at("Condition") if engine == MISSING]
    keys = {key for condition in removed for operands in condition.values() for key in operands}

    assert len(removed) == len(at("Condition")) > 40
    assert keys == {
        "dynamodb:LeadingKeys",
        "kms:EncryptionContext:purpose",
        "aws:ResourceTag/gatehouse:service",
    }


def test_a_condition_that_the_engine_evaluates_stays() -> None:
    kept = {"StringEquals": {"aws:RequestedRegion": "us-east-1"}}
    both = {
        "StringEquals": {**kept["StringEquals"], "kms:EncryptionContext:purpose": "peer"},
        "Null": {"aws:ResourceTag/gatehouse:service": "false"},
    }

    assert [_with_condition(one) for one in (kept, both)] == [kept, kept]


def _with_condition(condition: dict[str, Any]) -> dict[str, Any]:
    statement = {"Action": "kms:Decrypt", "Condition": condition}
    function = {
        "Type": "AWS::Serverless::Function",
        "Properties": {"Policies": [{"Statement": [statement]}]},
    }
    template = {"Globals": {"Function": {}}, "Resources": {"OneFunction": function}}
    copied = engine_template.for_engine(template, ENDPOINT)
    (policy,) = copied["Resources"]["OneFunction"]["Properties"]["Policies"]
    (changed,) = policy["Statement"]
    return dict(changed["Condition"])


def test_four_variables_have_a_value_of_the_engine() -> None:
    sockets = {"Fn::Sub": ENDPOINT + "/${SocketApi}/live"}
    on_aws = {"Fn::Sub": "https://${SocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/live"}

    changed = sorted(
        (_owner(where), where[-1], aws, engine)
        if where[-1] != "Fn::Sub"
        else (_owner(where), where[-2], {"Fn::Sub": aws}, {"Fn::Sub": engine})
        for where, aws, engine in at("Variables")
    )

    assert changed == [
        ("Globals", "GATEHOUSE_OUTBOUND", "guarded", "local"),
        ("LogRelayFunction", "GATEHOUSE_SOCKETS", on_aws, sockets),
        ("ServicesFunction", "GATEHOUSE_HEALTH_SOURCE", "metrics", "logs"),
        ("SocketsFunction", "GATEHOUSE_HEALTH_SOURCE", "metrics", "logs"),
        ("StatisticsFunction", "GATEHOUSE_STREAM_SHARDS", "many", "one"),
        ("SweeperFunction", "GATEHOUSE_SOCKETS", on_aws, sockets),
    ]


def _owner(where: tuple[str, ...]) -> str:
    return where[1] if where[0] == "Resources" else where[0]


def test_actions_are_added_only_where_the_engine_has_another_name_for_one() -> None:
    more = set()
    for name, resource in ENGINE["Resources"].items():
        properties = AWS["Resources"][name].get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            pairs = zip(
                engine_template.statements(properties.get("Policies", [])),
                engine_template.statements(resource["Properties"].get("Policies", [])),
                strict=False,  # The engine's copy may have one statement more, see below.
            )
            for aws, engine in pairs:
                ours, theirs = _listed(aws["Action"]), _listed(engine["Action"])
                assert theirs[: len(ours)] == ours
                more |= set(theirs[len(ours) :])

    assert more == {"sqs:SendMessageBatch", "lambda:ListAliases"}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_the_bounds_of_the_lanes_are_numbers_on_the_engine() -> None:
    changed = {_owner(where): (aws, engine) for where, aws, engine in at("MaximumConcurrency")}

    assert changed == {
        "DeliveryWorkerFunction": ({"Ref": "FastLaneConcurrency"}, 20),
        "SlowDeliveryWorkerFunction": ({"Ref": "SlowLaneConcurrency"}, 10),
    }


def test_two_functions_may_read_logs_on_the_engine() -> None:
    added = {
        _owner(where): (engine["Action"], engine["Resource"])
        for where, aws, engine in at("Statement")
        if aws == MISSING and isinstance(engine, dict)
    }

    groups = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"
    allowed = (["logs:FilterLogEvents"], {"Fn::Sub": groups})
    assert added == {"ServicesFunction": allowed, "SocketsFunction": allowed}


def test_the_template_itself_is_not_changed() -> None:
    assert resources.template() == AWS


def test_the_copy_stands_beside_the_built_template_and_reads_the_same(tmp_path: Path) -> None:
    built = tmp_path / "template.yaml"
    built.write_text(yaml_text.dump(AWS))

    path = engine_template.write(built, ENDPOINT, 4566)

    assert path == tmp_path / "engine-4566.yaml"
    assert yaml_text.load(path.read_text()) == ENGINE
    assert yaml_text.load(built.read_text()) == AWS


# ---- What no parameter can change on AWS -------------------------------------------------------


def test_no_parameter_or_condition_stands_in_a_guard_of_the_template() -> None:
    """Guards: IAM conditions, the mode of requests out."""
    guards = [one[1] for one in at("Condition")]
    guards.append(AWS["Globals"]["Function"]["Environment"]["Variables"]["GATEHOUSE_OUTBOUND"])

    assert [guard for guard in guards if "Fn::" in str(guard) or "'Ref'" in str(guard)] == []
    assert guards[-1] == "guarded"


def test_no_function_sets_another_mode_of_requests_out() -> None:
    own = {
        name
        for name, resource in AWS["Resources"].items()
        if "GATEHOUSE_OUTBOUND" in str(resource.get("Properties", {}).get("Environment", ""))
    }

    assert own == set()

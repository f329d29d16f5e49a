"""The copy of the template that the local engine gets: the same stack, without what it cannot do.

The template itself has no switch for any of this. A stack on AWS therefore always has its IAM
conditions and its guarded requests out.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatehouse_cli import yaml_text

# IAM condition keys that the engine does not evaluate: it passes some and refuses others unread.
UNEVALUATED = ("aws:ResourceTag/", "dynamodb:LeadingKeys", "kms:EncryptionContext:")

# Variables of functions that have another value on the engine.
VARIABLES = {
    "GATEHOUSE_OUTBOUND": "local",  # Receivers on this machine can be called.
    "GATEHOUSE_STREAM_SHARDS": "one",  # The engine's stream events name no shard.
    "GATEHOUSE_HEALTH_SOURCE": "logs",  # The engine writes few metrics.
}

# Types of resources that the engine refuses.
UNKNOWN_TYPES = ("AWS::XRay::SamplingRule",)

# Actions that the engine requires in addition to the one on the left.
ALSO_ASKED = {
    "sqs:SendMessage": "sqs:SendMessageBatch",
    "lambda:GetAlias": "lambda:ListAliases",
}

# These functions read failed calls from log groups, which is how health is known on the engine.
READ_LOGS = ("ServicesFunction", "SocketsFunction")
_LOG_GROUPS = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"


def write(built: Path, endpoint: str, port: int) -> Path:
    """Write the engine's copy beside a built template, whose paths are relative; return its path.

    `endpoint` is where the engine manages APIs. The port keeps copies of several engines apart.
    """
    template = yaml_text.load(built.read_text(encoding="utf-8"))
    path = built.with_name(f"engine-{port}.yaml")
    path.write_text(yaml_text.dump(for_engine(template, endpoint)))
    return path


def for_engine(template: dict[str, Any], endpoint: str) -> dict[str, Any]:
    """Return a copy of a template, intrinsic functions in their long form, for the engine."""
    changed = copy.deepcopy(template)
    _set_variables(changed["Globals"]["Function"], endpoint)
    changed["Resources"] = {
        name: resource
        for name, resource in changed["Resources"].items()
        if resource["Type"] not in UNKNOWN_TYPES
    }
    for name, resource in changed["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            _set_variables(properties, endpoint)
            _set_concurrency(properties, changed.get("Parameters", {}))
            if "Policies" in properties:
                properties["Policies"] = _policies(properties["Policies"])
            if name in READ_LOGS:
                properties["Policies"][0]["Statement"].append(_reads_logs())
    return changed


def statements(policies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """List the statements of a function's policies, those behind a condition of the stack too."""
    for policy in policies:
        for statement in policy["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def _policies(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Copied once more: anchors of the template make functions share statements.
    own = [copy.deepcopy(policy) for policy in policies]
    for statement in statements(own):
        condition = _evaluated(statement.pop("Condition", {}))
        if condition:
            statement["Condition"] = condition
        actions = statement["Action"]
        listed = [actions] if isinstance(actions, str) else actions
        more = [ALSO_ASKED[action] for action in listed if action in ALSO_ASKED]
        if more:
            statement["Action"] = [*listed, *more]
    return own


def _evaluated(condition: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the engine evaluates of a condition: operator to key to values."""
    kept = {
        operator: {
            key: values for key, values in operands.items() if not key.startswith(UNEVALUATED)
        }
        for operator, operands in condition.items()
    }
    return {operator: operands for operator, operands in kept.items() if operands}


def _set_variables(function: dict[str, Any], endpoint: str) -> None:
    variables = function.get("Environment", {}).get("Variables", {})
    for name in variables.keys() & VARIABLES:
        variables[name] = VARIABLES[name]
    if "GATEHOUSE_SOCKETS" in variables:
        variables["GATEHOUSE_SOCKETS"] = {"Fn::Sub": f"{endpoint}/${{SocketApi}}/live"}


def _set_concurrency(function: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Write the bound of a queue's mapping as a number: the engine compares it as it stands."""
    for event in function.get("Events", {}).values():
        scaling = event.get("Properties", {}).get("ScalingConfig", {})
        bound = scaling.get("MaximumConcurrency")
        if isinstance(bound, dict):
            scaling["MaximumConcurrency"] = parameters[bound["Ref"]]["Default"]


def _reads_logs() -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": ["logs:FilterLogEvents"],
        "Resource": {"Fn::Sub": _LOG_GROUPS},
    }

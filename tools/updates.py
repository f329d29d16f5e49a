"""What an update of a deployed stack must not break, compared with the last release.

`python tools/updates.py` compares template.yaml with the stored summary of the last release and
lists what an update of a deployed stack would lose, or what CloudFormation would refuse. With
`--write` it stores the summary of the template as it is: do that with each release.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = ROOT / "tools" / "last_release.json"

Summary = dict[str, Any]


def summarize(template: dict[str, Any]) -> Summary:
    """Return what an update must keep of a template whose intrinsic functions are in long form."""
    resources = template["Resources"]
    return {
        "parameters": {
            name: {
                "type": one["Type"],
                "has_default": "Default" in one,
                "allowed_values": one.get("AllowedValues"),
            }
            for name, one in template["Parameters"].items()
        },
        "outputs": sorted(template["Outputs"]),
        "resources": {name: one["Type"] for name, one in resources.items()},
        "retained": sorted(
            name
            for name, one in resources.items()
            if one.get("DeletionPolicy", "Delete").startswith("Retain")
            and one.get("UpdateReplacePolicy") == "Retain"
        ),
        "tables": {
            name: _table(one["Properties"])
            for name, one in resources.items()
            if one["Type"] == "AWS::DynamoDB::Table"
        },
        "stages": {
            name: one["Properties"]["StageName"]
            for name, one in resources.items()
            if "StageName" in one.get("Properties", {})
        },
        "routes": sorted(_routes(resources)),
        "method_settings": sorted(_method_settings(resources)),
    }


def _table(properties: dict[str, Any]) -> Summary:
    types = {
        one["AttributeName"]: one["AttributeType"] for one in properties["AttributeDefinitions"]
    }

    def keys(schema: list[dict[str, str]]) -> list[str]:
        return [
            f"{one['KeyType']} {one['AttributeName']} {types[one['AttributeName']]}"
            for one in schema
        ]

    return {
        "name": properties.get("TableName"),
        "keys": keys(properties["KeySchema"]),
        "indexes": {
            one["IndexName"]: {"keys": keys(one["KeySchema"]), "projection": one["Projection"]}
            for one in properties.get("GlobalSecondaryIndexes", [])
        },
        "local_indexes": properties.get("LocalSecondaryIndexes"),
        "stream": properties.get("StreamSpecification", {}).get("StreamViewType"),
        "expires_by": properties.get("TimeToLiveSpecification", {}).get("AttributeName"),
    }


def _routes(resources: dict[str, Any]) -> Iterator[str]:
    for one in resources.values():
        for event in one.get("Properties", {}).get("Events", {}).values():
            if event["Type"] == "Api":
                yield f"{event['Properties']['Method']} {event['Properties']['Path']}"


def _method_settings(resources: dict[str, Any]) -> Iterator[str]:
    for one in resources.values():
        for setting in one.get("Properties", {}).get("MethodSettings", []):
            yield f"{setting['HttpMethod']} {setting['ResourcePath'][1:].replace('~1', '/') or '/'}"


def broken(released: Summary, new: Summary) -> list[str]:
    """List, in sentences, what an update from the released template to the new one breaks."""
    return [
        *_parameters(released["parameters"], new["parameters"]),
        *(
            f"Output {name} is removed: commands and other stacks may read it."
            for name in sorted(set(released["outputs"]) - set(new["outputs"]))
        ),
        *_resources(released, new),
        *(
            sentence
            for name, table in released["tables"].items()
            if name in new["tables"]
            for sentence in _changed_table(name, table, new["tables"][name])
        ),
        *(
            f"The stage of {name} has another name: its URL changes."
            for name, stage in released["stages"].items()
            if new["stages"].get(name, stage) != stage
        ),
        *(
            f"Route {route} is removed: callers use it."
            for route in sorted(set(released["routes"]) - set(new["routes"]))
        ),
        *(
            f"MethodSettings name {route}, which is no route: the stage cannot be updated."
            for route in new["method_settings"]
            if route not in new["routes"]
        ),
    ]


def _parameters(released: Summary, new: Summary) -> Iterator[str]:
    for name, old in released.items():
        if name not in new:
            yield f"Parameter {name} is removed: a parameter set that has it cannot be deployed."
            continue
        if new[name]["type"] != old["type"]:
            yield f"Parameter {name} has another type: a deployed value may not fit."
        allowed = new[name]["allowed_values"]
        lost = [one for one in old["allowed_values"] or [] if allowed and one not in allowed]
        if lost or (allowed and not old["allowed_values"]):
            yield f"Parameter {name} allows less: a deployed value may not fit."
        if old["has_default"] and not new[name]["has_default"]:
            yield f"Parameter {name} lost its default: a first deployment fails without it."
    for name, one in new.items():
        if name not in released and not one["has_default"]:
            yield f"Parameter {name} is new and has no default: deployed stacks do not set it."


def _resources(released: Summary, new: Summary) -> Iterator[str]:
    for name, kind in released["resources"].items():
        if new["resources"].get(name, kind) != kind:
            yield f"{name} has another type: CloudFormation refuses that under the same name."
    for name in released["retained"]:
        if name not in new["resources"]:
            yield f"{name} is removed or renamed: the new stack begins with an empty one."
        elif name not in new["retained"]:
            yield f"{name} is no longer retained: deleting the stack deletes it."


def _changed_table(name: str, old: Summary, new: Summary) -> Iterator[str]:
    for what in ("name", "keys", "local_indexes"):
        if new[what] != old[what]:
            yield f"{name} has another {what}: CloudFormation replaces it by an empty table."
    if old["stream"] not in {None, new["stream"]}:
        yield f"{name} has another stream: what reads it stops."
    if old["expires_by"] not in {None, new["expires_by"]}:
        yield f"{name} has another time to live: DynamoDB refuses a change in one step."
    before, after = old["indexes"], new["indexes"]
    for index in sorted(set(before) & set(after)):
        if before[index] != after[index]:
            yield f"Index {index} of {name} is changed: add one with another name instead."
    moved = sorted(set(before) ^ set(after))
    if len(moved) > 1:
        yield (
            f"{name} has {len(moved)} index changes ({', '.join(moved)}):"
            " DynamoDB creates or deletes one in an update."
        )


def main() -> int:
    """Compare, or store the summary; return the exit code."""
    sys.path.insert(0, str(ROOT / "tests"))
    sys.path.insert(0, str(ROOT / "layers/gatehouse/python"))
    from support.aws import resources  # noqa: PLC0415 - after the path is set

    new = summarize(resources.template())
    if "--write" in sys.argv[1:]:
        SUMMARY.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    sentences = broken(json.loads(SUMMARY.read_text(encoding="utf-8")), new)
    print("\n".join(sentences) or "An update from the last release breaks nothing.")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())

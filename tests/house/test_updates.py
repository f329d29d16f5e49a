"""The template against the last release's: what an update of a deployed stack would break."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from house.sources import ROOT
from support.aws import resources

sys.path.append(str(ROOT / "tools"))

from updates import SUMMARY, broken, summarize

TEMPLATE = resources.template()
NOW = summarize(TEMPLATE)
COMMAND = "If no stack was deployed since, run `python tools/updates.py --write`."


def test_an_update_from_the_last_release_breaks_nothing() -> None:
    assert broken(json.loads(SUMMARY.read_text()), NOW) == [], COMMAND


def test_the_summary_holds_tables_routes_parameters_and_stages() -> None:
    assert set(NOW["tables"]) == {"KeysTable", "MainTable"}
    assert NOW["tables"]["MainTable"]["keys"] == ["HASH pk S", "RANGE sk S"]
    assert NOW["tables"]["MainTable"]["stream"] == "NEW_AND_OLD_IMAGES"
    assert NOW["tables"]["MainTable"]["expires_by"] == "ttl"
    assert NOW["tables"]["MainTable"]["indexes"]["by_due"] == {
        "keys": ["HASH due_pk S", "RANGE due_at N"],
        "projection": {"ProjectionType": "KEYS_ONLY"},
    }
    assert {"KeysTable", "MainTable", "SettingsKey"} <= set(NOW["retained"])
    assert NOW["stages"] == {"Api": "live", "SocketApi": "live"}
    assert "POST /v1/accounts" in NOW["routes"]
    assert set(NOW["method_settings"]) <= set(NOW["routes"])
    assert set(NOW["parameters"]) == set(TEMPLATE["Parameters"])


def main_table(template: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"]["MainTable"]["Properties"]
    return properties


def drop_indexes(template: dict[str, Any], count: int) -> None:
    del main_table(template)["GlobalSecondaryIndexes"][:count]


def swap_an_index(template: dict[str, Any]) -> None:
    main_table(template)["GlobalSecondaryIndexes"][0]["IndexName"] = "by_other"


def change_an_index(template: dict[str, Any]) -> None:
    main_table(template)["GlobalSecondaryIndexes"][0]["Projection"] = {
        "ProjectionType": "KEYS_ONLY"
    }


def change_a_key(template: dict[str, Any]) -> None:
    main_table(template)["KeySchema"][1]["AttributeName"] = "owner_pk"


def change_the_type_of_a_key(template: dict[str, Any]) -> None:
    main_table(template)["AttributeDefinitions"][1]["AttributeType"] = "N"


def name_a_table(template: dict[str, Any]) -> None:
    main_table(template)["TableName"] = "main"


def rename_a_table(template: dict[str, Any]) -> None:
    template["Resources"]["NewTable"] = template["Resources"].pop("MainTable")


def stop_retaining(template: dict[str, Any]) -> None:
    del template["Resources"]["SettingsKey"]["DeletionPolicy"]


def change_the_stream(template: dict[str, Any]) -> None:
    main_table(template)["StreamSpecification"] = {"StreamViewType": "NEW_IMAGE"}


def change_the_expiry(template: dict[str, Any]) -> None:
    main_table(template)["TimeToLiveSpecification"]["AttributeName"] = "expires"


def remove_a_parameter(template: dict[str, Any]) -> None:
    del template["Parameters"]["OwnHosts"]


def require_a_parameter(template: dict[str, Any]) -> None:
    template["Parameters"]["Domain"] = {"Type": "String"}


def allow_less(template: dict[str, Any]) -> None:
    template["Parameters"]["AccountCreation"]["AllowedValues"] = ["closed"]


def remove_an_output(template: dict[str, Any]) -> None:
    del template["Outputs"]["ApiUrl"]


def rename_the_stage(template: dict[str, Any]) -> None:
    template["Resources"]["Api"]["Properties"]["StageName"] = "v2"


def remove_a_public_route(template: dict[str, Any]) -> None:
    del template["Resources"]["PublicFunction"]["Properties"]["Events"]["Docs"]


def change_a_type(template: dict[str, Any]) -> None:
    template["Resources"]["RelayQueue"]["Type"] = "AWS::SNS::Topic"


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (lambda template: drop_indexes(template, 1), []),
        (
            lambda template: drop_indexes(template, 2),
            ["MainTable has 2 index changes (by_due, by_owner)"],
        ),
        (swap_an_index, ["MainTable has 2 index changes (by_other, by_owner)"]),
        (change_an_index, ["Index by_owner of MainTable is changed"]),
        (change_a_key, ["MainTable has another keys"]),
        (
            change_the_type_of_a_key,
            ["MainTable has another keys", "Index by_listing", "Index by_owner"],
        ),
        (name_a_table, ["MainTable has another name"]),
        (rename_a_table, ["MainTable is removed or renamed"]),
        (stop_retaining, ["SettingsKey is no longer retained"]),
        (change_the_stream, ["MainTable has another stream"]),
        (change_the_expiry, ["MainTable has another time to live"]),
        (remove_a_parameter, ["Parameter OwnHosts is removed"]),
        (require_a_parameter, ["Parameter Domain is new and has no default"]),
        (allow_less, ["Parameter AccountCreation allows less"]),
        (remove_an_output, ["Output ApiUrl is removed"]),
        (rename_the_stage, ["The stage of Api has another name"]),
        (
            remove_a_public_route,
            ["Route GET /docs is removed", "MethodSettings name GET /docs, which is no route"],
        ),
        (change_a_type, ["RelayQueue has another type"]),
    ],
)
def test_what_an_update_would_break_is_named(
    change: Callable[[dict[str, Any]], None], sentences: list[str]
) -> None:
    template = copy.deepcopy(TEMPLATE)
    change(template)
    found = broken(NOW, summarize(template))

    assert len(found) == len(sentences), found
    for sentence, beginning in zip(sorted(found), sorted(sentences), strict=True):
        assert sentence.startswith(beginning)


def test_additions_break_nothing() -> None:
    template = copy.deepcopy(TEMPLATE)
    template["Parameters"]["More"] = {"Type": "String", "Default": ""}
    template["Outputs"]["More"] = {"Value": "1"}
    template["Resources"]["KeysTable"]["Properties"]["StreamSpecification"] = {
        "StreamViewType": "NEW_AND_OLD_IMAGES"
    }
    events = template["Resources"]["PublicFunction"]["Properties"]["Events"]
    events["More"] = {"Type": "Api", "Properties": {"Method": "HEAD", "Path": "/more"}}
    template["Parameters"]["AccountCreation"]["AllowedValues"].append("invited")

    assert broken(NOW, summarize(template)) == []

"""Each function's policies allow exactly what the function does in the tables and with KMS.

The engine enforces actions and resources, and reads neither `dynamodb:LeadingKeys` nor a key's
encryption context: so every route is called here, what the functions ask of the tables and of KMS
is written down, and held against the template in both directions.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gatehouse.dynamo import connection, keyspace
from gatehouse.dynamo.table import Tables
from gatehouse.secrets.model import Purpose
from house import driven_functions, sources
from house.recording_front import KMS, RecordingFront, Use
from house.sources import ROOT
from support.aws import resources
from support.worlds.workloads import Workloads

TEMPLATE = resources.template()["Resources"]
FUNCTIONS = {
    resource["Properties"]["CodeUri"].removeprefix("functions/"): resource["Properties"]
    for resource in TEMPLATE.values()
    if resource["Type"] == "AWS::Serverless::Function" and "Policies" in resource["Properties"]
}
# Constant partition keys, without a `#`.
WHOLE = {"WATCHED"}
# Done only at the maximum of live keys, where they are counted again.
RARELY = {"wallets": {("main", "Query")}}
# Written by itself, never in a transaction.
ALONE = {"WRITES#"}


def statements(function: str) -> Iterator[dict[str, Any]]:
    """List a function's own statements."""
    for policy in FUNCTIONS[function].get("Policies", []):
        yield from map(resources.given, policy["Statement"])


def listed(value: Any) -> list[Any]:
    """Return one value or several as a list."""
    return value if isinstance(value, list) else [value]


# Where each kind of key lives.
LIVES = {
    (kind.pk() if kind.pk() in WHOLE else kind.prefix, table)
    for kind in keyspace.ALL
    for table in kind.tables
}


def granted(function: str) -> set[Use]:
    """Return what the template allows a function: table, action, kind of key.

    Without the kinds that the table does not have: a list of keys may be that of both tables.
    """
    return {
        (table, action, key)
        for table, action, key in stated(function)
        if not key or (key, table) in LIVES
    }


def stated(function: str) -> set[Use]:
    """Return all that the policies say: table, action, kind of key."""
    found: set[Use] = set()
    for statement in statements(function):
        tables = {_table(str(one)) for one in listed(statement["Resource"])}
        keys = (
            statement.get("Condition", {})
            .get("ForAllValues:StringLike", {})
            .get("dynamodb:LeadingKeys", [""])
        )
        assert all(key.endswith("#*") or "*" not in key for key in listed(keys))
        found |= {
            (table, action.removeprefix("dynamodb:"), key.removesuffix("*"))
            for action in listed(statement["Action"])
            if action.startswith("dynamodb:")
            for table in tables
            for key in listed(keys)
        }
    return found


def unsealing(function: str) -> set[Use]:
    """Return what the template allows a function with KMS: action, purpose of the secret."""
    found: set[Use] = set()
    for statement in statements(function):
        actions = [one for one in listed(statement["Action"]) if one.startswith("kms:")]
        if actions:
            assert statement["Resource"] == {"Fn::GetAtt": ["SettingsKey", "Arn"]}
            purposes = statement["Condition"]["StringEquals"]["kms:EncryptionContext:purpose"]
            found |= {
                (KMS, action.removeprefix("kms:"), purpose)
                for action in actions
                for purpose in listed(purposes)
            }
    return found


def _table(resource: str) -> str:
    index = re.search(r"/index/(\w+)", resource)
    table = "keys" if "KeysTable" in resource else "main"
    return f"{table}/{index[1]}" if index else table


@pytest.fixture(scope="module")
def uses(
    stack: Tables,
    settings_key: str,
    delivery_queue: str,
    relay_queue: str,
    workloads: Workloads,
    aws: pytest.MonkeyPatch,
) -> dict[str, set[Use]]:
    """Return what each function did, by its name."""
    assert settings_key
    aws.setenv("GATEHOUSE_OUTBOUND", "local")  # so that a webhook's host need not be resolved
    front = RecordingFront(stack)
    driven_functions.drive(
        front,
        stack,
        workloads=workloads,
        delivery_queue=delivery_queue,
        relay_queue=relay_queue,
        aws=aws,
    )
    return front.uses


def differing(wanted: dict[str, set[Any]]) -> dict[str, set[Any]]:
    """Return the entries that are not empty."""
    return {function: some for function, some in wanted.items() if some}


def test_every_function_was_recorded(uses: dict[str, set[Use]]) -> None:
    assert [function for function in FUNCTIONS if not uses[function]] == []


def test_a_function_does_only_what_its_policies_allow(uses: dict[str, set[Use]]) -> None:
    beyond = {
        function: uses[function] - granted(function) - unsealing(function) for function in FUNCTIONS
    }

    assert differing(beyond) == {}


def test_a_function_has_no_action_that_it_does_not_use(uses: dict[str, set[Use]]) -> None:
    unused = {
        function: {(table, action) for table, action, _ in granted(function)}
        - {(table, action) for table, action, _ in uses[function]}
        - RARELY.get(function, set())
        for function in FUNCTIONS
    }

    assert differing(unused) == {}


def test_a_function_has_no_kind_of_item_that_it_does_not_use(uses: dict[str, set[Use]]) -> None:
    unused = {
        function: {(table, key) for table, _, key in granted(function)}
        - {(table, key) for table, _, key in uses[function]}
        for function in FUNCTIONS
    }

    assert differing(unused) == {}


def test_a_function_decrypts_only_its_purposes_and_all_of_them(uses: dict[str, set[Use]]) -> None:
    wrong = {
        function: {use for use in uses[function] if use[0] == KMS} ^ unsealing(function)
        for function in FUNCTIONS
    }

    assert differing(wrong) == {}


def test_every_grant_except_the_scan_has_leading_keys() -> None:
    unfenced = {
        function: {action for _, action, key in granted(function) if not key}
        for function in FUNCTIONS
    }
    kinds = {key for function in FUNCTIONS for _, _, key in granted(function) if key} - WHOLE

    assert differing(unfenced) == {"rewrap": {"Scan"}}
    assert [key for key in kinds if not fnmatch.fnmatch(key, "[A-Z]*#")] == []


def test_leading_keys_of_the_template_are_the_kinds_of_keyspace() -> None:
    granted_kinds = {
        (key, table) for function in FUNCTIONS for table, _, key in granted(function) if key
    }
    kinds = {key for function in FUNCTIONS for _, _, key in stated(function) if key}

    assert granted_kinds == LIVES
    assert kinds == {key for key, _ in LIVES}


def test_a_function_that_writes_both_tables_has_one_list_of_keys() -> None:
    """In a transaction over both, IAM compares all keys with the statement of each table."""
    changes = {"PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"}
    both = {}
    for function in FUNCTIONS:
        lists = {
            name: {
                key
                for table, action, key in stated(function)
                if table == name and action in changes and key not in ALONE
            }
            for name in ("keys", "main")
        }
        if all(lists.values()):
            both[function] = lists

    assert len(both) >= 6
    assert {name for name, lists in both.items() if lists["keys"] != lists["main"]} == set()


WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
STORAGE = (ROOT / "docs" / "storage.md").read_text()


def test_docs_list_the_writers_and_readers_of_every_kind(uses: dict[str, set[Use]]) -> None:
    def doing(table: str, key: str, *, writing: bool) -> set[str]:
        return {
            function
            for function, done in uses.items()
            if any(
                one[0] == table and one[2] == key and (one[1] in WRITES) == writing for one in done
            )
        }

    rows = re.findall(r"^\| `([A-Z]+#?)` \| `(.+?)` \| (.+) \| (.+) \|$", STORAGE, re.MULTILINE)
    listed_ones = {
        (kind, table): (set(re.findall(r"`(\w+)`", writers)), set(re.findall(r"`(\w+)`", readers)))
        for kind, table, writers, readers in rows
    }

    assert listed_ones == {
        (key, table): (doing(table, key, writing=True), doing(table, key, writing=False))
        for kind in keyspace.ALL
        for table in kind.tables
        for key in [kind.pk() if kind.pk() in WHOLE else kind.prefix]
    }


def test_docs_describe_an_item_of_every_kind_and_no_other() -> None:
    items, _, rest = STORAGE.partition("## Indexes")
    indexes, _, _ = rest.partition("## Access")
    described = set(re.findall(r"`([A-Z]+)(?:#[^`]*)?`", _column(items, 1) + _column(indexes, 1)))

    assert described == {kind.name for kind in keyspace.ALL}


def _column(text: str, number: int) -> str:
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return "\n".join(row[number] for row in rows)


def test_no_other_file_writes_a_kind_of_partition_key() -> None:
    kinds = "|".join(kind.name for kind in keyspace.ALL)
    written = [
        module.name
        for module in sources.everything()
        if module.name != keyspace.__name__
        and re.search(rf"f?\"({kinds})#|\"WATCHED\"", module.path.read_text())
    ]

    assert written == []


def test_only_rewrap_scans_and_only_the_index_of_secrets() -> None:
    assert not hasattr(connection.client, "scan")
    scanning = {
        (name, table, action)
        for name in FUNCTIONS
        for table, action, _ in granted(name)
        if action in {"Scan", "PartiQLSelect", "*"}
    }
    assert scanning == {("rewrap", "main/by_wrapped_key", "Scan")}
    (index,) = [
        one
        for one in TEMPLATE["MainTable"]["Properties"]["GlobalSecondaryIndexes"]
        if one["IndexName"] == "by_wrapped_key"
    ]
    assert index["KeySchema"] == [{"AttributeName": "wrapped_key", "KeyType": "HASH"}]
    assert index["Projection"]["NonKeyAttributes"] == ["wrapped_by", "origin"]
    writers = {
        module.name
        for module in (*sources.foundation(), *sources.rooms())
        if re.search(r'"wrapped_key"\s*:', module.path.read_text())
    }
    assert writers == {"gatehouse.secrets.store"}


def test_only_rewrap_has_all_purposes_and_it_has_no_events() -> None:
    everything = {name for name in FUNCTIONS if {p for *_, p in unsealing(name)} == set(Purpose)}

    assert everything == {"rewrap"}
    assert "Events" not in FUNCTIONS["rewrap"]


def test_functions_that_seal_may_update_the_wrapping_record() -> None:
    """The first secret that is sealed with a settings key updates the wrapping record."""
    needed = {("main", action, "SECRET#") for action in ("GetItem", "UpdateItem")}
    missing = {
        function: needed - granted(function)
        for function in FUNCTIONS
        if "GenerateDataKey" in {action for _, action, _ in unsealing(function)}
    }

    assert missing
    assert differing(missing) == {}

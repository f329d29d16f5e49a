"""Single requests at the edges of what the double does: moto answers alike, or DynamoDB's rule."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from conformance.mirror import Mirror
from gatehouse.dynamo.answers import CallRefused
from gatehouse.dynamo.attributes import marshal
from gatehouse.dynamo.table import Tables
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.resources import table_properties

KEY = {"pk": "p", "sk": "s"}
KEPT: dict[str, Any] = {**KEY, "n": 3, "txt": "a", "flag": True, "none": None, "list": [1, {}]}
OPERATORS = ("=", "<>", "<", "<=", ">", ">=")


pytestmark = pytest.mark.slow


@pytest.fixture
def client(tables: Tables, dynamo: Mirror) -> Mirror:
    """A client of a main table that holds one item."""
    dynamo.put_item(TableName=tables.main.name, Item=marshal(KEPT))
    return dynamo


def update(
    client: MemoryDynamo, table: str, expression: str, *, key: dict[str, Any] = KEY, **more: Any
) -> Any:
    names = {name: name[1:] for name in more.pop("names", ())}
    values = marshal(more.pop("values", {}))
    request = {
        "TableName": table,
        "Key": marshal(key),
        "UpdateExpression": expression,
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": values} if values else {}),
        "ReturnValues": "ALL_NEW",
        **more,
    }
    return client.update_item(**request)


# ---- Conditions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("name", "value"), [("n", 2), ("n", 3), ("n", 30), ("txt", "b"), ("x", 1)])
def test_comparisons_hold_alike(
    client: Mirror, tables: Tables, operator: str, name: str, value: object
) -> None:
    request = {
        "TableName": tables.main.name,
        "Item": marshal(KEPT),
        "ConditionExpression": f"#name {operator} :value",
        "ExpressionAttributeNames": {"#name": name},
        "ExpressionAttributeValues": marshal({":value": value}),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with suppress(client.exceptions.ConditionalCheckFailedException):
        client.put_item(**request)


@pytest.mark.parametrize(
    "condition",
    [
        "attribute_exists(pk) AND n = :three",
        "attribute_not_exists(pk) OR n = :three",
        "attribute_not_exists(pk) OR n = :three AND attribute_exists(x)",
        "(attribute_not_exists(pk) OR n = :three) AND attribute_exists(x)",
        "NOT n = :three",
        "n BETWEEN :three AND :three",
        "n IN (:three)",
        "x IN (:three)",
        "flag = :three",
    ],
)
def test_conditions_combine_alike(client: Mirror, tables: Tables, condition: str) -> None:
    request = {
        "TableName": tables.main.name,
        "Key": marshal(KEY),
        "ConditionExpression": condition,
        "ExpressionAttributeValues": marshal({":three": 3}),
    }
    with suppress(client.exceptions.ConditionalCheckFailedException):
        client.delete_item(**request)


# ---- Updates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("SET n = n + :one", {":one": 1}),
        ("SET n = :one - n, txt = :one", {":one": 1}),
        ("SET x = if_not_exists(x, :one) + :one", {":one": 1}),
        ("SET n = if_not_exists(n, :one) + :one", {":one": 1}),
        ("SET x = n, n = :one", {":one": 1}),
        ("SET x = :one REMOVE n, txt", {":one": 1}),
        ("REMOVE x", {}),
        ("ADD n :one, x :one SET txt = :one", {":one": 1}),
        ("SET x = :map", {":map": {"a": [1, None, b"x"]}}),
    ],
)
@pytest.mark.parametrize("key", [KEY, {"pk": "new", "sk": "new"}])
def test_updates_write_alike(
    client: Mirror, tables: Tables, expression: str, values: dict[str, Any], key: dict[str, str]
) -> None:
    """The mirror compares the answer, and the tables' items at the end of the test."""
    if (key != KEY and "= n" in expression) or ("- n" in expression and key != KEY):
        with pytest.raises(CallRefused, match="ValidationException"):
            update(client, tables.main.name, expression, values=values, key=key)
    else:
        update(client, tables.main.name, expression, values=values, key=key)


# ---- What DynamoDB refuses and moto accepts: the double alone ------------------------------------


@pytest.fixture
def double() -> MemoryDynamo:
    made = MemoryDynamo()
    made.add_table("main", table_properties("MainTable"))
    made.put_item(TableName="main", Item=marshal(KEPT))
    return made


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("SET x = missing", {}),
        ("SET x = missing + :one", {":one": 1}),
        ("SET x = txt + :one", {":one": 1}),
        ("ADD txt :one", {":one": 1}),
        ("SET sk = :one", {":one": "other"}),
        ("SET name = :one", {":one": 1}),
        ("SET n = :one, n = :one", {":one": 1}),
        ("SET n = :two", {":one": 1}),
        ("SET n = :one", {":one": 1, ":two": 2}),
        ("SET due_at = :one", {":one": "x"}),
    ],
)
def test_updates_that_dynamodb_refuses_are_refused(
    double: MemoryDynamo, expression: str, values: dict[str, Any]
) -> None:
    with pytest.raises(CallRefused, match="ValidationException"):
        update(double, "main", expression, values=values)
    assert double.get_item(TableName="main", Key=marshal(KEY))["Item"] == marshal(KEPT)


@pytest.mark.parametrize("due_at", ["1", None])
def test_a_key_of_another_type_is_refused(double: MemoryDynamo, due_at: str | None) -> None:
    with pytest.raises(CallRefused, match="ValidationException"):
        double.put_item(TableName="main", Item=marshal({**KEY, "due_at": due_at}))
    with pytest.raises(CallRefused, match="ValidationException"):
        double.get_item(TableName="main", Key=marshal({"pk": "p", "sk": 1}))


# ---- Requests that are refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("get_item", {"Key": {"pk": {"S": "p"}}}),
        ("put_item", {"Item": {"pk": {"S": "p"}}}),
        ("put_item", {"Item": {"pk": {"S": ""}, "sk": {"S": "s"}}}),
        ("put_item", {"Item": {"pk": {"S": "p" * 2_049}, "sk": {"S": "s"}}}),
        ("put_item", {"Item": {"pk": {"S": "p"}, "sk": {"S": "s" * 1_025}}}),
        ("put_item", {"Item": {**marshal(KEY), "x": {"S": "x" * 410_000}}}),
        ("scan", {"IndexName": "by_due", "ConsistentRead": True}),
    ],
)
def test_malformed_requests_are_refused_alike(
    client: Mirror, tables: Tables, operation: str, request_: dict[str, Any]
) -> None:
    with pytest.raises(CallRefused, match="ValidationException"):
        getattr(client, operation)(TableName=tables.main.name, **request_)


def test_a_table_that_does_not_exist_is_not_found(client: Mirror) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_item(TableName="missing", Key=marshal(KEY))


def test_a_transaction_has_at_most_a_hundred_writes_each_of_another_item(
    client: Mirror, tables: Tables
) -> None:
    def puts(names: list[str]) -> list[Any]:
        return [
            {"Put": {"TableName": tables.main.name, "Item": marshal({"pk": "t", "sk": name})}}
            for name in names
        ]

    for names in (["same", "same"], [str(number) for number in range(101)]):
        with pytest.raises(CallRefused, match="ValidationException"):
            client.transact_write_items(TransactItems=puts(names))
    client.transact_write_items(TransactItems=puts([str(number) for number in range(100)]))


def test_a_transaction_of_both_tables_is_done_or_not(client: Mirror, tables: Tables) -> None:
    key = {"pk": "KEY#1"}
    writes: list[Any] = [
        {"Put": {"TableName": tables.keys.name, "Item": marshal({**key, "x": 1})}},
        {
            "Update": {
                "TableName": tables.main.name,
                "Key": marshal(KEY),
                "UpdateExpression": "SET n = n + :one",
                "ConditionExpression": "n = :three",
                "ExpressionAttributeValues": marshal({":one": 1, ":three": 3}),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
        {
            "ConditionCheck": {
                "TableName": tables.main.name,
                "Key": marshal({"pk": "none", "sk": "none"}),
                "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
    ]
    client.transact_write_items(TransactItems=writes)
    with pytest.raises(client.exceptions.TransactionCanceledException) as canceled:
        client.transact_write_items(TransactItems=writes)
    reasons: Any = canceled.value.response["CancellationReasons"]  # type: ignore[typeddict-item]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed", "None"]
    assert reasons[1]["Item"] == marshal({**KEPT, "n": 4})
    assert "Item" in client.get_item(TableName=tables.keys.name, Key=marshal(key))


# ---- Reading many --------------------------------------------------------------------------------


def fill(client: Mirror, tables: Tables) -> None:
    """Write items of which some are in each index, and one sort key of an index comes twice."""
    for number in range(12):
        item = {"pk": f"p{number % 2}", "sk": f"{number:02d}", "n": number, "text": "x" * number}
        if number % 3:
            item |= {"due_pk": "DUE", "due_at": number // 4 + 1}
        if number % 2:
            item |= {
                "owner_pk": "OWNER",
                "wrapped_key": f"{number % 5}".encode(),
                "wrapped_by": "k",
            }
        client.put_item(TableName=tables.main.name, Item=marshal(item))


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize(
    ("index", "name", "value"),
    [(None, "pk", "p1"), ("by_due", "due_pk", "DUE"), ("by_owner", "owner_pk", "OWNER")],
)
def test_queries_page_alike(
    client: Mirror,
    tables: Tables,
    index: str | None,
    name: str,
    value: str,
    limit: int,
    *,
    forward: bool,
) -> None:
    fill(client, tables)
    request: dict[str, Any] = {
        "TableName": tables.main.name,
        "KeyConditionExpression": "#pk = :pk",
        "ExpressionAttributeNames": {"#pk": name},
        "ExpressionAttributeValues": marshal({":pk": value}),
        "ScanIndexForward": forward,
        "Limit": limit,
        **({"IndexName": index} if index else {}),
    }
    found: list[Any] = []
    while True:
        answer = client.query(**request)
        found += answer["Items"]
        if "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    assert len(found) == {None: 6, "by_due": 8, "by_owner": 6}[index]


@pytest.mark.parametrize(
    "condition",
    [
        *("#sk < :one", "#sk <= :one", "#sk > :one", "#sk >= :one", "#sk = :one"),
        "#sk BETWEEN :one AND :two",
    ],
)
@pytest.mark.parametrize("limit", [2, 100])
@pytest.mark.parametrize("forward", [True, False])
def test_ranges_are_read_alike(
    client: Mirror, tables: Tables, condition: str, limit: int, *, forward: bool
) -> None:
    fill(client, tables)
    for index, names, one, two in (
        (None, ("pk", "sk"), "03", "07"),
        ("by_due", ("due_pk", "due_at"), 1, 2),
    ):
        values = {":pk": "p1" if index is None else "DUE", ":one": one}
        if ":two" in condition:
            values[":two"] = two
        client.query(
            TableName=tables.main.name,
            KeyConditionExpression=f"#pk = :pk AND {condition}",
            ExpressionAttributeNames=dict(zip(("#pk", "#sk"), names, strict=True)),
            ExpressionAttributeValues=marshal(values),
            ScanIndexForward=forward,
            Limit=limit,
            **({"IndexName": index} if index else {}),
        )


@pytest.mark.parametrize("limit", [1, 4, 100])
@pytest.mark.parametrize("index", [None, "by_wrapped_key", "by_due"])
def test_scans_page_and_filter_alike(
    client: Mirror, tables: Tables, limit: int, index: str | None
) -> None:
    fill(client, tables)
    request: dict[str, Any] = {
        "TableName": tables.main.name,
        "FilterExpression": "attribute_not_exists(#n) OR #n <> :value",
        "ExpressionAttributeNames": {"#n": "n"},
        "ExpressionAttributeValues": marshal({":value": 5}),
        "Limit": limit,
        **({"IndexName": index} if index else {}),
    }
    while True:
        answer = client.scan(**request)
        if "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def test_a_page_ends_at_a_megabyte_alike(client: Mirror, tables: Tables) -> None:
    for number in range(5):
        item = marshal({"pk": "big", "sk": str(number), "text": "x" * 300_000})
        client.put_item(TableName=tables.main.name, Item=item)
    answer = client.query(
        TableName=tables.main.name,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues=marshal({":pk": "big"}),
        Limit=100,
    )
    assert len(answer["Items"]) == 3
    assert "LastEvaluatedKey" in answer


def test_batches_are_read_and_written_alike(client: Mirror, tables: Tables) -> None:
    fill(client, tables)
    name = tables.main.name
    keys = [marshal({"pk": "p1", "sk": sk}) for sk in ("01", "03", "missing")]
    answer = client.batch_get_item(RequestItems={name: {"Keys": keys, "ConsistentRead": True}})
    assert len(answer["Responses"][name]) == 2
    for wrong in ([keys[0], keys[0]], [marshal({"pk": "p", "sk": str(n)}) for n in range(101)]):
        with pytest.raises(CallRefused, match="ValidationException"):
            client.batch_get_item(RequestItems={name: {"Keys": wrong}})
    client.batch_write_item(
        RequestItems={
            name: [{"PutRequest": {"Item": marshal({"pk": "b", "sk": "b"})}}],
            tables.keys.name: [{"PutRequest": {"Item": marshal({"pk": "b"})}}],
        }
    )

"""A drill: back both tables up, restore them into new ones, and let the functions use those."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from gatehouse.dynamo import connection
from gatehouse.dynamo.client import DynamoClient
from gatehouse_cli import restored_tables
from gatehouse_cli.errors import CommandError
from support.actors.people import People
from support.aws import resources, table_server
from support.aws.api_gateway import Front

DECLARED = {
    logical: resources.template()["Resources"][logical]["Properties"]
    for logical, _ in resources.TABLES
}


def use(patch: pytest.MonkeyPatch, names: dict[str, str]) -> Front:
    """Point new execution environments of all functions to these tables."""
    for variable, name in names.items():
        patch.setenv(variable, name)
    connection.tables.cache_clear()
    connection.keys_table.cache_clear()
    return Front()


@pytest.fixture(scope="module")
def dynamo(aws: pytest.MonkeyPatch) -> Iterator[Any]:
    """DynamoDB is moto here, which can restore tables; functions reach it over HTTP."""
    with table_server.serve(table_server.moto) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
            client = DynamoClient()
        aws.setattr(connection, "client", lambda: client)
        yield boto3.client("dynamodb")
        client.close()


def restored(client: Any, source: str) -> str:
    """Restore a table as it is now into a new one; return its name."""
    client.update_continuous_backups(
        TableName=source, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    name = f"{source}-restored"
    client.restore_table_to_point_in_time(
        SourceTableName=source, TargetTableName=name, UseLatestRestorableTime=True
    )
    return name


def test_keys_of_a_backup_work_in_restored_tables(aws: pytest.MonkeyPatch, dynamo: Any) -> None:
    names = resources.create_tables(uuid.uuid4().hex)
    front = use(aws, names)
    people = People(front, connection.tables())
    admin = people.tenant("Acme")
    before = people.key(admin)
    copies = {variable: restored(dynamo, name) for variable, name in names.items()}
    after = people.key(admin)

    ready = {
        logical: restored_tables.prepare(dynamo, copies[variable], DECLARED[logical])
        for logical, variable in resources.TABLES
    }
    front = use(aws, copies)

    assert front("GET", "/v1/whoami", key=before.key).status == 200
    assert front("GET", "/v1/whoami", key=after.key).status == 401
    # Changes go on where the backup ends, in the audit trail's chain too.
    assert front("POST", "/v1/api-keys", key=admin.key, body={"name": "new"}).status == 201
    events = front("GET", "/admin/audit", key=admin.key).json()["data"]["events"]
    assert [event["seq"] for event in events] == list(range(len(events), 0, -1))
    assert {logical: one.name for logical, one in ready.items()} == {
        logical: copies[variable] for logical, variable in resources.TABLES
    }
    assert ready["KeysTable"].stream is None
    check_main(dynamo, ready["MainTable"])


def check_main(dynamo: Any, main: restored_tables.Restored) -> None:
    """The restored main table has what no backup has, and a second preparation changes nothing."""
    table = dynamo.describe_table(TableName=main.name)["Table"]
    assert table["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert (table["LatestStreamArn"], table["TableArn"]) == (main.stream, main.arn)
    assert table["DeletionProtectionEnabled"] is True
    expiry = dynamo.describe_time_to_live(TableName=main.name)["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "ttl")
    backups = dynamo.describe_continuous_backups(TableName=main.name)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
    assert restored_tables.prepare(dynamo, main.name, DECLARED["MainTable"]) == main


def test_a_table_of_another_shape_is_refused(dynamo: Any) -> None:
    names = resources.create_tables(uuid.uuid4().hex)
    keys = names["GATEHOUSE_KEYS_TABLE"]
    properties = {**resources.table_properties("MainTable")}
    properties["GlobalSecondaryIndexes"] = properties["GlobalSecondaryIndexes"][1:]
    unused = {"owner_pk"}
    properties["AttributeDefinitions"] = [
        one for one in properties["AttributeDefinitions"] if one["AttributeName"] not in unused
    ]
    dynamo.create_table(TableName=f"{keys}-older", **properties)

    for name, part in ((keys, "KeySchema"), (f"{keys}-older", "GlobalSecondaryIndexes")):
        with pytest.raises(CommandError, match=f"{name} has another {part} than the template"):
            restored_tables.prepare(dynamo, name, DECLARED["MainTable"])
        assert dynamo.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"] is False

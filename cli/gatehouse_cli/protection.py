"""Protect the tables of a deployed stack from deletion.

The template does not do it: a first deployment that fails must be able to delete its tables.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def protect(client: "DynamoDBClient", tables: list[str]) -> list[str]:
    """Turn the deletion protection of tables on; return those that had none."""
    unprotected = []
    for name in tables:
        client.get_waiter("table_exists").wait(TableName=name)  # until no update of it is running
        if not client.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
            client.update_table(TableName=name, DeletionProtectionEnabled=True)
            unprotected.append(name)
    return unprotected

"""`ACCOUNT#<id>`, and the item that names the operator's account."""

from gatehouse.accounts.model import Account
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Table, Write

_OPERATOR = {"pk": keyspace.ACCOUNT.pk("operator"), "sk": "ACCOUNT"}


def read(table: Table, account_id: str) -> Account | None:
    """Read an account consistently; None if there is none."""
    item = table.get(_key(account_id))
    if item is None:
        return None
    return Account(
        id=account_id,
        name=item["name"],
        plan=item["plan"],
        created_at=item["created_at"],
        operator=item["operator"],
    )


def create(table: Table, account: Account) -> Write:
    """Write a new account, if there is none with this id."""
    return table.put_new(
        {
            **_key(account.id),
            "name": account.name,
            "plan": account.plan,
            "created_at": account.created_at,
            "operator": account.operator,
        }
    )


def claim_operator(table: Table, account_id: str) -> Write:
    """Make this the operator's account, if there is none yet."""
    return table.put_new({**_OPERATOR, "account_id": account_id})


def find_operator_id(table: Table) -> str | None:
    """Return the id of the operator's account; None before bootstrap."""
    item = table.get(_OPERATOR)
    return None if item is None else str(item["account_id"])


def _key(account_id: str) -> dict[str, str]:
    return {"pk": keyspace.ACCOUNT.pk(account_id), "sk": "ACCOUNT"}

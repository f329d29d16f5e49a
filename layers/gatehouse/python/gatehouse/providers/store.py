"""`PROVIDER#<account>` by purpose and name: the record of a key. Its value is a secret."""

from __future__ import annotations

from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Table, Write
from gatehouse.providers.model import MOST_KEYS, ProviderKey
from gatehouse.secrets.model import Place, Purpose


def read(table: Table, place: Place) -> ProviderKey | None:
    """Read the record of a key, consistently; None where there is none."""
    item = table.get(_key(place))
    return None if item is None else ProviderKey(place, item["updated_at"])


def create(table: Table, key: ProviderKey) -> dict[str, Write]:
    """Write the record of a key where there is none, and count it."""
    writes = {"key": table.put_new({**_key(key.place), "updated_at": key.updated_at})}
    if key.place.purpose is Purpose.PROVIDER:
        writes["count"] = counters.move(table, _pk(key.place), by=1, most=MOST_KEYS)
    return writes


def renew(table: Table, key: ProviderKey, *, seen: ProviderKey) -> dict[str, Write]:
    """Replace the record of a key, if it is still the one that was seen."""
    return {
        "key": table.put(
            {**_key(key.place), "updated_at": key.updated_at},
            condition="updated_at = :seen",
            names={},
            values={":seen": seen.updated_at},
        )
    }


def remove(table: Table, seen: ProviderKey) -> dict[str, Write]:
    """Remove the record of a key, if it is still the one that was seen."""
    writes = {
        "key": table.delete_if(
            _key(seen.place),
            condition="updated_at = :seen",
            names={},
            values={":seen": seen.updated_at},
        )
    }
    if seen.place.purpose is Purpose.PROVIDER:
        writes["count"] = counters.move(table, _pk(seen.place), by=-1, most=MOST_KEYS)
    return writes


def check_unchanged(table: Table, seen: ProviderKey) -> Write:
    """Check that the record is still the one that was seen."""
    return table.check(
        _key(seen.place),
        condition="updated_at = :seen",
        names={},
        values={":seen": seen.updated_at},
    )


def _pk(place: Place) -> str:
    return keyspace.PROVIDER.pk(place.account_id)


def _key(place: Place) -> dict[str, str]:
    return {"pk": _pk(place), "sk": f"{place.purpose.value}#{place.name}"}

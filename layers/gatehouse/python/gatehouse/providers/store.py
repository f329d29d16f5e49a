"""`PROVIDER#<account>` by purpose and name: that there is a key. The vault keeps the key itself."""

from __future__ import annotations

from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Table, Write
from gatehouse.providers.model import MOST_KEYS, ProviderKey
from gatehouse.secrets.model import Place, Purpose


def read(table: Table, place: Place) -> ProviderKey | None:
    """Read whether there is a key, consistently."""
    item = table.get(_key(place))
    return None if item is None else ProviderKey(place, item["updated_at"])


def create(table: Table, key: ProviderKey) -> dict[str, Write]:
    """Write a key where there is none."""
    writes = {"key": table.put_new({**_key(key.place), "updated_at": key.updated_at})}
    if key.place.purpose is Purpose.PROVIDER:
        writes["count"] = counters.move(table, _pk(key.place), by=1, most=MOST_KEYS)
    return writes


def renew(table: Table, key: ProviderKey, *, seen: ProviderKey) -> dict[str, Write]:
    """Write a key over the one that was seen."""
    return {
        "key": table.put(
            {**_key(key.place), "updated_at": key.updated_at},
            condition="updated_at = :seen",
            names={},
            values={":seen": seen.updated_at},
        )
    }


def remove(table: Table, seen: ProviderKey) -> dict[str, Write]:
    """Remove a key, if it is the one that was seen."""
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


def stands(table: Table, seen: ProviderKey) -> Write:
    """Demand that a key is still the one that was seen."""
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

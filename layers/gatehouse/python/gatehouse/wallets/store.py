"""`WALLET#<address>`: a wallet's identity. `NONCE#<nonce>`: a used nonce, until it expires."""

from collections.abc import Collection, Sequence

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.maker import Maker
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.wallets.model import Wallet


def find(table: Table, address: str) -> Wallet | None:
    """Read a wallet by its address, consistently; None where it is not bound."""
    item = table.get(_key(address))
    return None if item is None else _from_item(item)


def read_all(table: Table, addresses: Sequence[str]) -> list[Wallet]:
    """Read wallets by their addresses, consistently; those that are not bound are left out."""
    return [_from_item(item) for item in table.batch_get([_key(one) for one in addresses])]


def bind(table: Table, wallet: Wallet) -> Write:
    """Write a wallet, if its address is not bound yet."""
    return table.put_new(_to_item(wallet))


def unbind(table: Table, wallet: Wallet) -> Write:
    """Delete a wallet, if it is still bound and nobody signed in since it was read."""
    condition, values = _unchanged(wallet)
    return table.delete_if(_key(wallet.address), condition=condition, names={}, values=values)


def set_sign_in_key(table: Table, wallet: Wallet, *, seen: Wallet) -> Write:
    """Write the key of a sign-in, if the previous one is still the one that was seen."""
    condition, values = _unchanged(seen)
    return table.put(_to_item(wallet), condition=condition, names={}, values=values)


def follow_rotation(table: Table, address: str, *, line: Collection[str], to: str) -> Write:
    """Write another sign-in key, if the present one is one of `line`."""
    values = {f":key_{number}": key_id for number, key_id in enumerate(sorted(line))}
    return table.change(
        _key(address),
        "SET sign_in_key = :to",
        condition=" OR ".join(f"sign_in_key = {name}" for name in values),
        names={},
        values={":to": to, **values},
    )


def use_nonce(table: Table, nonce: str, *, ends_at: Micros) -> Write:
    """Mark a nonce as used, if it was not used before."""
    return table.put_new(
        {"pk": keyspace.NONCE.pk(nonce), "sk": "NONCE", "ttl": ends_at // SECOND + 60}
    )


def _unchanged(seen: Wallet) -> tuple[str, dict[str, str]]:
    if seen.sign_in_key is None:
        return "attribute_exists(pk) AND attribute_not_exists(sign_in_key)", {}
    return "sign_in_key = :seen", {":seen": seen.sign_in_key}


def _to_item(wallet: Wallet) -> Item:
    item: Item = {
        **_key(wallet.address),
        "address": wallet.address,
        "account_id": wallet.account_id,
        "identity_id": wallet.identity_id,
        "created_by": wallet.maker.created_by,
    }
    for name in ("sign_in_key", "expires_at", "rate_limit"):
        value = getattr(wallet, name)
        if value is not None:
            item[name] = value
    if wallet.maker.created_by_key is not None:
        item["created_by_key"] = wallet.maker.created_by_key
    return item


def _from_item(item: Item) -> Wallet:
    return Wallet(
        address=item["address"],
        account_id=item["account_id"],
        identity_id=item["identity_id"],
        sign_in_key=item.get("sign_in_key"),
        expires_at=item.get("expires_at"),
        rate_limit=item.get("rate_limit"),
        maker=Maker(item["created_by"], item.get("created_by_key")),
    )


def _key(address: str) -> dict[str, str]:
    return {"pk": keyspace.WALLET.pk(address.lower()), "sk": "WALLET"}

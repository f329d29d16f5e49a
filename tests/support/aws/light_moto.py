"""moto, without what makes it slow: it is most of these tests' time otherwise.

moto keeps a deep copy of both tables to go back to when a transaction fails, which makes a
test file's time grow with the square of what it wrote. Here the copy shares the items, and an
update works on a copy of its own item; what a test can see is the same, and
rooms/test_table.py checks that a failed transaction leaves nothing behind.

moto also serializes items attribute by attribute, looking for each of ten types under four
spellings; what is in the form of the wire already goes out as it is.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import pytest
from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table


def _is_wire(value: Any) -> bool:
    if type(value) is dict:
        return all(_is_wire(entry) for entry in value.values())
    if type(value) is list:
        return all(_is_wire(entry) for entry in value)
    return type(value) in {str, bool}


def lighten(patch: pytest.MonkeyPatch) -> None:
    """Put the lighter copy in place."""
    update_item = DynamoDBBackend.update_item

    def update_a_copy(self: Any, table_name: str, key: dict[str, Any], **rest: Any) -> Any:
        items = self.get_table(table_name).items
        parts = [DynamoType(key[name]) for name in ("pk", "sk") if name in key]
        if len(parts) == 1 and parts[0] in items:
            items[parts[0]] = copy.deepcopy(items[parts[0]])
        elif len(parts) == 2 and parts[1] in items.get(parts[0], {}):
            items[parts[0]][parts[1]] = copy.deepcopy(items[parts[0]][parts[1]])
        return update_item(self, table_name, key, **rest)

    def share_items(self: Table, _: dict[int, Any]) -> Table:
        same = copy.copy(self)
        same.items = defaultdict(dict)
        for name, entry in self.items.items():
            same.items[name] = dict(entry) if isinstance(entry, dict) else entry
        return same

    serialize_map = BaseJSONSerializer._serialize_type_map  # noqa: SLF001

    def as_it_is(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.value.name == "AttributeValue" and _is_wire(value):
            serialized[key] = value
        else:
            serialize_map(self, serialized, value, shape, key)

    patch.setattr(BaseJSONSerializer, "_serialize_type_map", as_it_is)
    patch.setattr(DynamoDBBackend, "update_item", update_a_copy)
    patch.setattr(Table, "__deepcopy__", share_items, raising=False)

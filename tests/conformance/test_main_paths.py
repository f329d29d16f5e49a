"""Every route and every function runs once, and each request to DynamoDB goes to moto as well.

So each room's main path runs on moto too: the mirror fails the test where the double answers
anything else than moto.
"""

from __future__ import annotations

from typing import Any

import pytest

from conformance.mirror import Mirror
from gatehouse.dynamo.table import Tables
from house import sources
from house.test_permissions import FUNCTIONS, uses  # noqa: F401 - the fixture that runs them

# It runs everything once, and moto is slow: minutes where coverage is measured.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

OPERATIONS = {
    *("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "TransactWriteItems"),
    "UpdateItem",
}


def test_the_double_answers_as_moto_wherever_the_functions_ask(
    uses: dict[str, set[Any]],  # noqa: F811 - the fixture
    dynamo: Mirror,
    stack: Tables,
) -> None:
    assert uses.keys() - sources.WITHOUT_DOOR == FUNCTIONS.keys()
    assert {answer.partition(" ")[0] for answer in dynamo.answers} == OPERATIONS
    for table in (stack.keys, stack.main):
        assert dynamo.items(table.name) == dynamo.moto_items(table.name) != []

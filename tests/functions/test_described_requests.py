"""Requests made from the API document, and whether they are answered as it says."""

from __future__ import annotations

import pytest

from gatehouse.core import clock
from gatehouse.core.clock import DAY, rfc3339
from support.actors.people import People
from support.actors.receivers import Names
from support.aws.api_gateway import Front
from support.checks import described_routes

pytestmark = pytest.mark.slow


def test_what_the_document_allows_is_accepted_and_what_it_forbids_is_refused(
    front: Front,
    people: People,
    settings_key: str,
    delivery_queue: str,
    names: Names,
    dialled: list[tuple[str, int]],
) -> None:
    # Every process of `make check` collects this file, and need not load what only this test needs.
    from support.actors import described_client  # noqa: PLC0415

    del settings_key, delivery_queue, dialled
    names.others = ["93.184.216.34"]
    admin = people.tenant()
    found = described_client.run(front, admin, future=rfc3339(clock.now() + DAY))
    assert found.wrong == {}
    assert set(found.statuses) == {str(one) for one in described_routes.operations()}
    assert front("GET", "/v1/whoami", key=admin.key).status == 200

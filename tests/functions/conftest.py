"""Fixtures that several test files of functions share."""

from __future__ import annotations

import pytest

from support.actors.people import Holder, People


@pytest.fixture
def admin(people: People) -> Holder:
    """The admin of an account of its own."""
    return people.tenant()

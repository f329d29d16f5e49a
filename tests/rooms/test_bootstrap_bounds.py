"""Names in a bootstrap file: each is unique in its section."""

from __future__ import annotations

import pytest

from gatehouse.bootstrap.model import Located
from gatehouse.bootstrap.rules import check_unique_names
from gatehouse.core.errors import BadInput


def entries(*names: str) -> Located:
    those = [Located({"name": Located(name, line)}, line) for line, name in enumerate(names, 3)]
    return Located(those, 2)


def test_one_name_can_stand_in_two_sections() -> None:
    empty = Located(None, 9)
    check_unique_names(
        Located({"rings": entries("a", "b"), "roles": entries("a"), "invites": empty}, 1)
    )


def test_a_name_that_appears_twice_is_refused_with_its_line() -> None:
    with pytest.raises(BadInput) as refused:
        check_unique_names(Located({"rings": entries("a", "b", " a ")}, 1))
    assert str(refused.value) == "line 5: rings[2].name 'a' appears twice"
    assert refused.value.details == {"line": 5, "field": "rings[2].name"}

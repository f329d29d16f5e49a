"""A patched identity: every field by itself, and which texts are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants, Permissions
from gatehouse.identities import rules
from gatehouse.identities.model import (
    ClawType,
    Identity,
    IdentityPatch,
    IdentityType,
    Membership,
)

LISTS = Permissions(ring_scopes=("r",))
CEILING = Grants(("agents:*",), LISTS)
ADA = Identity(
    *("i1", "a1", "Ada", IdentityType.HUMAN),
    is_admin=False,
    claw_type=ClawType.EMPLOYEE,
    membership=Membership.ACTIVE,
    created_at=5,
    ceiling=CEILING,
    version=7,
)


@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ({}, {}),
        ({"name": "Bob"}, {"name": "Bob"}),
        ({"is_admin": True}, {"is_admin": True}),
        ({"claw_type": "central"}, {"claw_type": ClawType.CENTRAL}),
        ({"claw_type": "employee"}, {"claw_type": ClawType.EMPLOYEE}),
        ({"claw_type": "service"}, {"claw_type": ClawType.SERVICE}),
        ({"status": "active"}, {"membership": Membership.ACTIVE}),
        ({"status": "suspended"}, {"membership": Membership.SUSPENDED}),
        ({"status": "removed"}, {"membership": Membership.REMOVED}),
        ({"scopes": ()}, {"ceiling": Grants((), LISTS)}),
        ({"permissions": Permissions()}, {"ceiling": Grants(("agents:*",))}),
    ],
)
def test_a_patch_changes_one_field_and_the_version(
    patch: dict[str, Any], changes: dict[str, Any]
) -> None:
    expected = replace(ADA, version=8, **changes)
    assert rules.patched(ADA, IdentityPatch(**patch)) == expected


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("claw_type", "boss", "claw_type must be one of central, employee, service"),
        ("claw_type", "", "claw_type must be one of central, employee, service"),
        ("status", "invited", "status must be one of active, suspended, removed"),
        ("status", "ACTIVE", "status must be one of active, suspended, removed"),
    ],
)
def test_an_unknown_claw_type_or_status_is_refused(field: str, value: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.patched(ADA, IdentityPatch(**{field: value}))
    assert refused.value.message == message
    assert refused.value.details == {"field": field}

"""Keys of signing in that are rotated: the next sign-in, and detaching the wallet, end them all."""

from __future__ import annotations

import contextlib

import pytest

from gatehouse.core.clock import DAY
from gatehouse.core.errors import NotFound
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys import rotation
from gatehouse.keys.model import KeyPatch, Minted
from gatehouse.wallets import actions as wallets
from support.actors.members import (
    NONCE_SECRET,
    invited,
    outside,
    redeem_invite,
    signed,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.inspection import check_everything


class Holder:
    """A member with a wallet, an admin of the account, and the first key of signing in."""

    def __init__(self, tables: Tables) -> None:
        self.admin = unlimited_admin(tables)
        wallet = signed(self.admin.now)
        invite = invited(self.admin)
        came = redeem_invite(tables, invite, now=self.admin.now, signed=wallet).minted
        self.address = wallet.address
        self.member = visitor_with(tables, came, self.admin.now)
        self.first = self.sign_in()

    def sign_in(self) -> Minted:
        now = self.admin.now
        wallet = signed(now, self.address)
        call = outside(now)
        return wallets.sign_in(self.admin.tables, call, wallet, secret=NONCE_SECRET).minted

    def end(self, *, detaching: bool) -> None:
        """Detach the wallet, or sign in again."""
        if detaching:
            self.member.now = self.admin.now
            wallets.detach(self.admin.tables, self.member.call())
        else:
            self.sign_in()

    def codes(self, *made: Minted) -> set[Code]:
        return {self.admin.admit(one.secret).code for one in made}


@pytest.fixture
def holder(tables: Tables) -> Holder:
    return Holder(tables)


def _rotate(by: Visitor, key: Minted, grace: int) -> Minted:
    return rotation.rotate(by.tables, by.call(), key.key.id, grace_seconds=grace, prefix="hk")


@pytest.mark.parametrize("detaching", [True, False])
@pytest.mark.parametrize("grace", [0, 600])
@pytest.mark.parametrize("again", ["first", "second"])
def test_what_a_sign_in_key_was_rotated_to_ends_with_the_next_sign_in(
    holder: Holder, grace: int, again: str, *, detaching: bool
) -> None:
    """It rotates itself, and then an administrator rotates it or its successor."""
    own = visitor_with(holder.admin.tables, holder.first, holder.admin.now)
    second = _rotate(own, holder.first, grace)
    third = _rotate(holder.admin, holder.first if grace and again == "first" else second, grace)
    assert holder.codes(third) == {Code.VALID}
    holder.end(detaching=detaching)
    assert holder.codes(holder.first, second, third) == {Code.REVOKED}
    assert holder.codes(holder.member.minted) == {Code.VALID}
    check_everything(holder.admin.tables, now=holder.admin.now)


@pytest.mark.parametrize("detaching", [True, False])
def test_an_old_key_ends_in_its_grace_although_its_successor_is_revoked(
    holder: Holder, *, detaching: bool
) -> None:
    second = _rotate(holder.admin, holder.first, 600)
    keys.revoke(holder.admin.tables, holder.admin.call(), second.key.id)
    assert holder.codes(holder.first) == {Code.VALID}
    holder.end(detaching=detaching)
    assert holder.codes(holder.first) == {Code.REVOKED}
    check_everything(holder.admin.tables, now=holder.admin.now)


@pytest.mark.parametrize("detaching", [True, False])
def test_an_expired_sign_in_key_cannot_be_extended_after_its_end(
    holder: Holder, *, detaching: bool
) -> None:
    holder.admin.now += DAY
    holder.end(detaching=detaching)
    forever = KeyPatch(expires_at=None)
    with pytest.raises(NotFound):
        keys.patch(holder.admin.tables, holder.admin.call(), holder.first.key.id, forever)


@pytest.mark.parametrize("rotates_first", [True, False])
def test_of_a_sign_in_and_a_rotation_at_once_only_the_sign_in_leaves_a_key(
    holder: Holder, room_line: Wire, *, rotates_first: bool
) -> None:
    made: list[Minted] = []

    def rotate() -> None:
        with contextlib.suppress(NotFound):
            made.append(_rotate(holder.admin, holder.first, 600))

    def sign_in() -> None:
        made.append(holder.sign_in())

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            (sign_in if rotates_first else rotate)()

    room_line.before = between
    (rotate if rotates_first else sign_in)()
    valid = [one for one in (holder.first, *made) if holder.codes(one) == {Code.VALID}]
    assert [one.key.name for one in valid] == ["wallet sign-in"]
    assert valid[0].key.predecessor is None
    check_everything(holder.admin.tables, now=holder.admin.now)

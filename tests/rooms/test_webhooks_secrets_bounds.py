"""A webhook's secrets at the exact bounds: checks, rotations, expiry and the stored format."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.webhooks import secret_rules
from gatehouse.webhooks.model import SealedSecrets, Secret

DAY = 86_400_000_000
NOW = 1_800_000_000_000_000


def _secret(length: int) -> str:
    return "whsec_" + base64.b64encode(b"k" * length).decode()


@pytest.mark.parametrize("length", [24, 25, 32, 63, 64])
def test_a_secret_of_24_to_64_bytes_is_accepted_unchanged(length: int) -> None:
    assert secret_rules.check_secret(_secret(length)) == _secret(length)


@pytest.mark.parametrize(
    "wrong",
    [
        _secret(23),
        _secret(65),
        _secret(0),
        _secret(32).removeprefix("whsec_"),
        "WHSEC_" + _secret(32).removeprefix("whsec_"),
        _secret(24)[:-1] + "!",
        _secret(32).rstrip("="),
        _secret(32)[:20] + " " + _secret(32)[20:],
        _secret(32) + "é",
    ],
)
def test_a_secret_without_prefix_base64_or_fitting_length_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput) as refused:
        secret_rules.check_secret(wrong)
    assert refused.value.message == "secret must be whsec_ and base64 of 24 to 64 bytes"
    assert refused.value.details == {"field": "secret"}


@pytest.mark.parametrize(
    ("seconds", "micros"), [(None, DAY), (0, 0), (1, 1_000_000), (604_800, 7 * DAY)]
)
def test_a_grace_is_from_zero_to_seven_days(seconds: int | None, micros: int) -> None:
    assert secret_rules.check_grace(seconds) == micros


@pytest.mark.parametrize("wrong", [-1, 604_801])
def test_a_grace_out_of_bounds_is_refused(wrong: int) -> None:
    with pytest.raises(BadInput) as refused:
        secret_rules.check_grace(wrong)
    assert refused.value.message == "grace_seconds must be from 0 to 604800"
    assert refused.value.details == {"field": "grace_seconds"}


A_DIGEST = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # of "a"
TWO = SealedSecrets((Secret("old", NOW + 5), Secret("current")), "seed")


@pytest.mark.parametrize(
    ("new", "grace", "seeded", "after"),
    [
        (
            "a",
            DAY,
            False,
            SealedSecrets((Secret("current", NOW + DAY), Secret("a")), "seed"),
        ),
        (
            "a",
            1,
            True,
            SealedSecrets((Secret("current", NOW + 1), Secret("a")), A_DIGEST),
        ),
        ("a", 0, False, SealedSecrets((Secret("a"),), "seed")),
        ("current", DAY, False, TWO),
    ],
)
def test_a_rotation_keeps_the_current_secret_for_the_grace(
    new: str, grace: int, after: SealedSecrets, *, seeded: bool
) -> None:
    assert secret_rules.rotate(TWO, new, grace=grace, now=NOW, seeded=seeded) == after


def test_a_file_that_provides_the_current_secret_changes_only_the_digest() -> None:
    sealed = SealedSecrets((Secret("a"),))

    assert secret_rules.rotate(sealed, "a", grace=DAY, now=NOW, seeded=True) == replace(
        sealed, seeded=A_DIGEST
    )
    assert secret_rules.rotate(sealed, "a", grace=DAY, now=NOW) == sealed


def test_the_first_secret_has_no_predecessor() -> None:
    first = secret_rules.rotate(SealedSecrets(), "a", grace=DAY, now=NOW)

    assert first == SealedSecrets((Secret("a"),))


@pytest.mark.parametrize(
    ("later", "live"), [(4, ("old", "current")), (5, ("current",)), (6, ("current",))]
)
def test_a_secret_is_live_until_it_expires(later: int, live: tuple[str, ...]) -> None:
    assert secret_rules.live_secrets(TWO, now=NOW + later) == live


def test_stored_material_with_a_seeded_digest_keeps_its_format() -> None:
    sealed = SealedSecrets((Secret("b", 5),), "f0")
    text = '{"secrets": [{"text": "b", "until": 5}], "seeded": "f0"}'

    assert secret_rules.write_sealed(sealed) == text
    assert secret_rules.read_sealed(text) == sealed

"""Keys of providers at their bounds, and how an audit event shows them."""

from __future__ import annotations

import pytest

from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.providers import rules
from gatehouse.providers.model import ProviderKey
from gatehouse.secrets.model import Place, Purpose

PLACE = Place(Purpose.PROVIDER, "a1", "acme")


def test_a_key_has_1_to_4096_printable_characters() -> None:
    assert rules.check_key("k", field="key") == "k"
    assert rules.check_key("k" * 4_096, field="key") == "k" * 4_096
    for text, message in (
        ("k" * 4_097, "key must have at most 4096 characters"),
        ("k\n", "key must not have control, line-separating or bidirectional characters"),
    ):
        with pytest.raises(BadInput) as refused:
            rules.check_key(text, field="key")
        assert str(refused.value) == message
        assert refused.value.details == {"field": "key"}


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_an_empty_key_is_a_missing_field(text: str | None) -> None:
    with pytest.raises(FieldRequired):
        rules.check_key(text, field="key")


def test_an_audit_event_shows_the_place_and_time_of_a_key() -> None:
    assert rules.target(PLACE) == "secret:provider/acme"
    view = rules.audit_view(ProviderKey(PLACE, 1_800_000_000_250_000))
    assert view == {"updated_at": "2027-01-15T08:00:00.250Z"}

"""Signals of the rooms' tests, and strategies that generate their fields."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gatehouse.core import ids
from gatehouse.core.clock import DAY, SECOND
from gatehouse.signals import rules
from gatehouse.signals.model import NewSignal, Signal, TaskStatus

NOW = 20_000 * DAY + 12 * 3_600 * SECOND

ID = ids.new(NOW)

WHOLE = Signal(
    id="018f0000-0000-7000-8000-00000000000a",
    account_id="account",
    type="task",
    content="grüße \u2603 \u2028 <b>",
    from_identity="identity:one",
    created_at=1_714_000_000_250_000,
    expires_at=1_716_592_000_250_000,
    from_role="planner",
    to_ring="inner",
    urgency="0.75",
    tags=("b", "a"),
    payload='{"z":1.5,"a":[null,true]}',
    metadata='{"task_type":"count"}',
    task_status=TaskStatus.OPEN,
)


labels = st.text(st.characters(codec="utf-8"), max_size=70)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


objects = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=6), json_values, max_size=4
)


def create(**fields: Any) -> Signal:
    """Create a pulse, or what `fields` say, without storing it."""
    new = NewSignal(**{"signal_type": "pulse", "content": "x", **fields})
    return rules.create(
        new,
        signal_id=ID,
        account_id="account",
        from_identity="identity:one",
        now=NOW,
        expires_at=NOW + DAY,
    )

"""What a signal may be: types, urgency, labels, payload and metadata."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES, Permissions
from gatehouse.core.text import is_plain
from gatehouse.policy.model import UNNAMED, Resource
from gatehouse.signals import rules
from gatehouse.signals.model import PING
from support.worlds.signal_values import ID, NOW, WHOLE, create, labels, objects


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1, "1"),
        (1.0, "1"),
        (5e-324, "5e-324"),
        (math.nextafter(1, 0), "0.9999999999999999"),
    ],
)
def test_an_urgency_is_stored_as_its_shortest_text(value: float, text: str) -> None:
    assert rules.urgency_text(value) == text


@given(st.floats(0, 1))
def test_an_urgency_is_stored_without_rounding(value: float) -> None:
    assert float(rules.urgency_text(value)) == value


@given(st.floats().filter(lambda value: not 0 <= value <= 1) | st.booleans())
def test_an_urgency_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(BadInput) as refused:
        rules.urgency_text(value)
    assert refused.value.details == {"field": "urgency"}


@given(labels)
def test_a_label_has_1_to_64_printable_characters(text: str) -> None:
    good = 0 < len(text) <= 64 and is_plain(text)
    for field in ("from_role", "to_role", "to_ring"):
        if good:
            assert getattr(create(**{field: text}), field) == text
        else:
            with pytest.raises(BadInput) as refused:
                create(**{field: text})
            assert refused.value.details == {"field": field}


@given(st.lists(labels, max_size=52))
def test_there_are_at_most_50_tags_and_each_is_a_label(tags: list[str]) -> None:
    good = len(tags) <= 50 and all(0 < len(tag) <= 64 and is_plain(tag) for tag in tags)
    if good:
        assert create(tags=tags).tags == tuple(tags)
    else:
        with pytest.raises(BadInput):
            create(tags=tags)


def test_content_is_not_blank_and_at_most_65536_characters() -> None:
    assert create(content="x" * 65_536).content == "x" * 65_536
    assert create(content=" \r\n\tx\n").content == " \r\n\tx\n", "stored unchanged"
    with pytest.raises(BadInput):
        create(content="x" * 65_537)
    with pytest.raises(FieldRequired):
        create(content=" \n\u2003")


@pytest.mark.parametrize(("field", "largest"), [("payload", 65_536), ("metadata", 16_384)])
def test_payload_and_metadata_are_bounded_in_bytes(field: str, largest: int) -> None:
    fits = {"k": "x" * (largest - len('{"k":""}'))}
    assert len(getattr(create(**{field: fits}), field).encode()) == largest
    snowmen = {"k": "\u2603" * (largest // 3)}
    for large in ({"k": fits["k"] + "x"}, snowmen):
        with pytest.raises(BadInput) as refused:
            create(**{field: large})
        assert refused.value.details == {"field": field}


@given(objects)
def test_a_payload_is_shown_as_it_was_emitted(value: dict[str, Any]) -> None:
    signal = create(payload=value, metadata={})
    assert rules.view(signal, NOW)["payload"] == value
    assert signal.metadata == create(metadata=None).metadata == "{}"


@pytest.mark.parametrize("field", ["to_identity", "parent_id"])
def test_a_reference_must_be_an_id_of_its_kind(field: str) -> None:
    kind = {"to_identity": "identity", "parent_id": "signal"}[field]
    for text in (ID, ID.upper(), f"{kind}:{ID}"):
        assert getattr(create(**{field: text}), field) == f"{kind}:{ID}"
    for odd in ("", "x", f"webhook:{ID}", f"{kind}:", f"{ID}\n"):
        with pytest.raises(BadInput) as refused:
            create(**{field: odd})
        assert refused.value.details == {"field": field}


@pytest.mark.parametrize("kind", [*SIGNAL_TYPES, PING, "noise", ""])
def test_eight_types_can_be_emitted_and_only_a_task_is_open(kind: str) -> None:
    if kind in SIGNAL_TYPES:
        assert create(signal_type=kind).task_status == ("open" if kind == "task" else None)
    else:
        with pytest.raises(BadInput) as refused:
            create(signal_type=kind)
        assert refused.value.code == "SIGNAL_EMIT_INVALID_TYPE"


@pytest.mark.parametrize(
    ("kind", "metadata", "task_type"),
    [
        ("task", {"task_type": "count"}, "count"),
        ("task", {"other": "count"}, None),
        ("task", None, None),
        ("alert", {"task_type": "count"}, None),
        ("alert", {"task_type": 5}, None),
    ],
)
def test_the_task_type_comes_from_the_metadata(
    kind: str, metadata: dict[str, Any] | None, task_type: str | None
) -> None:
    signal = create(signal_type=kind, metadata=metadata)
    assert rules.task_type_of(signal) == task_type
    of_task = None if kind != "task" else task_type or UNNAMED
    assert rules.resource_of(signal) == Resource(kind, of_task, UNNAMED)
    assert rules.resource_of(replace(signal, to_ring="inner")).ring == "inner"


@pytest.mark.parametrize("named", ["", "x" * 65, "a\n", 5, None, [], {}])
def test_a_task_type_must_be_a_label(named: Any) -> None:
    with pytest.raises(BadInput) as refused:
        create(signal_type="task", metadata={"task_type": named})
    assert refused.value.details == {"field": "metadata.task_type"}


@pytest.mark.parametrize(
    ("lists", "kind", "ring", "seen"),
    [
        ({}, "pulse", None, True),
        ({"signal_types": ("pulse",)}, "pulse", None, True),
        ({"signal_types": ("task",)}, "pulse", None, False),
        ({"signal_types": ("task",)}, PING, None, False),
        ({"ring_scopes": ("a", "b")}, "pulse", "b", True),
        ({"ring_scopes": ("a", "b")}, "pulse", "c", False),
        ({"ring_scopes": ("a", "b")}, "pulse", None, False),
        ({"ring_scopes": ("a",), "signal_types": ("task",)}, "pulse", "a", False),
        ({"task_types": ("x",), "memory_scopes": ("list",)}, "task", None, True),
    ],
)
def test_a_key_sees_only_the_types_and_rings_of_its_permissions(
    lists: dict[str, Any], kind: str, ring: str | None, *, seen: bool
) -> None:
    signal = replace(WHOLE, type=kind, to_ring=ring)
    assert rules.may_see(Permissions(**lists), signal) == seen

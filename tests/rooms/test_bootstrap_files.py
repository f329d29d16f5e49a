"""Bootstrap files: checked with line and field, planned, applied, and applied again."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.accounts import actions as accounts
from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Origin
from gatehouse.aws import clients
from gatehouse.bootstrap import actions as bootstrap
from gatehouse.bootstrap.model import PlannedStep
from gatehouse.core.errors import BadInput, BoundReached, Conflict, NotFound
from gatehouse.dynamo import counters
from gatehouse.dynamo.table import Tables
from gatehouse.identities import actions as identities
from gatehouse.identities.model import ClawType
from gatehouse.invites import actions as invites
from gatehouse.keys import actions as keys
from gatehouse.secrets.actions import Vault

NOW = 1_790_000_000_000_000
ORIGIN = Origin("system:bootstrap", "request")
SECTIONS = ("identities", "roles", "rings", "invites", "webhooks")
FIELDS = (
    *("name", "type", "claw_type", "is_admin", "scopes", "permissions", "signal_types"),
    *("description", "max_uses", "url", "filters", "min_urgency", "active", "secret_env"),
)
FILE = """
identities:
  - name: deploy bot
    type: agent
    claw_type: service
    scopes: ["agents:*"]
    permissions: {signal_types: [task]}
  - name: second admin
    type: human
    claw_type: central
    is_admin: true
roles:
  - {name: reviewer, description: reads}
rings:
  - {name: inner}
invites:
  - {name: colleague, max_uses: 3}
"""


@pytest.fixture
def operator(tables: Tables) -> str:
    opened = accounts.bootstrap(tables, name="operator", prefix="chorus", origin=ORIGIN, now=NOW)
    return opened.account.id


def apply(tables: Tables, text: str, *, dry_run: bool = False, later: int = 0) -> list[PlannedStep]:
    # These files have no webhooks, so nothing is encrypted.
    vault = Vault(clients.kms())
    return bootstrap.apply(
        tables, vault, text, secrets={}, dry_run=dry_run, origin=ORIGIN, now=NOW + later
    )


def count_events(tables: Tables, account: str) -> int:
    return audit.head(tables.main, account, Chain.ADMINISTRATION).seq


def test_applying_a_file_creates_everything_in_it(tables: Tables, operator: str) -> None:
    before = count_events(tables, operator)
    steps = apply(tables, FILE)

    assert [(step.verb, step.kind, step.name) for step in steps] == [
        ("add", "identity", "deploy bot"),
        ("add", "identity", "second admin"),
        ("add", "role", "reviewer"),
        ("add", "ring", "inner"),
        ("add", "invite", "colleague"),
    ]
    assert count_events(tables, operator) == before + 5
    members, _ = identities.page(tables.main, operator, limit=10)
    bot = next(member for member in members if member.name == "deploy bot")
    assert (bot.claw_type, bot.is_admin) == (ClawType.SERVICE, False)
    assert bot.ceiling.scopes == ("agents:*",)
    assert bot.ceiling.permissions.signal_types == ("task",)
    (invite,), _ = invites.page(tables.main, operator, limit=10)
    assert (invite.code, invite.max_uses) == (steps[-1].shown, 3)


def test_applying_a_file_again_changes_nothing(tables: Tables, operator: str) -> None:
    apply(tables, FILE)
    before = count_events(tables, operator)

    steps = apply(tables, FILE, later=1_000_000)
    assert {step.verb for step in steps} == {"keep"}
    assert all(step.shown is None for step in steps)
    assert count_events(tables, operator) == before


def test_changed_entries_are_updated_and_nothing_is_deleted(tables: Tables, operator: str) -> None:
    apply(tables, FILE)
    changed = (
        FILE.replace("claw_type: service", "claw_type: employee")
        .replace('["agents:*"]', '["agents:read"]')
        .replace("description: reads", "description: reads everything")
        .replace("- {name: inner}", "- {name: outer}")
    )

    planned = apply(tables, changed, dry_run=True, later=1_000_000)
    steps = apply(tables, changed, later=1_000_000)
    assert [step.verb for step in planned] == [step.verb for step in steps]
    assert [(step.verb, step.name) for step in steps] == [
        ("update", "deploy bot"),
        ("keep", "second admin"),
        ("update", "reviewer"),
        ("add", "outer"),
        ("keep", "colleague"),
    ]
    assert steps[0].detail["claw_type"] == ["service", "employee"]
    assert steps[2].detail == {"description": ["reads", "reads everything"]}
    members, _ = identities.page(tables.main, operator, limit=10)
    assert {member.name for member in members} == {"operator", "deploy bot", "second admin"}


def test_a_dry_run_writes_nothing_and_shows_no_invite_code(tables: Tables, operator: str) -> None:
    before = count_events(tables, operator)
    steps = apply(tables, FILE, dry_run=True)

    assert {step.verb for step in steps} == {"add"}
    assert all(step.shown is None for step in steps)
    assert count_events(tables, operator) == before
    assert apply(tables, FILE)[0].verb == "add"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identities: [", "line 1: "),
        ("- a\n- b", "line 1: the file must be a mapping"),
        ("planets: []", "line 1: planets is not a known field; known are identities, invites,"),
        ("rings: 5", "line 1: rings must be a list"),
        ("rings:\n  - inner", "line 2: rings[0] must be a mapping"),
        (
            "rings:\n  - {colour: red}",
            "line 2: rings[0].colour is not a known field; known are description, name",
        ),
        ("rings:\n  - {description: x}", "line 2: rings[0].name is required"),
        ("rings:\n  - name: ''", "line 2: rings[0].name must not be empty"),
        ("rings:\n  - name: a\n  - name: a", "line 3: rings[1].name 'a' appears twice"),
        ("rings:\n  - name: a\n    name: b", "line 3: name appears twice"),
        (
            "identities:\n  - name: a\n    type: ghost",
            "line 3: identities[0].type must be one of human, agent",
        ),
        ("identities:\n  - name: a\n    is_admin: maybe", "line 3: identities[0].is_admin must be"),
        (
            "identities:\n  - name: a\n    scopes:\n      - planets:read",
            "line 4: identities[0].scopes[0] must be one of",
        ),
        (
            "identities:\n  - name: a\n    permissions:\n      signal_types: [noise]",
            "line 4: identities[0].permissions.signal_types[0] must be one of",
        ),
        (
            "identities:\n  - name: a\n    permissions:\n      moods: []",
            "line 4: identities[0].permissions.moods is not a known field",
        ),
        ("invites:\n  - {name: a, max_uses: 0}", "line 2: invites[0].max_uses must be at least 1"),
        ("invites:\n  - {name: a, max_uses: yes}", "line 2: invites[0].max_uses must be a whole"),
        (
            "invites:\n  - {name: a, max_uses: 1001}",
            "line 2: invites[0].max_uses must be at most 1000",
        ),
        (
            "rings:\n  - {nmae: a}",
            "line 2: rings[0].nmae is not a known field: did you mean name?",
        ),
        ("identites: []", "line 1: identites is not a known field: did you mean identities?"),
        (
            "invites:\n  - {name: a, permissions: {signalTypes: []}}",
            "line 2: invites[0].permissions.signalTypes is not a known field: did you mean sig",
        ),
        ("rings:\n  - 5\n  - {}", "line 2: rings[0] must be a mapping"),
        ("rings:\n  - name: 5", "line 2: rings[0].name must be a text"),
        ("rings:\n  - name: 2026-01-01", "line 2: rings[0].name must be a text"),
        (f"rings:\n  - name: {'n' * 201}", "line 2: rings[0].name must be at most 200 printable"),
        (f"rings: [{'{name: a}, ' * 201}]", "line 1: rings must have at most 200 entries"),
        ("identities:\n  - name: a\n    scopes:", "line 3: identities[0].scopes must be a list"),
        (
            f"identities:\n  - name: a\n    permissions: {{task_types: [{'t' * 65}]}}",
            "line 3: identities[0].permissions.task_types[0] must be at most 64 printable",
        ),
        (
            f"identities:\n  - name: a\n    permissions: {{task_types: [{'t, ' * 51}]}}",
            "line 3: identities[0].permissions.task_types must have at most 50 entries",
        ),
        (
            "invites:\n  - {name: a, max_uses: 0}\nrings:\n  - {}",
            "line 2: invites[0].max_uses must be at least 1",
        ),
        ("a: &x [*x]", "line 1: "),
        ("rings:\n  - name: !!python/name:os.system x", "line 2: "),
        ("# " + "x" * 300_000, "The file is over 256 KiB"),
    ],
)
def test_the_error_for_a_bad_file_names_line_and_field(
    tables: Tables, operator: str, text: str, message: str
) -> None:
    before = count_events(tables, operator)

    with pytest.raises(BadInput) as refused:
        apply(tables, text)
    assert refused.value.message.startswith(message)
    assert count_events(tables, operator) == before


@pytest.mark.usefixtures("operator")
def test_a_misspelled_value_is_answered_with_the_nearest_one(tables: Tables) -> None:
    for text, meant in (
        ("scopes: [agents:wirte]", "agents:write"),
        ("permissions: {memory_scopes: [querry]}", "query"),
        ("type: agnet", "agent"),
    ):
        with pytest.raises(BadInput) as refused:
            apply(tables, f"identities:\n  - name: a\n    {text}")
        assert refused.value.message.endswith(f". Did you mean {meant}?")


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.text(max_size=70)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    ),
    max_leaves=20,
)


@given(st.one_of(VALUES, st.dictionaries(st.sampled_from(SECTIONS), st.lists(VALUES, max_size=3))))
def test_any_file_is_parsed_or_refused_with_line_and_field(file: object) -> None:
    messages = []
    try:
        bootstrap.parse(yaml.safe_dump(file, allow_unicode=True))
    except BadInput as refused:
        messages.append(refused.message)
    assert all(message.startswith("line ") for message in messages)


@pytest.mark.parametrize("number", ["1" + "0" * 400, ".inf", ".nan"])
def test_numbers_out_of_range_raise_nothing_but_bad_input(number: str) -> None:
    for field in (f"max_uses: {number}", f"type: {number}"):
        with pytest.raises(BadInput):
            bootstrap.parse(f"invites:\n  - {{name: a, {field}}}")
    text = f"webhooks:\n  - {{name: a, url: x, filters: {{min_urgency: {number}}}}}"
    with contextlib.suppress(BadInput):
        bootstrap.parse(text)


def test_without_an_operators_account_no_file_can_be_applied(tables: Tables) -> None:
    with pytest.raises(NotFound) as refused:
        apply(tables, FILE)
    assert refused.value.code == "NOT_BOOTSTRAPPED"


def test_before_the_first_admin_no_file_can_be_applied(tables: Tables) -> None:
    invites.open_operator(tables, name="operator", origin=ORIGIN, now=NOW)

    with pytest.raises(NotFound) as refused:
        apply(tables, FILE)
    assert refused.value.code == "NOT_BOOTSTRAPPED"


def test_too_many_invites_are_refused_before_anything_is_written(
    tables: Tables, operator: str
) -> None:
    before = count_events(tables, operator)
    many = "".join(f"  - {{name: guest {number}}}\n" for number in range(51))

    with pytest.raises(BoundReached):
        apply(tables, f"rings: [{{name: inner}}]\ninvites:\n{many}")
    assert count_events(tables, operator) == before


def test_recovery_works_in_an_account_with_all_its_keys(tables: Tables, operator: str) -> None:
    pk = f"KEYS#{operator}"
    seen = tables.main.get({"pk": f"{pk}#COUNT", "sk": "COUNT"})
    assert seen is not None
    counters.correct(tables.main, pk, seen=seen, to=1_000)

    recovered = accounts.recover(tables, prefix="chorus", origin=ORIGIN, now=NOW)
    assert recovered.identity.is_admin


def test_the_operators_account_can_be_created_by_invite_once(tables: Tables) -> None:
    invite = invites.open_operator(tables, name="operator", origin=ORIGIN, now=NOW)

    assert accounts.find_operator_id(tables.main) == invite.account_id
    assert len(invite.code) == 32
    assert not identities.has_had_admins(tables.main, invite.account_id)
    for again in (
        lambda: invites.open_operator(tables, name="x", origin=ORIGIN, now=NOW),
        lambda: accounts.bootstrap(tables, name="x", prefix="hk", origin=ORIGIN, now=NOW),
    ):
        with pytest.raises(Conflict) as refused:
            again()
        assert refused.value.code == "ALREADY_BOOTSTRAPPED"
    assert keys.find(tables, invite.account_id, invite.id) is None

"""The webhooks of a bootstrap file: checked, created, changed, and kept."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gatehouse.accounts import actions as accounts
from gatehouse.audit.model import Origin
from gatehouse.bootstrap import actions as bootstrap
from gatehouse.bootstrap.model import PlannedStep
from gatehouse.core.clock import DAY
from gatehouse.core.errors import BadInput, BoundReached
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo.table import Tables
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import rotation
from gatehouse.webhooks.model import Filters, Webhook, WebhookFields
from gatehouse.webhooks.secret_cache import SecretCache
from support.actors.members import new_vault
from support.actors.receivers import Names
from support.aws.faults import Killed, Wire, die_at
from support.checks.inspection import State
from support.checks.invariants import check_invariants, kind

NOW = 1_790_000_000_000_000
ORIGIN = Origin("system:bootstrap", "request")
URL = "http://127.0.0.1:9000/in"
ONE, TWO = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
FILE = f"""
webhooks:
  - name: own secret
    url: {URL}?token=x
    secret_env: HOOK
    filters: {{types: [task], rings: [inner], min_urgency: 0.5}}
    retry_schedule: [1, 60]
  - name: made secret
    url: HTTP://LOCALHOST:9001/
    description: for the team
    active: false
"""


class Operator:
    """The operator's account, and files applied to it."""

    def __init__(self, tables: Tables, vault: Vault) -> None:
        opened = accounts.bootstrap(
            tables, name="operator", prefix="chorus", origin=ORIGIN, now=NOW
        )
        self.tables, self.vault, self.account_id = tables, vault, opened.account.id
        self._key = opened.minted.secret

    def apply(
        self, text: str = FILE, *, hook: str | None = ONE, dry_run: bool = False, later: int = 0
    ) -> list[PlannedStep]:
        return bootstrap.apply(
            self.tables,
            self.vault,
            text,
            secrets={} if hook is None else {"HOOK": hook},
            dry_run=dry_run,
            origin=ORIGIN,
            now=NOW + later,
        )

    def webhooks(self) -> dict[str, Webhook]:
        """Return the webhooks by the names of their entries."""
        items = kind(State(self.tables), f"SEED#{self.account_id}")
        names = {item["id"]: item["sk"].removeprefix("webhook#") for item in items}
        found = webhooks.list_all(self.tables.main, self.account_id)
        return {names.get(one.id, "?"): one for one in found}

    def live(self, name: str, *, later: int = 0) -> tuple[str, ...]:
        webhook = self.webhooks()[name]
        there = SecretCache(self.tables.main, self.vault).find_material(webhook, now=NOW + later)
        assert there is not None
        return there.secrets

    def call(self) -> Call:
        verdict = credentials.admit(self.tables.keys, self._key, credentials.Memory(), NOW)
        return Call(request_id="r", now=NOW, principal=verdict.principal())

    def update(self, name: str, **fields: Any) -> None:
        webhooks.update(
            self.tables.main,
            self.call(),
            self.vault,
            self.webhooks()[name].id,
            fields=WebhookFields(**fields),
        )

    def verbs(self, *args: Any, **kwargs: Any) -> list[str]:
        return [step.verb for step in self.apply(*args, **kwargs)]


@pytest.fixture
def operator(settings_key: str, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Operator:
    del settings_key
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    return Operator(tables, new_vault())


def test_webhooks_get_the_variables_secret_or_a_generated_one(
    operator: Operator,
) -> None:
    steps = operator.apply()
    assert [(step.verb, step.kind, step.name) for step in steps] == [
        ("add", "webhook", "own secret"),
        ("add", "webhook", "made secret"),
    ]
    found = operator.webhooks()
    own, made = found["own secret"], found["made secret"]
    assert (own.url, own.filters) == (f"{URL}?token=x", Filters(("inner",), ("task",), "0.5"))
    assert (own.retry_schedule, own.active, own.description) == ((1, 60), True, "")
    assert (made.url, made.active) == ("http://localhost:9001/", False)
    assert made.description == "for the team"
    assert steps[0].shown is None
    assert operator.live("own secret") == (ONE,)
    assert steps[1].shown is not None
    assert operator.live("made secret") == (steps[1].shown,)
    assert "token" not in str(steps)
    check_invariants(operator.tables, now=NOW)


def test_applying_a_file_again_changes_nothing(operator: Operator) -> None:
    operator.apply()
    before = State(operator.tables).main
    steps = operator.apply(later=DAY)
    assert {step.verb for step in steps} == {"keep"}
    assert [step.shown for step in steps] == [None, None]
    assert State(operator.tables).main == before


def test_a_dry_run_writes_nothing_and_shows_no_secret(operator: Operator) -> None:
    before = State(operator.tables).main
    steps = operator.apply(dry_run=True)
    assert [(step.verb, step.shown) for step in steps] == [("add", None), ("add", None)]
    assert State(operator.tables).main == before


def test_changed_fields_are_updated_and_missing_ones_get_defaults(
    operator: Operator,
) -> None:
    operator.apply()
    changed = (
        FILE.replace("?token=x", "?token=y")
        .replace("min_urgency: 0.5", "min_urgency: 1")
        .replace("    retry_schedule: [1, 60]\n", "")
        .replace("    description: for the team\n", "")
    )
    planned = operator.apply(changed, dry_run=True)
    steps = operator.apply(changed, later=1_000_000)
    assert [step.detail for step in planned] == [step.detail for step in steps]
    assert [step.verb for step in steps] == ["update", "update"]
    assert set(steps[0].detail) == {"url", "filters", "retry_schedule"}
    assert steps[0].detail["retry_schedule"] == [[1, 60], [5, 30, 300]]
    assert steps[1].detail == {"description": ["for the team", ""]}
    assert "token" not in str(steps)
    own = operator.webhooks()["own secret"]
    assert (own.url, own.filters.min_urgency) == (f"{URL}?token=y", "1")
    assert operator.verbs(changed) == ["keep", "keep"]
    check_invariants(operator.tables, now=NOW)


def test_active_changes_only_where_the_file_sets_it(
    operator: Operator,
) -> None:
    operator.apply()
    operator.update("own secret", active=False)
    operator.update("made secret", active=True)
    assert operator.verbs() == ["keep", "update"]
    found = operator.webhooks()
    assert (found["own secret"].active, found["made secret"].active) == (False, False)


def test_a_webhook_made_active_by_a_file_gets_its_parked_deliveries(operator: Operator) -> None:
    operator.apply()
    made = operator.webhooks()["made secret"]
    assert kind(State(operator.tables), "WAKE#") == []
    assert operator.verbs(FILE.replace("active: false", "active: true")) == ["keep", "update"]
    (note,) = kind(check_invariants(operator.tables, now=NOW), "WAKE#")
    assert note["sk"] == f"{operator.account_id}#{made.id}"


def test_a_webhook_that_an_admin_deleted_is_created_again(operator: Operator) -> None:
    operator.apply()
    assert operator.verbs("webhooks: []") == []
    gone = operator.webhooks()["own secret"]
    webhooks.remove(operator.tables.main, operator.call(), gone.id)
    assert operator.verbs() == ["add", "keep"]
    assert operator.webhooks()["own secret"].id != gone.id
    assert operator.live("own secret") == (ONE,)
    assert operator.verbs() == ["keep", "keep"]
    check_invariants(operator.tables, now=NOW)


def test_another_secret_in_the_variable_rotates_with_a_days_grace(operator: Operator) -> None:
    operator.apply()
    steps = operator.apply(hook=TWO)
    assert steps[0].verb == "update"
    assert set(steps[0].detail) == {"secret"}
    assert steps[0].shown is None
    assert ONE not in str(steps)
    assert TWO not in str(steps)
    assert operator.live("own secret", later=DAY - 1) == (ONE, TWO)
    assert operator.live("own secret", later=DAY) == (TWO,)
    assert operator.verbs(hook=TWO) == ["keep", "keep"]
    check_invariants(operator.tables, now=NOW)


def test_an_old_variable_does_not_undo_an_admins_rotation(
    operator: Operator,
) -> None:
    operator.apply()
    shown = rotation.rotate_secret(
        operator.tables.main,
        operator.call(),
        operator.vault,
        operator.webhooks()["own secret"].id,
        grace_seconds=0,
    )
    operator.update("own secret", headers={"X-A": "1"})
    assert operator.verbs() == ["keep", "keep"]
    assert operator.live("own secret") == (shown.secret,)


def test_a_generated_secret_can_later_be_set_by_a_variable(
    operator: Operator,
) -> None:
    made = operator.apply()[1].shown
    assert made is not None
    named = FILE.replace("active: false", "secret_env: MADE")
    for verb in ("update", "keep"):
        steps = bootstrap.apply(
            operator.tables,
            operator.vault,
            named,
            secrets={"HOOK": ONE, "MADE": made},
            dry_run=False,
            origin=ORIGIN,
            now=NOW,
        )
        assert steps[1].verb == verb
    assert operator.live("made secret") == (made,)


def entry(**fields: str) -> str:
    lines = [f"    {name}: {value}" for name, value in {"url": URL, **fields}.items() if value]
    return "webhooks:\n  - name: a\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("webhooks:\n  - {url: x}", "line 2: webhooks[0].name is required"),
        ("webhooks:\n  - name: a", "line 2: webhooks[0].url is required"),
        (entry(url="5"), "line 3: webhooks[0].url must be a text"),
        (entry(url="~"), "line 3: webhooks[0].url must be a text"),
        (entry(url="nonsense"), "line 3: webhooks[0].url must be an http or https URL"),
        (entry(url="http://10.0.0.1"), "line 3: webhooks[0].url must not lead to a private"),
        (entry(url="'http://u:p@a.example'"), "line 3: webhooks[0].url must not carry"),
        (entry(headers="{X-A: b}"), "line 4: webhooks[0].headers is not a known field"),
        (entry(secret="x"), "line 4: webhooks[0].secret is not a known field"),
        (entry(filters="[]"), "line 4: webhooks[0].filters must be a mapping"),
        (entry(filters="{moods: []}"), "line 4: webhooks[0].filters.moods is not a known field"),
        (entry(filters="{rings: inner}"), "line 4: webhooks[0].filters.rings must be a list"),
        (entry(filters="{rings: [5]}"), "line 4: webhooks[0].filters.rings[0] must be a text"),
        (
            entry(filters="\n      rings: []\n      types: [ping]"),
            "line 6: webhooks[0].filters.types must be among",
        ),
        (entry(filters="{min_urgency: 2}"), "line 4: webhooks[0].filters.min_urgency must be fr"),
        (entry(filters="{min_urgency: .nan}"), "line 4: webhooks[0].filters.min_urgency must be"),
        (entry(filters="{min_urgency: yes}"), "line 4: webhooks[0].filters.min_urgency must be a"),
        (entry(description="5"), "line 4: webhooks[0].description must be a text"),
        (entry(description="x" * 501), "line 4: webhooks[0].description must be at most 500"),
        (entry(retry_schedule="5"), "line 4: webhooks[0].retry_schedule must be a list"),
        (entry(retry_schedule="[1.5]"), "line 4: webhooks[0].retry_schedule[0] must be a whole"),
        (entry(retry_schedule="[yes]"), "line 4: webhooks[0].retry_schedule[0] must be a whole"),
        (entry(retry_schedule="[]"), "line 4: webhooks[0].retry_schedule must have 1 to 20"),
        (entry(retry_schedule="[432001]"), "line 4: webhooks[0].retry_schedule must not be lon"),
        (entry(active="maybe"), "line 4: webhooks[0].active must be true or false"),
        (
            entry(secret_env="'a b'"),
            "line 4: webhooks[0].secret_env must be the name of an environment",
        ),
        (
            entry(secret_env="5"),
            "line 4: webhooks[0].secret_env must be the name of an environment",
        ),
        (entry(secret_env="OTHER"), "line 4: webhooks[0].secret_env names OTHER, but its value"),
        (entry() + "\n  - {name: a, url: x}", "line 4: webhooks[1].name 'a' appears twice"),
    ],
)
def test_the_error_for_a_bad_file_names_line_and_field(
    operator: Operator, text: str, message: str
) -> None:
    before = State(operator.tables).main
    with pytest.raises(BadInput) as refused:
        operator.apply(f"{text}\nrings: [{{name: inner}}]")
    assert refused.value.message.startswith(message)
    assert State(operator.tables).main == before


@pytest.mark.parametrize(
    "hook",
    [
        *("", "whsec_", "secret", ONE.removeprefix("whsec_"), ONE + "!", ONE[:-1], f"{ONE}\n"),
        *(f"whsec_{base64.b64encode(bytes(size)).decode()}" for size in (1, 23, 65)),
    ],
)
def test_a_malformed_secret_is_refused_and_not_shown(operator: Operator, hook: str) -> None:
    with pytest.raises(BadInput) as refused:
        operator.apply(hook=hook)
    assert refused.value.message.startswith(
        "line 5: webhooks[0].secret_env names HOOK, whose secret must be whsec_"
    )
    assert not hook[8:] or hook not in refused.value.message
    assert operator.webhooks() == {}


@pytest.mark.parametrize("size", [24, 64])
def test_secrets_of_24_to_64_bytes_are_accepted(operator: Operator, size: int) -> None:
    hook = f"whsec_{base64.b64encode(bytes(size)).decode()}"
    operator.apply(hook=hook)
    assert operator.live("own secret") == (hook,)


def test_an_unknown_host_is_refused_only_for_a_new_or_changed_url(
    operator: Operator, names: Names
) -> None:
    named = FILE.replace("127.0.0.1:9000", "receiver.example:9000")
    names.say("localhost", ["127.0.0.1"])
    with pytest.raises(BadInput) as refused:
        operator.apply(named)
    assert refused.value.message.startswith("line 4: webhooks[0].url must name a host that can")
    names.say("receiver.example", ["127.0.0.1"])
    assert operator.verbs(named) == ["add", "add"]
    del names.answers["receiver.example"]
    assert operator.verbs(named) == ["keep", "keep"]


def test_too_many_webhooks_are_refused_before_anything_is_written(
    operator: Operator,
) -> None:
    operator.apply()
    before = State(operator.tables).main
    many = "".join(f"  - {{name: n{number}, url: {URL}}}\n" for number in range(99))
    with pytest.raises(BoundReached):
        operator.apply(f"webhooks:\n{many}")
    assert State(operator.tables).main == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_run_can_be_repeated(operator: Operator, room_line: Wire, when: str) -> None:
    operator.apply()
    changed = FILE.replace("min_urgency: 0.5", "min_urgency: 1") + f"  - {{name: b, url: {URL}}}\n"
    for number in range(1, 40):
        room_line.clear()
        setattr(room_line, when, die_at(number))
        try:
            operator.apply(changed, hook=TWO)
        except Killed:
            room_line.clear()
            check_invariants(operator.tables, now=NOW)
            continue
        break
    room_line.clear()
    assert number > 5
    assert operator.verbs(changed, hook=TWO) == ["keep", "keep", "keep"]
    assert operator.live("own secret") == (ONE, TWO)
    check_invariants(operator.tables, now=NOW)

"""A webhook's header values stay with the origin of its URL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.core.errors import (
    Unavailable,
)
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.rules import WrongPlace
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import (
    WebhookFields,
)
from support.actors.visitor import Visitor
from support.actors.webhook_owner import URL, create, find_material, reread, update
from support.checks.invariants import check_invariants, kind

pytestmark = pytest.mark.usefixtures("loopback_allowed")


ELSEWHERE = (
    "http://127.0.0.1:9001/in",
    "http://localhost:9000/in",
    "https://127.0.0.1:9000/in",
)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_changed_origin_drops_the_headers_and_says_so(
    caller: Visitor, vault: Vault, url: str
) -> None:
    one = create(caller, vault, headers={"Authorization": "Bearer x", "X-B": "2"})
    moved = webhooks.update(
        caller.tables.main, caller.call(), vault, one.webhook.id, fields=WebhookFields(url=url)
    )
    assert moved.dropped_headers == ("Authorization", "X-B")
    assert moved.webhook == reread(caller, one.webhook)
    assert moved.webhook.header_names == ()
    after = find_material(caller, vault, moved.webhook)
    assert after is not None
    assert (after.headers, after.secrets) == ({}, (one.secret,))
    state = check_invariants(caller.tables, now=caller.now)
    event = state.events(caller.account_id)[-1]
    assert event["after"]["changed"] == ["url", "headers"]
    assert event["after"]["dropped_headers"] == ["Authorization", "X-B"]
    assert not any("headers" in item["sk"] for item in kind(state, "SECRET#"))
    back = webhooks.update(
        caller.tables.main, caller.call(), vault, one.webhook.id, fields=WebhookFields(url=URL)
    )
    assert (back.dropped_headers, back.webhook.header_names) == ((), ())


def test_new_headers_may_come_with_the_new_origin(caller: Visitor, vault: Vault) -> None:
    headers = {"Authorization": "Bearer x"}
    one = create(caller, vault, headers=headers).webhook
    moved = update(caller, vault, one, url=ELSEWHERE[0], headers=headers)
    after = find_material(caller, vault, moved)
    assert after is not None
    assert after.headers == headers
    emptied = update(caller, vault, one, url=URL, headers={})
    assert (emptied.header_names, emptied.url) == ((), URL)


def test_another_path_of_the_same_origin_keeps_the_headers(caller: Visitor, vault: Vault) -> None:
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    for path in (f"{URL}/other?x=1", "http://127.0.0.1:9000"):
        after = find_material(caller, vault, update(caller, vault, one, url=path))
        assert after is not None
        assert after.headers == {"X-A": "1"}


def test_header_values_cannot_be_decrypted_for_another_url(caller: Visitor, vault: Vault) -> None:
    """Even somebody who writes the new URL into the table does not get them."""
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    with pytest.raises(WrongPlace):
        find_material(caller, vault, replace(one, url=ELSEWHERE[0]))


def test_a_worker_that_read_the_webhook_before_it_moved_tries_again(
    caller: Visitor, vault: Vault
) -> None:
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    update(caller, vault, one, url=ELSEWHERE[0])
    with pytest.raises(Unavailable):
        find_material(caller, vault, one)

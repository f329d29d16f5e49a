"""Live logs through a cut, and the audit trail verified in the browser."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import WebSocketRoute, expect

from support.actors.browser import Visit
from support.actors.deployed_function import wait_until_listed
from support.actors.deployed_tenant import Tenant, open_tenant, the_operator
from support.actors.log_writer import LogWriter
from support.worlds.deployed_stack import Deployed

Open = Callable[..., Visit]
SOON = 60_000  # ms


@pytest.fixture
def writer(stack: Deployed) -> Iterator[LogWriter]:
    made = LogWriter(stack)
    wait_until_listed(the_operator(stack), made.service)
    yield made
    made.delete()


def test_lines_of_a_log_go_on_after_the_socket_was_cut(
    visit: Open, stack: Deployed, writer: LogWriter
) -> None:
    seen = visit(stack.admin_key)
    sockets: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        sockets.append(route)
        route.connect_to_server()

    seen.page.route_web_socket("**/logs?*", through)
    first, second = (f"line {uuid.uuid4().hex}" for _ in range(2))
    seen.open(f"services/{writer.service}")
    expect(seen.page.get_by_text("live", exact=True)).to_be_visible(timeout=SOON)
    writer.write(first)
    log = seen.page.get_by_role("log")
    expect(log).to_contain_text(first, timeout=SOON)
    sockets[0].close()
    writer.write(second)
    expect(log).to_contain_text(second, timeout=SOON)
    assert len(sockets) >= 2
    assert "since=" in sockets[1].url
    expect(log.get_by_text(first)).to_have_count(1)
    seen.field("Filter").fill(second)
    expect(log.get_by_text(first)).to_have_count(0)


def test_the_trail_is_verified_and_an_edited_export_is_found(
    visit: Open, stack: Deployed, tmp_path: Path
) -> None:
    tenant: Tenant = open_tenant(stack)
    tenant.make_key(name="山田 👩‍💻")
    seen = visit(tenant.key)
    seen.go("Audit")
    seen.button("Verify").click()
    seen.button("Verify this account").click()
    verdicts = seen.page.locator(".verdicts")
    expect(verdicts).to_contain_text("administration: 4 events, the chain holds")
    expect(verdicts).to_contain_text("machine: 1 events, the chain holds")
    lines = [json.dumps(event, ensure_ascii=False) for event in tenant.events()]
    whole, edited, cut = (tmp_path / f"{name}.jsonl" for name in ("whole", "edited", "cut"))
    whole.write_text("\n".join(lines), encoding="utf-8")
    edited.write_text("\n".join(lines).replace("山田", "佐藤"), encoding="utf-8")
    cut.write_text("\n".join(lines[:2]), encoding="utf-8")
    chosen = seen.page.get_by_label("Verify an export")
    for path, said in (
        (whole, "administration: 4 events, the chain holds"),
        (edited, "the event does not match its hash"),
        (cut, "was seen before"),
    ):
        chosen.set_input_files(path)
        expect(verdicts).to_contain_text(said)

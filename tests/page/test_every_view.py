"""What holds for every view: nothing is run that was stored as text, and everybody can use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from support.actors.browser import Visit
from support.actors.deployed_tenant import Tenant, open_tenant
from support.worlds.deployed_stack import PROJECT, Deployed

Open = Callable[..., Visit]
VIEWS = (
    *("Overview", "Keys", "People", "Webhooks", "Events", "Services", "Audit", "Policy"),
    *("Secrets", "Peers", "Settings"),
)
DIALOGS = {"Keys": "Create key", "Webhooks": "Create webhook", "People": "Invite"}
AXE = PROJECT / "page/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

_CALLS = ("window.run++", "parent.run=1", "top['run']=1", "run()", "alert`1`")
PLANTED = [
    planted
    for call in _CALLS
    for planted in (
        f"<script>{call}</script>",
        f"<img src=x onerror={call}>",
        f'"><svg onload={call}>',
        f"<a href=javascript:{call}>x</a>",
        f"';{call};//",
        f"</textarea><script>{call}</script>",
        f"<iframe srcdoc='<script>{call}</script>'>",
        f"{{{{{call}}}}}",
        f"${{{call}}}",
        f"<details open ontoggle={call}>",
    )
]


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    made = open_tenant(stack)
    body = {"url": "http://127.0.0.1:9999/in", "active": False, "description": "nobody listens"}
    assert made.call("POST", "/admin/webhooks", json=body).status_code == 201
    made.make_key(name="another")
    return made


def test_no_text_that_somebody_stored_is_run(visit: Open, stack: Deployed) -> None:
    tenant = open_tenant(stack)
    for text in PLANTED:
        tenant.make_key(name=text[:100])
        signal = {"signal_type": "pulse", "content": text, "payload": {text: text}}
        assert tenant.call("POST", "/emit", json=signal).status_code == 201
    text = PLANTED[1]
    hook = {"url": "http://127.0.0.1:9999/in", "description": text, "active": False}
    assert tenant.call("POST", "/admin/webhooks", json=hook).status_code == 201
    invite = {"name": text, "type": "human"}
    assert tenant.call("POST", "/invite/create", json=invite).status_code == 201
    peer = {"name": text, "endpoint": "https://other.example/in"}
    assert tenant.call("POST", "/federation/trust", json=peer).status_code == 201
    seen = visit(tenant.key)
    seen.page.evaluate("() => { window.run = 0; }")
    for view in VIEWS:
        seen.go(view)
        seen.page.wait_for_load_state("networkidle")
    seen.go("Events")
    seen.page.get_by_role("link", name=PLANTED[-1]).click()
    seen.heading("Signal").wait_for()
    expect(seen.page.locator("main")).to_contain_text(PLANTED[-1])
    assert seen.page.evaluate("window.run") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_and_its_dialogs_pass_the_checks_for_access(
    visit: Open, tenant: Tenant, scheme: str
) -> None:
    seen = visit(tenant.key, color_scheme=scheme, bypass_csp=True)
    found: dict[str, Any] = {}
    for view in VIEWS:
        seen.go(view)
        seen.page.wait_for_load_state("networkidle")
        found |= violations(seen, view)
    for view, button in (
        ("Keys", "Create key"),
        ("Webhooks", "Create webhook"),
        ("People", "Invite"),
    ):
        seen.go(view)
        seen.button(button).click()
        found |= violations(seen, f"{view}: {button}")
        seen.button("Close").click()
    seen.expect_refusals(400)
    seen.go("Peers")
    seen.button("Trust a peer").click()
    seen.field("Name").fill("x")
    seen.field("Endpoint").fill("http://10.0.0.1/in")
    seen.button("Trust").click()
    seen.page.get_by_role("alert").wait_for()
    found |= violations(seen, "an error")
    assert found == {}


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_view_needs_sideways_scrolling(visit: Open, tenant: Tenant, width: int) -> None:
    seen = visit(tenant.key, viewport={"width": width, "height": 800})
    wide = []
    for view in VIEWS:
        seen.go(view)
        seen.page.wait_for_load_state("networkidle")
        if seen.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(view)
    assert wide == []


def violations(seen: Visit, where: str) -> dict[str, Any]:
    """Return the violations of WCAG 2.2 AA that axe finds, by where they are."""
    if not seen.page.evaluate("'axe' in window"):
        seen.page.add_script_tag(content=AXE.read_text())
    result = seen.page.evaluate("rules => axe.run({runOnly: rules})", RULES)
    return {
        f"{where}: {one['id']}": [node["html"][:120] for node in one["nodes"][:3]]
        for one in result["violations"]
    }

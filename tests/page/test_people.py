"""People and the policy in the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from support.actors.browser import Visit
from support.actors.deployed_tenant import Tenant, open_tenant
from support.worlds.deployed_stack import Deployed

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_an_invite_lets_somebody_in_whose_key_ends_with_a_suspension(
    visit: Open, tenant: Tenant, stack: Deployed
) -> None:
    seen = visit(tenant.key)
    seen.go("People")
    seen.button("Invite").click()
    seen.field("Name").fill("bo")
    seen.button("Create invite").click()
    code = seen.secret()
    seen.button("Close").click()
    body = {"code": code, "name": "Bo Lind", "type": "human"}
    joined = stack.call_throttled("POST", "/invite", json=body).json()["data"]
    assert stack.call("GET", "/v1/whoami", key=joined["api_key"]).status_code == 200
    seen.page.reload()
    seen.button("Change Bo Lind").click()
    seen.field("Status").select_option("suspended")
    seen.button("Change to suspended").click()
    seen.page.get_by_text("Bo Lind is changed.").wait_for()
    expect(seen.row("Bo Lind")).to_contain_text("suspended")
    assert stack.call("GET", "/v1/whoami", key=joined["api_key"]).status_code == 401


def test_a_denial_is_turned_by_the_change_that_it_names(
    visit: Open, tenant: Tenant, stack: Deployed
) -> None:
    invite = {"name": "kim", "type": "human"}
    code = tenant.call("POST", "/invite/create", json=invite).json()["data"]["code"]
    body = {"code": code, "name": "Kim", "type": "human"}
    assert stack.call_throttled("POST", "/invite", json=body).status_code == 201
    seen = visit(tenant.key)
    seen.go("Policy")
    seen.field("Identity").select_option(label="Kim")
    seen.field("Action").select_option("admin:manage")
    seen.button("Ask").click()
    expect(seen.page.locator(".decision")).to_contain_text("denied by the rule")
    seen.button("Do this").click()
    seen.button("Change").click()
    expect(seen.page.locator(".decision")).to_contain_text("allowed by the rule admin_bypass")

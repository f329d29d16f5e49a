"""Signing in, and keys: create, use, rotate, revoke, limits."""

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


def test_a_person_signs_in_with_a_good_key_after_a_wrong_one(visit: Open, tenant: Tenant) -> None:
    seen = visit()
    seen.expect_refusals(401)
    seen.open()
    seen.field("API key").fill("wrong")
    seen.button("Sign in").click()
    expect(seen.page.get_by_role("alert")).to_contain_text("The key was not accepted")
    expect(seen.field("API key")).to_have_value("")
    seen.field("API key").fill(tenant.key)
    seen.button("Sign in").click()
    seen.heading("Overview").wait_for()
    seen.page.reload()
    seen.heading("Overview").wait_for()
    seen.button("Sign out").click()
    seen.field("API key").wait_for()
    seen.page.reload()
    seen.field("API key").wait_for()


def test_a_narrow_key_sees_little_and_is_told_why(visit: Open, tenant: Tenant) -> None:
    narrow = tenant.make_key(name="narrow", scopes=["agents:read"])
    seen = visit(narrow["key"])
    seen.page.get_by_text("not available").click()
    withheld = seen.page.locator(".withheld")
    expect(withheld).to_contain_text("Keys: this key lacks the scope services:read")
    expect(withheld).to_contain_text("Audit: this key lacks the scope admin:manage")
    seen.go("Events")


def test_a_key_is_created_used_seen_used_rotated_and_revoked(visit: Open, tenant: Tenant) -> None:
    seen = visit(tenant.key)
    seen.go("Keys")
    seen.button("Create key").click()
    seen.field("Name").fill("for curl")
    seen.button("Create key").click()
    first = seen.secret()
    seen.button("Done").click()
    assert tenant.stack.call("GET", "/v1/whoami", key=first).status_code == 200
    seen.page.reload()
    row = seen.row("for curl")
    expect(row.get_by_role("time").first).to_be_visible()  # when it was used last
    row.get_by_role("button", name="Rotate").click()
    seen.field("The old key").select_option("3600")
    seen.button("Rotate").click()
    second = seen.secret()
    seen.button("Done").click()
    for key in (first, second):
        assert tenant.stack.call("GET", "/v1/whoami", key=key).status_code == 200
    seen.field("Search").fill(second[:12].rpartition("_")[0] + "_" + second.rpartition("_")[2][:4])
    expect(seen.page.get_by_role("row")).to_have_count(2)
    seen.row("for curl").get_by_role("button", name="Revoke").click()
    seen.field("Type for curl to confirm").fill("for curl")
    seen.button("Revoke").click()
    seen.page.get_by_text("for curl is revoked.").wait_for()
    assert tenant.stack.call("GET", "/v1/whoami", key=second).status_code == 401


def test_revoking_the_key_that_is_signed_in_leads_to_the_sign_in(
    visit: Open, tenant: Tenant
) -> None:
    key = tenant.make_key(name="short-lived")
    seen = visit(key["key"])
    seen.expect_refusals(401)
    assert tenant.call("DELETE", f"/v1/api-keys/{key['id']}").status_code == 204
    seen.page.get_by_role("navigation").get_by_role("link", name="Settings").click()
    expect(seen.page.get_by_text("The session ended. Sign in again.")).to_be_visible()


def test_a_key_over_its_limit_is_told_when_to_try_again(visit: Open, tenant: Tenant) -> None:
    limited = tenant.make_key(name="limited", rate_limit=20)
    seen = visit(limited["key"])
    seen.expect_refusals(429)
    for _ in range(20):
        tenant.stack.call("GET", "/v1/whoami", key=limited["key"])
    seen.go("Settings")
    alert = seen.page.get_by_role("alert").first
    expect(alert).to_contain_text("Rate limit exceeded")
    expect(alert).to_contain_text("Try again in")

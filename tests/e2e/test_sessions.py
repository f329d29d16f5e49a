"""Sessions of the page, tickets of sockets and the page's files, through the front door."""

from __future__ import annotations

import re

import httpx
import pytest

from support.actors.deployed_tenant import Tenant, open_tenant, the_operator
from support.actors.log_viewer import upgrade_status
from support.worlds.deployed_stack import Deployed


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def sign_in(stack: Deployed, key: str) -> str:
    """Return the cookie of a new session."""
    answer = stack.call("POST", "/auth/session", key=key)
    assert (answer.status_code, answer.text) == (204, "")
    cookie, _, rest = answer.headers["set-cookie"].partition("; ")
    assert rest == "Max-Age=43200; Path=/; HttpOnly; Secure; SameSite=Strict"
    return cookie


def ask(
    stack: Deployed, cookie: str, method: str = "GET", path: str = "/v1/whoami", **headers: str
) -> httpx.Response:
    sent = {"Cookie": cookie, "X-Gatehouse-Page": "1", **headers}
    return stack.call(method, path, headers=sent)


def test_a_session_acts_as_its_key_until_it_or_the_key_ends(
    stack: Deployed, tenant: Tenant
) -> None:
    key = tenant.make_key()
    first, second = sign_in(stack, key["key"]), sign_in(stack, key["key"])
    assert ask(stack, first).json()["data"]["key"]["id"] == key["id"]
    assert ask(stack, first, "POST", "/auth/session").status_code == 403
    listed = ask(stack, first, path="/auth/sessions").json()["data"]
    assert [one["current"] for one in listed] == [False, True]
    ended = ask(stack, first, "DELETE", f"/auth/sessions/{listed[0]['id']}")
    assert ended.status_code == 204
    assert [ask(stack, one).status_code for one in (first, second)] == [200, 401]
    signed_out = ask(stack, first, "DELETE", "/auth/session")
    assert "Max-Age=0" in signed_out.headers["set-cookie"]
    assert ask(stack, first).status_code == 401
    third = sign_in(stack, key["key"])
    assert tenant.call("DELETE", f"/v1/api-keys/{key['id']}").status_code == 204
    assert ask(stack, third).status_code == 401


def test_a_cookie_counts_only_in_requests_of_the_page(stack: Deployed, tenant: Tenant) -> None:
    cookie = sign_in(stack, tenant.key)
    assert stack.call("GET", "/v1/whoami", headers={"Cookie": cookie}).status_code == 401
    assert ask(stack, cookie, **{"Sec-Fetch-Site": "cross-site"}).status_code == 401
    assert ask(stack, cookie, **{"X-Api-Key": "wrong"}).status_code == 401
    of_another_stack = re.sub("^gatehouse-[^=]+", "gatehouse-0000000000", cookie)
    assert ask(stack, of_another_stack).status_code == 401
    foreign = ask(stack, cookie, "POST", "/auth/socket-ticket", Origin="https://evil.example")
    assert foreign.status_code == 403  # The local front door refuses it before the API does.


def test_a_ticket_opens_one_socket(stack: Deployed) -> None:
    operator = the_operator(stack)
    ticket = operator.call("POST", "/auth/socket-ticket").json()["data"]["ticket"]
    assert upgrade_status(stack, "gatehouse-public", key=None, ticket=ticket) == 101
    assert upgrade_status(stack, "gatehouse-public", key=None, ticket=ticket) in {401, 403}


def test_the_page_is_served_with_and_without_a_slash(stack: Deployed) -> None:
    root = stack.call("GET", "/")
    assert (root.status_code, root.headers["location"]) == (302, "ui")
    for path in ("/ui", "/ui/"):
        document = stack.call("GET", path)
        assert document.status_code == 200
        (script,) = re.findall(r'<script type="module" src="(ui/[^"]+)"', document.text)
        beside = path.rpartition("/")[0]
        loaded = stack.call("GET", f"{beside}/{script}")
        assert loaded.status_code == 200
        assert loaded.headers["content-type"] == "text/javascript; charset=utf-8"
        assert loaded.headers["x-content-type-options"] == "nosniff"
    assert stack.call("HEAD", "/ui").status_code == 200
    assert stack.call("GET", "/ui/none.js").status_code == 404

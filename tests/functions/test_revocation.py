"""A revoked key is refused on the very next request, 1000 times out of 1000."""

from __future__ import annotations

import itertools

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front

ROUNDS = 1_000


@pytest.mark.slow
def test_a_revoked_key_is_refused_on_the_very_next_request(front: Front, people: People) -> None:
    """Each round creates a key on one surface, uses it, revokes it on another, uses it again."""
    admin = people.tenant()
    made = {
        "/api/auth/keys": {"name": "x", "scopes": ["*"]},
        "/v1/api-keys": {"name": "x"},
        "/admin/api-keys": {"owner": admin.identity_id},
    }
    ended = ("/api/auth/keys/{}", "/v1/api-keys/{}", "/admin/api-keys/{}/revoke")
    surfaces = itertools.cycle(itertools.product(made, ended))
    refused = 0
    for number, (make, end) in zip(range(ROUNDS), surfaces, strict=False):
        if number % 100 == 0:
            admin = people.tenant()  # a new one, whose rate limit is not used up
            made["/admin/api-keys"] = {"owner": admin.identity_id}
        answer = front("POST", make, key=admin.key, body=made[make])
        assert answer.status == 201
        value = answer.json()
        data = value.get("data", value)
        key = data.get("key") or data["api_key"]
        assert front.admits(key)
        method = "POST" if end.endswith("revoke") else "DELETE"
        gone = front(method, end.format(data["id"].split(":")[-1]), key=admin.key)
        assert gone.status in {200, 204}
        refused += front("GET", "/v1/whoami", key=key).status == 401
    assert refused == ROUNDS


def _family(people: People, admin: Holder) -> tuple[Holder, Holder, Holder]:
    """Make a key, one that it made, and one that this made."""
    root = people.key(admin)
    child = people.key(root)
    return root, child, people.key(child)


DELETES = ["/v1/api-keys/{}", "/api/auth/keys/{}"]


def test_the_admin_surface_lists_the_descendants_that_end(front: Front, people: People) -> None:
    admin = people.tenant()
    root, child, grandchild = _family(people, admin)
    path = f"/admin/api-keys/{root.key_id}/revoke"
    plain = front("POST", path, key=admin.key)
    assert plain.json()["data"] == {
        "id": f"api_key:{root.key_id}",
        "revoked": True,
        "live_descendants": 2,
    }
    assert front("GET", "/v1/whoami", key=child.key).status == 200
    ended = front("POST", path, key=admin.key, body={"descendants": True})
    assert ended.status == 200
    assert ended.json()["data"] == {
        "id": f"api_key:{root.key_id}",
        "revoked": True,
        "ended": [f"api_key:{child.key_id}", f"api_key:{grandchild.key_id}"],
    }
    for key in (child, grandchild):
        assert front("GET", "/v1/whoami", key=key.key).status == 401
    assert front("POST", path, key=admin.key, body={"descendants": True}).status == 404


@pytest.mark.parametrize("path", DELETES)
def test_a_delete_ends_descendants_if_asked_and_counts_them(
    front: Front, people: People, path: str
) -> None:
    admin = people.tenant()
    root, child, grandchild = _family(people, admin)
    other, its_child, _ = _family(people, admin)
    plain = front("DELETE", path.format(root.key_id), key=admin.key)
    assert (plain.status, plain.headers["x-live-descendants"]) == (204, "2")
    assert front("GET", "/v1/whoami", key=grandchild.key).status == 200
    again = front("DELETE", path.format(root.key_id), key=admin.key)
    assert again.status == 404
    query = {"descendants": "true"}
    for key, gone in ((root, child), (other, its_child)):
        ended = front("DELETE", path.format(key.key_id), key=admin.key, query=query)
        assert (ended.status, ended.headers["x-ended-descendants"]) == (204, "2")
        assert front("GET", "/v1/whoami", key=gone.key).status == 401
    alone = front("DELETE", path.format(people.key(admin).key_id), key=admin.key)
    assert not [name for name in alone.headers if name.endswith("descendants")]


def _let_in(front: Front, by: Holder) -> str:
    """Redeem an invite that a key created; return the id of the new identity."""
    asked = {"name": "new", "type": "human"}
    code = front("POST", "/invite/create", key=by.key, body=asked).json()["data"]["code"]
    came = front("POST", "/invite", body={"code": code, "name": "bo", "type": "human"})
    return str(came.json()["data"]["identity"]["id"])


def test_members_whom_an_ended_key_let_in_are_listed_while_active(
    front: Front, people: People
) -> None:
    admin = people.tenant()
    root, child, _ = _family(people, admin)
    stays, goes = (_let_in(front, key) for key in (root, child))
    suspended = front(
        "PATCH", f"/admin/identities/{goes}", key=admin.key, body={"status": "suspended"}
    )
    assert suspended.status == 200
    path = f"/admin/api-keys/{root.key_id}/revoke"
    ended = front("POST", path, key=admin.key, body={"descendants": True}).json()["data"]
    assert ended["live_identities"] == [stays]
    assert len(ended["ended"]) == 4
    other, _, _ = _family(people, admin)
    _let_in(front, other)
    counted = front(
        "DELETE", f"/v1/api-keys/{other.key_id}", key=admin.key, query={"descendants": "true"}
    )
    assert (counted.status, counted.headers["x-live-identities"]) == (204, "1")


URL = "http://127.0.0.1:9000/in"


@pytest.mark.usefixtures("settings_key", "loopback_allowed", "delivery_queue")
def test_what_an_ended_family_changed_of_others_is_listed_and_stays(
    front: Front, people: People
) -> None:
    """Raised, revived and redirected things; not what was narrowed, or renamed, or has ended."""
    admin = people.tenant()
    root, child, _ = _family(people, admin)
    raised, revived, renamed, narrowed, gone = (people.key(admin, rate_limit=5) for _ in range(5))
    member, demoted = people.employee(admin), people.employee(admin)
    hooks = [
        front("POST", "/admin/webhooks", key=admin.key, body={"url": URL}).json()["data"]["id"]
        for _ in range(4)
    ]
    off = {"enabled": False}
    for by, method, path, body in (
        (admin, "PATCH", f"/v1/api-keys/{revived.key_id}", off),
        (root, "PATCH", f"/v1/api-keys/{raised.key_id}", {"rate_limit": 50}),
        (child, "PATCH", f"/v1/api-keys/{revived.key_id}", {"enabled": True}),
        (child, "PATCH", f"/v1/api-keys/{renamed.key_id}", {"name": "other"}),
        (child, "PATCH", f"/v1/api-keys/{narrowed.key_id}", {"rate_limit": 1}),
        (child, "PATCH", f"/v1/api-keys/{gone.key_id}", {"rate_limit": 50}),
        (admin, "DELETE", f"/v1/api-keys/{gone.key_id}", None),
        (child, "PATCH", f"/admin/identities/{member.identity_id}", {"is_admin": True}),
        (child, "PATCH", f"/admin/identities/{demoted.identity_id}", {"scopes": []}),
        (child, "PATCH", f"/admin/webhooks/{hooks[0]}", {"url": URL + "/moved"}),
        (root, "POST", f"/admin/webhooks/{hooks[1]}/rotate-secret", {}),
        (child, "PATCH", f"/admin/webhooks/{hooks[2]}", {"description": "other"}),
        (child, "PATCH", f"/admin/webhooks/{hooks[3]}", {"url": URL + "/moved"}),
        (admin, "DELETE", f"/admin/webhooks/{hooks[3]}", None),
    ):
        assert front(method, path, key=by.key, body=body).status in {200, 204}, path
    path = f"/admin/api-keys/{root.key_id}/revoke"
    data = front("POST", path, key=admin.key, body={"descendants": True}).json()["data"]
    assert data["changed"] == sorted(
        [
            *(f"api_key:{one.key_id}" for one in (raised, revived)),
            *hooks[:2],
            f"identity:{member.identity_id}",
        ]
    )
    assert len(data["ended"]) == 2
    assert front("GET", "/v1/whoami", key=raised.key).status == 200


@pytest.mark.usefixtures("settings_key", "loopback_allowed")
def test_services_with_a_restart_hook_end_with_the_key_that_registered_them(
    front: Front, people: People
) -> None:
    admin = people.tenant()
    root, child, _ = _family(people, admin)
    for name, by, hook in (("hooked", child, True), ("plain", child, False), ("own", admin, True)):
        body = {"name": name, "healthUrl": URL} | ({"restartUrl": URL} if hook else {})
        assert front("POST", "/api/services", key=by.key, body=body).status == 201
    path, query = f"/v1/api-keys/{root.key_id}", {"descendants": "true"}
    answer = front("DELETE", path, key=admin.key, query=query)
    assert answer.headers["x-ended-descendants"] == "3"
    listed = front("GET", "/api/services/list", key=admin.key).json()
    assert [one["name"] for one in listed] == ["own", "plain"]


@pytest.mark.parametrize("path", DELETES)
def test_descendants_must_be_true_or_false(front: Front, people: People, path: str) -> None:
    admin = people.tenant()
    root, _, _ = _family(people, admin)
    for value in ("maybe", ""):
        query = {"descendants": value}
        refused = front("DELETE", path.format(root.key_id), key=admin.key, query=query)
        assert refused.status == 400
    assert front("GET", "/v1/whoami", key=root.key).status == 200

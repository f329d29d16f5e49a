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


@pytest.mark.parametrize("path", DELETES)
def test_descendants_must_be_true_or_false(front: Front, people: People, path: str) -> None:
    admin = people.tenant()
    root, _, _ = _family(people, admin)
    for value in ("maybe", ""):
        query = {"descendants": value}
        refused = front("DELETE", path.format(root.key_id), key=admin.key, query=query)
        assert refused.status == 400
    assert front("GET", "/v1/whoami", key=root.key).status == 200

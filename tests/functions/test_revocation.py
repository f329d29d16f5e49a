"""A revoked key is refused on the very next request, 1000 times out of 1000."""

from __future__ import annotations

import itertools

import pytest

from support.actors.people import People
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

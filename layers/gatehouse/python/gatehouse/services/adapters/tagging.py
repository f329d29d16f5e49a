"""The tagging API: which functions and container services say that they are ours."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.services.model import TAG, Tagged

if TYPE_CHECKING:
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient

_PER_PAGE = 100
_MOST_PAGES = 5
_TRIES = 3


def search(client: ResourceGroupsTaggingAPIClient) -> list[Tagged]:
    """Find what carries the tag, at most 500 of it. Raises ControlPlaneError."""
    found: list[Tagged] = []
    token = ""
    for _ in range(_MOST_PAGES):
        answer = _page(client, token)
        found += [
            Tagged(entry["ResourceARN"], {tag["Key"]: tag["Value"] for tag in entry["Tags"]})
            for entry in answer["ResourceTagMappingList"]
        ]
        token = answer.get("PaginationToken", "")
        if not token:
            break
    return found


def _page(client: ResourceGroupsTaggingAPIClient, token: str) -> dict[str, Any]:
    """Read a page, again with jitter while the account's 15 requests a second are used up."""
    for attempt in range(1, _TRIES + 1):
        try:
            page: dict[str, Any] = control_plane.call(
                client.get_resources,
                TagFilters=[{"Key": TAG}],
                ResourceTypeFilters=["lambda:function", "ecs:service"],
                ResourcesPerPage=_PER_PAGE,
                PaginationToken=token,
            )
        except control_plane.ControlPlaneBusy:
            if attempt == _TRIES:
                raise
            time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter
        else:
            return page
    raise AssertionError("the last try answers or raises")

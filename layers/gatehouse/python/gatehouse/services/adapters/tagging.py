"""The tagging API: the Lambda functions and ECS services that carry the service tag."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.core.retry import Backoff
from gatehouse.services.model import TAG, TaggedResource

if TYPE_CHECKING:
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient

_PER_PAGE = 100
_MOST_PAGES = 5
# For when the account's 15 requests a second are used up: wait 0.05 to 0.2 s.
_QUOTA = Backoff(3, first=0.2, longest=0.2, least=0.25)


def search(client: ResourceGroupsTaggingAPIClient) -> list[TaggedResource]:
    """Return at most 500 tagged resources. Raises ControlPlaneError."""
    found: list[TaggedResource] = []
    token = ""
    for _ in range(_MOST_PAGES):
        page = _QUOTA.call(partial(_read_page, client, token), on=control_plane.ControlPlaneBusy)
        found += [
            TaggedResource(
                entry["ResourceARN"], {tag["Key"]: tag["Value"] for tag in entry["Tags"]}
            )
            for entry in page["ResourceTagMappingList"]
        ]
        token = page.get("PaginationToken", "")
        if not token:
            break
    return found


def _read_page(client: ResourceGroupsTaggingAPIClient, token: str) -> dict[str, Any]:
    page: dict[str, Any] = control_plane.call(
        client.get_resources,
        TagFilters=[{"Key": TAG}],
        ResourceTypeFilters=["lambda:function", "ecs:service"],
        ResourcesPerPage=_PER_PAGE,
        PaginationToken=token,
    )
    return page

"""The subscription filter of a watched group: put by who looks, taken away by the sweeper."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gatehouse.aws import control_plane
from gatehouse.core.clock import Micros
from gatehouse.core.observe import logger
from gatehouse.dynamo.table import Table
from gatehouse.logs import rules, watch_store
from gatehouse.logs.model import Watch

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_PREFIX = "gatehouse-"


def ensure(
    table: Table, client: CloudWatchLogsClient, watch: Watch, *, to: str, now: Micros
) -> Watch:
    """See to it that the group's lines are sent to a function, as far as CloudWatch lets us.

    Each watch has a filter of its own name, so that one being deleted late is never the new one.
    What stands in the way (a group has two filters at most) is seen in the watch: no `filter_at`.
    """
    if not rules.is_filter_due(watch, now):
        return watch
    group, name = watch.group, _PREFIX + secrets.token_hex(4)
    asked = watch_store.ask_filter(table, group, name=name, now=now)
    if asked is None:
        return watch
    try:
        control_plane.call(
            client.put_subscription_filter,
            logGroupName=group,
            filterName=asked.filter,
            filterPattern="",
            destinationArn=to,
        )
    except control_plane.ControlPlaneError as failed:
        logger.warning("no_filter", log_group=group, reason=failed.code)
        if watch.filter_at is None or isinstance(failed, control_plane.ResourceMissing):
            watch_store.has_none(table, group)
    else:
        watch_store.has_filter(table, group, name=asked.filter, now=now)
    return watch_store.read(table, group) or asked


def take_away(table: Table, client: CloudWatchLogsClient, watch: Watch) -> None:
    """Delete the filters that a watch has no use for. Raises ControlPlaneError."""
    for name in watch.retiring:
        try:
            control_plane.call(
                client.delete_subscription_filter, logGroupName=watch.group, filterName=name
            )
        except control_plane.ResourceMissing:
            continue
    watch_store.retired(table, watch.group, watch.retiring)

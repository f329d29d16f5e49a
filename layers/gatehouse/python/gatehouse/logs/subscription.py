"""The subscription filter of a log group: the relay puts it, the sweeper deletes it."""

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


def ensure_filter(
    table: Table, client: CloudWatchLogsClient, watch: Watch, *, to: str, now: Micros
) -> Watch:
    """Put the filter that sends the group's lines to a function, if that is due.

    Each filter has a new name, so that a late delete never hits a newer filter. If CloudWatch
    rejects it (a group has at most two), the watch that is returned has no `filter_at`.
    """
    if not rules.is_filter_due(watch, now):
        return watch
    group, name = watch.group, _PREFIX + secrets.token_hex(4)
    started = watch_store.start_filter(table, group, name=name, now=now)
    if started is None:
        return watch
    try:
        control_plane.call(
            client.put_subscription_filter,
            logGroupName=group,
            filterName=started.filter,
            filterPattern="",
            destinationArn=to,
        )
    except control_plane.ControlPlaneError as failed:
        logger.warning("filter_rejected", log_group=group, reason=failed.code)
        if watch.filter_at is None or isinstance(failed, control_plane.ResourceMissing):
            watch_store.filter_rejected(table, group)
    else:
        watch_store.filter_accepted(table, group, name=started.filter, now=now)
    return watch_store.find(table, group) or started


def delete_retired(table: Table, client: CloudWatchLogsClient, watch: Watch) -> None:
    """Delete the filters that a watch no longer needs. Raises ControlPlaneError."""
    for name in watch.retiring:
        try:
            control_plane.call(
                client.delete_subscription_filter, logGroupName=watch.group, filterName=name
            )
        except control_plane.ResourceMissing:
            continue
    watch_store.filters_deleted(table, watch.group, watch.retiring)

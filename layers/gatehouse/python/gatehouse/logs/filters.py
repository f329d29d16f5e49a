"""The subscription filter of a watched group: put by who looks, taken away by the sweeper."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gatehouse import aws
from gatehouse.clock import Micros
from gatehouse.logs import rules, watches
from gatehouse.logs.model import Watch
from gatehouse.observe import logger
from gatehouse.table import Table

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
    asked = watches.ask_filter(table, group, name=name, now=now)
    if asked is None:
        return watch
    try:
        aws.call(
            client.put_subscription_filter,
            logGroupName=group,
            filterName=asked.filter,
            filterPattern="",
            destinationArn=to,
        )
    except aws.Failed as failed:
        logger.warning("no_filter", log_group=group, reason=failed.code)
        if watch.filter_at is None or isinstance(failed, aws.Missing):
            watches.has_none(table, group)
    else:
        watches.has_filter(table, group, name=asked.filter, now=now)
    return watches.read(table, group) or asked


def take_away(table: Table, client: CloudWatchLogsClient, watch: Watch) -> None:
    """Delete the filters that a watch has no use for. Raises Failed of `aws`."""
    for name in watch.retiring:
        try:
            aws.call(client.delete_subscription_filter, logGroupName=watch.group, filterName=name)
        except aws.Missing:
            continue
    watches.retired(table, watch.group, watch.retiring)

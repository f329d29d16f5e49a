"""API Gateway's management of open sockets: a frame out, or the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.core.observe import logger

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient


class Gone(Exception):
    """The socket is closed, or not open yet."""


class Stuck(Exception):
    """The frame was not taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of one WebSocket API."""

    client: ApiGatewayManagementApiClient = field(repr=False)

    def post(self, connection: str, frame: str) -> None:
        """Send one frame. Raises Gone, Stuck."""
        try:
            self.client.post_to_connection(ConnectionId=connection, Data=frame.encode())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if _is_gone(error, code):
                raise Gone from error
            raise Stuck(code) from error
        except BotoCoreError as error:
            raise Stuck(type(error).__name__) from error

    def close(self, connection: str) -> None:
        """End a socket, if it is still there. Raises Stuck."""
        try:
            self.client.delete_connection(ConnectionId=connection)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if not _is_gone(error, code):
                raise Stuck(code) from error
        except BotoCoreError as error:
            raise Stuck(type(error).__name__) from error

    def end(self, connection: str, farewell: str) -> None:
        """Say farewell, and close. What cannot be reached is closed as far as it goes."""
        acts: tuple[Callable[[], None], ...] = (
            lambda: self.post(connection, farewell),
            lambda: self.close(connection),
        )
        for act in acts:
            try:
                act()
            except (Gone, Stuck) as failed:
                logger.info("not_reached", connection_id=connection, reason=type(failed).__name__)


def _is_gone(error: ClientError, code: str) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code == "GoneException" or status == 410  # noqa: PLR2004 - HTTP's Gone

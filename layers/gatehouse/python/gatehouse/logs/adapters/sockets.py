"""API Gateway's management of open sockets: send a frame, or close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.core.observe import logger

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient


class ConnectionGone(Exception):
    """The socket is closed, or not open yet."""


class ConnectionStuck(Exception):
    """API Gateway did not accept the request; the message is its code."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of one WebSocket API."""

    client: ApiGatewayManagementApiClient = field(repr=False)

    def post(self, connection: str, frame: str) -> None:
        """Send one frame. Raises ConnectionGone, ConnectionStuck."""
        try:
            self.client.post_to_connection(ConnectionId=connection, Data=frame.encode())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if _is_gone(error, code):
                raise ConnectionGone from error
            raise ConnectionStuck(code) from error
        except BotoCoreError as error:
            raise ConnectionStuck(type(error).__name__) from error

    def close(self, connection: str) -> None:
        """Close a socket, if it is open. Raises ConnectionStuck."""
        try:
            self.client.delete_connection(ConnectionId=connection)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if not _is_gone(error, code):
                raise ConnectionStuck(code) from error
        except BotoCoreError as error:
            raise ConnectionStuck(type(error).__name__) from error

    def end(self, connection: str, last_frame: str) -> None:
        """Send a last frame and close the socket. Failures are logged, not raised."""
        steps: tuple[Callable[[], None], ...] = (
            lambda: self.post(connection, last_frame),
            lambda: self.close(connection),
        )
        for step in steps:
            try:
                step()
            except (ConnectionGone, ConnectionStuck) as failed:
                logger.info(
                    "socket_not_closed", connection_id=connection, reason=type(failed).__name__
                )


def _is_gone(error: ClientError, code: str) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code == "GoneException" or status == 410  # noqa: PLR2004 - HTTP's Gone

"""Viewers of live logs for the end-to-end tests: real sockets, each read by a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from support.worlds.deployed_stack import Deployed

LARGEST_FRAME = 32 * 1024


class Viewer:
    """One open socket that records each frame. `close` ends it as a viewer would."""

    def __init__(
        self, stack: Deployed, service: str, *, key: str | None = None, **query: Any
    ) -> None:
        self._socket = connect_viewer(stack, service, key=key or stack.admin_key, **query)
        self.frames: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.ended = threading.Event()
        self._received = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._thread.join(10)

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines received so far, repeats included."""
        with self._received:
            return [line for frame in self.frames for line in frame.get("lines", ())]

    def messages(self) -> list[str]:
        """Return the text of each line once."""
        return list({line["id"]: line["message"] for line in self.lines()}.values())

    def wait(
        self, condition: Callable[[Self], bool], *, within: float = 30.0, why: str = ""
    ) -> None:
        """Wait until the condition holds for what has been received."""
        until = time.monotonic() + within
        with self._received:
            while not condition(self):
                left = until - time.monotonic()
                assert left > 0, (why, [frame.get("type") for frame in self.frames][-5:])
                self._received.wait(left)

    def wait_for(self, *messages: str, within: float = 30.0) -> None:
        """Wait until lines with these endings have been received, in any order."""
        self.wait(
            lambda viewer: all(
                any(text.endswith(message) for text in viewer.messages()) for message in messages
            ),
            within=within,
            why=f"{messages} did not arrive",
        )

    def wait_for_backlog(self) -> Self:
        """Wait for the first log frame: everything after it is live."""
        self.wait(
            lambda viewer: any(frame["type"] == "log" for frame in viewer.frames),
            why="no backlog arrived",
        )
        return self

    def _read(self) -> None:
        try:
            for text in self._socket:
                with self._received:
                    self.frames.append(json.loads(text))
                    self.sizes.append(len(text))
                    self._received.notify_all()
        except ConnectionClosed:
            pass
        self.ended.set()


def connect_viewer(
    stack: Deployed, service: str, *, key: str | None, **query: Any
) -> ClientConnection:
    """Open a socket to a service's logs, or raise InvalidStatus."""
    text = f"?{urlencode(query)}" if query else ""
    return connect(
        f"{stack.url.replace('http', 'ws', 1)}/api/services/{service}/logs{text}",
        additional_headers={"Authorization": f"Bearer {key}"} if key else {},
        compression=None,
        open_timeout=60,
        max_size=2 * LARGEST_FRAME,
        max_queue=None,
        proxy=None,
    )


def upgrade_status(stack: Deployed, service: str, *, key: str | None, **query: Any) -> int:
    """Return the status that answers the upgrade: 101, or that of the refusal."""
    try:
        with connect_viewer(stack, service, key=key, **query):
            return 101
    except InvalidStatus as error:
        return error.response.status_code

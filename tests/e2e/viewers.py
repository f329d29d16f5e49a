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

from e2e.deployed import Deployed

LARGEST_FRAME = 32 * 1024


class Viewer:
    """One open socket. Frames are kept as they come; `close` ends it as a viewer would."""

    def __init__(
        self, stack: Deployed, service: str, *, key: str | None = None, **query: Any
    ) -> None:
        self._socket = opened(stack, service, key=key or stack.admin_key, **query)
        self.frames: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.ended = threading.Event()
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._socket.close()
        self._thread.join(10)

    def lines(self) -> list[dict[str, Any]]:
        """Give every line in the order in which it came, repeats included."""
        with self._came:
            return [line for frame in self.frames for line in frame.get("lines", ())]

    def messages(self) -> list[str]:
        """Give what the lines say, each line once."""
        return list({line["id"]: line["message"] for line in self.lines()}.values())

    def wait(self, told: Callable[[Self], bool], *, within: float = 20.0, why: str = "") -> None:
        """Wait until what has come is enough."""
        until = time.monotonic() + within
        with self._came:
            while not told(self):
                left = until - time.monotonic()
                assert left > 0, (why, [frame.get("type") for frame in self.frames][-5:])
                self._came.wait(left)

    def wait_for(self, *messages: str, within: float = 20.0) -> None:
        """Wait until lines that end so have come, in any order."""
        self.wait(
            lambda one: all(
                any(said.endswith(message) for said in one.messages()) for message in messages
            ),
            within=within,
            why=f"{messages} did not come",
        )

    def wait_for_backlog(self) -> Self:
        """Wait for the first frame: what comes after it is live."""
        self.wait(lambda one: any(frame["type"] == "log" for frame in one.frames), why="no backlog")
        return self

    def _read(self) -> None:
        try:
            for text in self._socket:
                with self._came:
                    self.frames.append(json.loads(text))
                    self.sizes.append(len(text))
                    self._came.notify_all()
        except ConnectionClosed:
            pass
        self.ended.set()


def opened(stack: Deployed, service: str, *, key: str | None, **query: Any) -> ClientConnection:
    """Open a socket, or raise InvalidStatus."""
    asked = f"?{urlencode(query)}" if query else ""
    return connect(
        f"{stack.url.replace('http', 'ws', 1)}/api/services/{service}/logs{asked}",
        additional_headers={"Authorization": f"Bearer {key}"} if key else {},
        compression=None,
        open_timeout=60,
        max_size=2 * LARGEST_FRAME,
        max_queue=None,
        proxy=None,
    )


def refused(stack: Deployed, service: str, *, key: str | None, **query: Any) -> int:
    """Give the status with which a socket is refused."""
    try:
        with opened(stack, service, key=key, **query):
            return 101
    except InvalidStatus as error:
        return error.response.status_code

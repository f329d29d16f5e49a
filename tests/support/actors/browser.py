"""One visit of the page: a browser window of its own that records whatever went wrong in it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, WebSocket

# What the browser itself reports for an answer of 400 or more. A journey says which it provokes.
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
_PATIENCE = 60_000  # ms
_KEY = re.compile(r"(?:hb|hk|chorus)_[0-9a-f]{72}|whsec_[A-Za-z0-9+/=]{40,}")


class Visit:
    """`page` is the browser's page. `refusals` are the statuses of 400 or more that came back.

    `finish` asserts that the visit was clean; a journey that provokes refusals takes them out of
    `refusals` before, or names them in `expect_refusals`.
    """

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, **context)
        self.page: Page = self.context.new_page()
        # A function's first call takes seconds on a busy machine, and a view has several.
        self.page.set_default_timeout(_PATIENCE)
        self.problems: list[str] = []
        self.refusals: list[int] = []
        self._expected: set[int] = set()
        self._own = urlsplit(url).netloc
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.on("websocket", self._websocket)

    def expect_refusals(self, *statuses: int) -> None:
        """Allow answers of these statuses from now on."""
        self._expected.update(statuses)

    def open(self, view: str = "") -> None:
        """Go to a view by its address."""
        self.page.goto(f"{self.url}/ui#/{view}")

    def sign_in(self, key: str) -> None:
        """Sign in with a key, and wait for the overview."""
        self.open()
        self.page.get_by_label("API key").fill(key)
        self.button("Sign in").click()
        self.heading("Overview").wait_for()

    def go(self, view: str) -> None:
        """Follow the navigation to a view."""
        self.page.get_by_role("navigation").get_by_role("link", name=view, exact=True).click()
        self.heading(view).wait_for()

    def heading(self, name: str) -> Locator:
        """Find a heading."""
        return self.page.get_by_role("heading", name=name, exact=True)

    def button(self, name: str) -> Locator:
        """Find a button, in the open dialog if there is one."""
        dialog = self.page.get_by_role("dialog")
        where = dialog if dialog.count() else self.page
        return where.get_by_role("button", name=name, exact=True)

    def field(self, name: str) -> Locator:
        """Find a field by its label."""
        return self.page.get_by_label(name, exact=True)

    def row(self, text: str) -> Locator:
        """Find a row of a table."""
        return self.page.get_by_role("row").filter(has_text=text)

    def secret(self) -> str:
        """Return the secret that a dialog shows once."""
        shown = self.page.locator(".once code")
        shown.wait_for()
        return shown.inner_text()

    def finish(self) -> None:
        """Close the window; assert that nothing went wrong and that no secret stayed."""
        try:
            left = self.page.evaluate(
                "() => [document.documentElement.outerHTML, location.href,"
                " JSON.stringify(localStorage), JSON.stringify(sessionStorage),"
                " JSON.stringify(history.state)].join('\\n')"
            )
        finally:
            self.context.close()
        assert self.problems == []
        assert set(self.refusals) <= self._expected, self.refusals
        assert not _KEY.search(left), "a secret stayed in the page"

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        refused = _REFUSED.match(message.text)
        if refused:
            self.refusals.append(int(refused[1]))
        else:
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self._own:
            self.problems.append(f"a request to {request.url}")

    def _websocket(self, socket: WebSocket) -> None:
        if urlsplit(socket.url).netloc != self._own:
            self.problems.append(f"a socket to {socket.url}")

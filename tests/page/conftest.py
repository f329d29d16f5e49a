"""Journeys through the page in a real browser, on the one deployed stack of the run.

Without Chromium they are skipped with a sentence; where CI=true they fail. Each page asserts at its
end that the browser reported no error, that the policy refused nothing, that nothing was asked of
another host, and that no key stayed in the document, the storage, the history or the address.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from support.actors.browser import Visit
from support.worlds import stack_plugin
from support.worlds.deployed_stack import Deployed

# Debian's, and where other systems have it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    *("--disable-background-networking", "--disable-component-update", "--disable-quic"),
    *("--disable-sync", "--no-first-run"),
]


def pytest_configure(config: pytest.Config) -> None:
    stack_plugin.register(config)


def _chromium() -> str | None:
    named = os.environ.get("GATEHOUSE_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = _chromium()
    if path is None or not Path(path).is_file():
        why = "no Chromium: install it, or name it in GATEHOUSE_CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *root])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser, stack: Deployed) -> Iterator[Callable[..., Visit]]:
    """Open a page of its own: `visit()`, or with a key to sign in."""
    visits: list[Visit] = []

    def open_page(key: str | None = None, **context: object) -> Visit:
        opened = Visit(browser, stack.url, **context)
        visits.append(opened)
        if key is not None:
            opened.sign_in(key)
        return opened

    yield open_page
    for opened in visits:
        opened.finish()

"""All tests on the deployed stack share one, in as many processes as the run has.

`make test` runs the files side by side. A test that no other test may disturb, since it changes
the functions or needs a silent stack, is marked `alone`. A test that only waits, and neither
calls the stack nor minds its changes, is marked `passive`: tests that are alone run beside it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.worlds.deployed_stack import Deployed
from support.worlds.shared_stack import StackHost, roomy_memory, turn, wait_for_stack

# Order of the files: first one that needs no stack, since the stack is still starting; then the
# longest; last the one that must be alone. A file that is not named here comes in between.
FIRST = (
    "test_receivers",
    "test_delays",
    "test_live_logs",
    "test_deliveries",
    "test_services",
)
LAST = ("test_alone",)

_host = pytest.StashKey[StackHost]()
_folder = pytest.StashKey[Path]()


def register(config: pytest.Config) -> None:
    """Use this plugin in a run; the conftest of each folder on the stack calls it."""
    name = "deployed-stack"
    if not config.pluginmanager.has_plugin(name):
        config.pluginmanager.register(sys.modules[__name__], name)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: no other test uses the stack at the same time")
    config.addinivalue_line("markers", "passive: tests marked alone may run at the same time")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the stack's folder to a worker; the first worker's start starts the stack."""
    node.workerinput["stack_folder"] = str(_started(node.config))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[Any]:
    """Stop the stack after the last test, while coverage is still measured."""
    try:
        return (yield)
    finally:
        host = session.config.stash.get(_host, None)
        if host is not None:
            host.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files; a run in several processes starts them in this order."""
    items.sort(key=lambda item: _place(item.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Let a test begin when it is its turn to use the stack."""
    uses_stack = "stack" in getattr(item, "fixturenames", ())
    if not uses_stack or item.get_closest_marker("passive"):
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    with turn(_folder_of(item.config), alone=alone):
        return (yield)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Deployed:
    """The real template, deployed once, restarted, and up until the last test."""
    return wait_for_stack(_folder_of(request.config))


def _place(path: Path) -> int:
    """Return the place of a test file in the order."""
    if path.stem in FIRST:
        return FIRST.index(path.stem)
    if path.stem in LAST:
        return len(FIRST) + 1 + LAST.index(path.stem)
    return len(FIRST)


def _folder_of(config: pytest.Config) -> Path:
    workerinput = getattr(config, "workerinput", None)
    return _started(config) if workerinput is None else Path(workerinput["stack_folder"])


def _started(config: pytest.Config) -> Path:
    """Return the folder of this process's stack; start the stack on the first call."""
    if _host not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="gatehouse-e2e-", dir=roomy_memory())
        config.add_cleanup(folder.cleanup)
        config.stash[_folder] = Path(folder.name)
        config.stash[_host] = StackHost(config.stash[_folder])
    return config.stash[_folder]

from collections.abc import Iterator

import pytest

from e2e.deployed import Deployed, deployed
from gatehouse_cli.local.folder import LocalFolder


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The real template, deployed once, restarted, and up until the last test."""
    with deployed(LocalFolder(tmp_path_factory.mktemp("gatehouse"))) as up:
        yield up

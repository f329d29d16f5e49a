"""Tests end to end: each uses the one deployed stack of the run."""

from __future__ import annotations

import pytest

from support.worlds import stack_plugin


def pytest_configure(config: pytest.Config) -> None:
    stack_plugin.register(config)

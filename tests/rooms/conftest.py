"""Fixtures that several test files of rooms share."""

from __future__ import annotations

import pytest

from gatehouse.dynamo.table import Tables
from gatehouse.secrets import actions as vaults
from support.worlds.deliveries import DeliveryWorld


@pytest.fixture
def world(tables: Tables, settings_key: str, aws: pytest.MonkeyPatch) -> DeliveryWorld:
    assert settings_key
    aws.setenv("GATEHOUSE_SIGNAL_DAYS", "30")
    return DeliveryWorld(tables, vaults.vault(tables.main))

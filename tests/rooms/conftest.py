"""Fixtures that several test files of rooms share."""

from __future__ import annotations

import pytest

from gatehouse.dynamo.table import Tables
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from support.actors.members import new_vault, unlimited_admin
from support.actors.visitor import Visitor
from support.worlds.deliveries import DeliveryWorld


@pytest.fixture
def caller(tables: Tables) -> Visitor:
    """The admin of an account of its own, whose key has no rate limit."""
    return unlimited_admin(tables)


@pytest.fixture
def vault(settings_key: str, tables: Tables) -> Vault:
    """A vault with a KMS key of its own."""
    del settings_key, tables
    return new_vault()


@pytest.fixture
def world(tables: Tables, settings_key: str, aws: pytest.MonkeyPatch) -> DeliveryWorld:
    assert settings_key
    aws.setenv("GATEHOUSE_SIGNAL_DAYS", "30")
    return DeliveryWorld(tables, vaults.vault(tables.main))

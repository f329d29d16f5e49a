"""functions → a room's actions → rules, store → model → kernel, and vendors in one home each."""

from __future__ import annotations

import ast
import re

import pytest

from house import sources
from house.sources import Module

# Where a third-party package may be named. Rooms in brackets are whole rooms.
HOMES = {
    "boto3": {"gatehouse.wiring"},
    "botocore": {
        *("gatehouse.aws", "gatehouse.dynamodb", "gatehouse.queue", "gatehouse.wiring"),
        *("gatehouse.logs.sockets", "[secrets]"),
    },
    "mypy_boto3_apigatewaymanagementapi": {"gatehouse.logs.sockets", "gatehouse.wiring"},
    "mypy_boto3_cloudwatch": {"gatehouse.aws", "gatehouse.wiring", "[services]"},
    "mypy_boto3_dynamodb": {"gatehouse.dynamodb", "gatehouse.table", "gatehouse.wiring"},
    "mypy_boto3_ecs": {"gatehouse.aws", "gatehouse.wiring", "[services]"},
    "mypy_boto3_kms": {"gatehouse.wiring", "[secrets]"},
    "mypy_boto3_lambda": {"gatehouse.aws", "gatehouse.wiring", "[services]"},
    "mypy_boto3_logs": {"gatehouse.aws", "gatehouse.wiring", "[logs]", "[services]"},
    "mypy_boto3_resourcegroupstaggingapi": {"gatehouse.aws", "gatehouse.wiring", "[services]"},
    "mypy_boto3_sqs": {"gatehouse.queue", "gatehouse.wiring"},
    "cryptography": {"[secrets]"},
    "fastapi": {"gatehouse.http", "[functions]"},
    "starlette": {"gatehouse.http"},
    "mangum": {"gatehouse.http"},
    "pydantic": {"gatehouse.envelopes", "[functions]"},
    "siwe": {"gatehouse.wallets.signature"},
    "yaml": {"gatehouse.seeding.document"},
    "eth_utils": {"gatehouse.wallets.signature"},
    "aws_lambda_powertools": {"gatehouse.observe"},
    "urllib3": {"gatehouse.outbound"},
}
# What opens a connection, of the standard library and beside it: there is one door out.
DOORS = {
    *("socket", "ssl", "http.client", "http.server", "urllib.request", "urllib3", "asyncio"),
    *("requests", "httpx", "aiohttp", "socketserver", "ftplib", "smtplib", "imaplib", "poplib"),
    *("telnetlib", "xmlrpc", "websockets"),
}
# What rules and models may know of the standard library and the kernel is all but these.
IMPURE = {
    *("os", "secrets", "random", "time", "socket", "logging", "threading", "subprocess", "io"),
    *("gatehouse.dynamodb", "gatehouse.table", "gatehouse.queue", "gatehouse.wiring"),
    *("gatehouse.aws", "gatehouse.outbound"),
    *("gatehouse.http", "gatehouse.observe", "gatehouse.settings", "gatehouse.idempotency"),
}
PURE_VENDORS = {"cryptography"}  # a cipher is a function of its arguments

ROOMS = sources.rooms()
PURE = [module for module in ROOMS if module.part in {"model", "rules"}]


@pytest.mark.parametrize("module", sources.kernel(), ids=str)
def test_the_kernel_imports_no_room(module: Module) -> None:
    rooms = {other.name for other in ROOMS} | {f"gatehouse.{other.room}" for other in ROOMS}

    assert not module.imports() & rooms


@pytest.mark.parametrize("module", sources.functions(), ids=str)
def test_a_function_enters_a_room_by_its_actions(module: Module) -> None:
    entered = {room for room in ROOMS if room.name in module.imports()}

    assert {room.part for room in entered} <= {"actions", "model"}


@pytest.mark.parametrize("module", sources.functions(), ids=str)
def test_a_function_leaves_the_table_to_its_home(module: Module) -> None:
    assert "gatehouse.table" not in module.imports()


@pytest.mark.parametrize("module", ROOMS, ids=str)
def test_a_room_has_the_parts_that_every_room_has(module: Module) -> None:
    assert module.part in {*sources.PARTS, "vendor"}


def test_every_further_file_is_there() -> None:
    there = {f"{module.room}.{module.path.stem}" for module in ROOMS}

    assert set(sources.FURTHER) <= there


@pytest.mark.parametrize("module", ROOMS, ids=str)
def test_a_room_uses_of_another_only_model_and_actions(module: Module) -> None:
    others = [
        other for other in ROOMS if other.name in module.imports() and other.room != module.room
    ]

    assert {other.part for other in others} <= {"model", "actions"}


@pytest.mark.parametrize("module", ROOMS, ids=str)
def test_a_room_s_parts_know_only_those_below_them(module: Module) -> None:
    below = {
        "actions": {"actions", "rules", "store", "model", "vendor"},
        # Rules are pure: a store may ask them how to write. Of two stores one may use the other.
        "store": {"rules", "model", "store"},
        "rules": {"model"},
        "vendor": {"model"},
        "model": set(),
    }
    own = {
        other.part
        for other in ROOMS
        if other.name in module.imports() and other.room == module.room
    }

    assert own <= below[module.part]


@pytest.mark.parametrize(
    "module", [m for m in ROOMS if m.part in {"store", "rules", "model"}], ids=str
)
def test_only_actions_use_another_room_s_actions(module: Module) -> None:
    used = {other.part for other in ROOMS if other.name in module.imports()}

    assert "actions" not in used


@pytest.mark.parametrize("module", PURE, ids=str)
def test_rules_and_models_are_pure_however_far_one_looks(module: Module) -> None:
    reached = sources.reached(module)
    vendors = {sources.vendor(name) for name in reached} - {None} - PURE_VENDORS

    assert not vendors
    # The kernel's own clock and randomness lie beside pure functions; what counts is the naming.
    assert not module.imports() & IMPURE


@pytest.mark.parametrize("module", PURE, ids=str)
def test_rules_and_models_take_the_time_as_an_argument(module: Module) -> None:
    asked = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    named = {
        alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "gatehouse.clock"
        for alias in node.names
    }

    assert not {name for name in asked if re.fullmatch(r".*\.(now|today|utcnow)", name)}
    assert "now" not in named


@pytest.mark.parametrize("module", sources.everything(), ids=str)
def test_a_vendor_has_one_home(module: Module) -> None:
    place = f"[{module.room or module.name.partition('.')[0]}]"
    strays = {
        name
        for name in map(sources.vendor, module.imports())
        if name is not None and not {module.name, place} & HOMES.get(name, set())
    }

    assert not strays


@pytest.mark.parametrize("module", sources.everything(), ids=str)
def test_there_is_one_door_out(module: Module) -> None:
    opened = {
        door
        for door in DOORS
        for name in module.imports()
        if name == door or name.startswith(f"{door}.")
    }

    assert not opened or module.name == "gatehouse.outbound"


def test_the_door_out_is_seen_by_the_test_above() -> None:
    door = sources.by_name()["gatehouse.outbound"]

    assert {"socket", "ssl", "http.client", "urllib3"} <= {
        found for found in DOORS if any(name.startswith(found) for name in door.imports())
    }


def test_no_import_goes_in_a_circle() -> None:
    known = sources.by_name()
    circles = [name for name, module in known.items() if name in sources.reached(module)]

    assert not circles

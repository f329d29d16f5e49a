"""The walls of the house: which file may import which. Each rule lists every offender."""

from __future__ import annotations

import ast
import re

from house import sources
from house.sources import Module

# Where a third-party package may be imported. A name in brackets is a whole package or room.
HOMES = {
    "botocore": {
        *("[aws]", "[secrets]", "gatehouse.logs.adapters.sockets"),
    },
    "mypy_boto3_apigatewaymanagementapi": {"[aws]", "[logs]"},
    "mypy_boto3_cloudwatch": {"[aws]", "[services]"},
    "mypy_boto3_ecs": {"[aws]", "[services]"},
    "mypy_boto3_kms": {"[aws]", "[secrets]"},
    "mypy_boto3_lambda": {"[aws]", "[services]"},
    "mypy_boto3_logs": {"[aws]", "[logs]", "[services]"},
    "mypy_boto3_resourcegroupstaggingapi": {"[aws]", "[services]"},
    "mypy_boto3_sqs": {"[aws]"},
    "cryptography": {"[secrets]"},
    "fastapi": {"[web]", "[functions]"},
    "starlette": {"[web]"},
    "mangum": {"gatehouse.web.door"},
    # At the wire, and for the bootstrap file, whose errors name the field.
    "pydantic": {
        *("gatehouse.web.envelopes", "gatehouse.web.exact", "gatehouse.web.fields"),
        *("gatehouse.web.account_views", "gatehouse.web.admin_views", "gatehouse.web.people_views"),
        "[functions]",
        "gatehouse.bootstrap.adapters.file_schema",
    },
    "pydantic_core": {
        *("gatehouse.web.envelopes", "gatehouse.web.fields"),
        "gatehouse.bootstrap.adapters.file_schema",
    },
    "siwe": {"gatehouse.wallets.adapters.siwe_message"},
    "yaml": {"gatehouse.bootstrap.adapters.yaml_document"},
    "eth_utils": {"gatehouse.wallets.adapters.siwe_message"},
    "aws_lambda_powertools": {"gatehouse.core.observe"},
    "urllib3": {"gatehouse.outbound.exchange"},
}
# Modules that open connections, of the standard library and of others.
NETWORK = {
    *("socket", "ssl", "http.client", "http.server", "urllib.request", "urllib3", "asyncio"),
    *("requests", "httpx", "aiohttp", "socketserver", "ftplib", "smtplib", "imaplib", "poplib"),
    *("telnetlib", "xmlrpc", "websockets"),
}
# What may use it to reach hosts that callers name; rooms use the first alone.
CONNECTING = {
    *("gatehouse.outbound.client", "gatehouse.outbound.resolver", "gatehouse.outbound.wire"),
    "gatehouse.outbound.exchange",
}
# What may use it to reach DynamoDB.
TABLES = {"gatehouse.dynamo.kept_connections"}
# What rules and models must not import.
IMPURE = {
    *("os", "secrets", "random", "time", "socket", "logging", "threading", "subprocess", "io"),
    *("gatehouse.core.observe", "gatehouse.core.settings"),
    *CONNECTING,
}
IMPURE_PACKAGES = ("gatehouse.dynamo.", "gatehouse.aws.", "gatehouse.web.")
PURE_VENDORS = {"cryptography"}  # a cipher is a function of its arguments
PURE_MODULES = {"gatehouse.dynamo.attributes"}

# Which packages each package of the foundation may import, itself included.
FOUNDATION = {
    "core": {"core"},
    "aws": {"core", "aws"},
    "dynamo": {"core", "dynamo"},
    "outbound": {"core", "outbound"},
    "web": {"core", "dynamo", "web"},
}
# Which parts of its own room a part may import.
OWN = {
    "actions": {"actions", "writes", "rules", "store", "model", "adapter"},
    "writes": {"writes", "rules", "store", "model"},
    # Rules are pure, so a store may ask them how to write an item.
    "store": {"rules", "model", "store"},
    "adapter": {"model"},
    "rules": {"rules", "model"},
    "model": {"model"},
}
# Which parts of other rooms a part may import.
FOREIGN = {
    "actions": {"model", "actions", "writes"},
    "writes": {"model", "writes"},
    "store": {"model", "writes"},
    "adapter": {"model"},
    "rules": {"model"},
    "model": {"model"},
}

PACKAGE = [module for module in sources.everything() if module.room is not None]
ROOMS = sources.rooms()
PURE = [module for module in ROOMS if module.part in {"model", "rules"}]
KNOWN = sources.by_name()


def _imported(module: Module) -> list[Module]:
    return [KNOWN[name] for name in sorted(module.imports()) if name in KNOWN]


def test_foundation_packages_import_only_those_below_them() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in sources.foundation()
        for other in _imported(module)
        if other.room not in FOUNDATION[module.room or ""]
    ]

    assert not offenders


def test_only_functions_import_the_web_package() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in ROOMS
        for other in _imported(module)
        if other.room == "web"
    ]

    assert not offenders


def test_only_actions_send_requests_out() -> None:
    offenders = [
        module.name
        for module in ROOMS
        if CONNECTING & module.imports() and module.part != "actions"
    ]

    assert not offenders


def test_functions_enter_a_room_by_its_actions_or_model() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in sources.functions()
        for other in _imported(module)
        if other.room not in sources.FOUNDATION and other.part not in {"actions", "model"}
    ]

    assert not offenders


def test_functions_leave_the_table_to_dynamo_connection() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in sources.functions()
        for other in _imported(module)
        if other.room == "dynamo" and other.name != "gatehouse.dynamo.connection"
    ]

    assert not offenders


def test_rooms_use_only_model_actions_and_writes_of_other_rooms() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in ROOMS
        for other in _imported(module)
        if other.room not in {module.room, *sources.FOUNDATION}
        and other.part not in FOREIGN[module.part]
    ]

    assert not offenders


def test_parts_of_a_room_import_only_the_parts_below_them() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in ROOMS
        for other in _imported(module)
        if other.room == module.room and other.part not in OWN[module.part]
    ]

    assert not offenders


def test_rules_and_models_import_nothing_impure_even_indirectly() -> None:
    offenders = {}
    for module in PURE:
        reached = sources.reached(module)
        found = {sources.vendor(name) for name in reached} - {None} - PURE_VENDORS
        found |= module.imports() & IMPURE
        found |= {
            name
            for name in module.imports() - PURE_MODULES
            if f"{name}.".startswith(IMPURE_PACKAGES)
        }
        if found:
            offenders[module.name] = found

    assert not offenders


def test_rules_and_models_take_the_time_as_an_argument() -> None:
    offenders = {}
    for module in PURE:
        asked = {
            f"{node.value.id}.{node.attr}"
            for node in module.nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        named = {
            f"clock.{alias.name}"
            for node in module.nodes
            if isinstance(node, ast.ImportFrom) and node.module == "gatehouse.core.clock"
            for alias in node.names
        }
        found = {name for name in asked | named if re.fullmatch(r".*\.(now|today|utcnow)", name)}
        if found:
            offenders[module.name] = found

    assert not offenders


def test_each_vendor_is_imported_in_its_one_home() -> None:
    offenders = {}
    for module in sources.everything():
        place = f"[{module.room or module.name.partition('.')[0]}]"
        strays = {
            name
            for name in map(sources.vendor, module.imports())
            if name is not None and not {module.name, place} & HOMES.get(name, set())
        }
        if strays:
            offenders[module.name] = strays

    assert not offenders


def test_only_outbound_and_the_client_of_tables_open_connections() -> None:
    def opens(module: Module) -> set[str]:
        return {
            name
            for name in NETWORK
            for imported in module.imports()
            if imported == name or imported.startswith(f"{name}.")
        }

    found = {module.name: opens(module) for module in sources.everything() if opens(module)}

    inner = CONNECTING - {"gatehouse.outbound.client"}  # it asks the others
    assert set(found) == inner | TABLES
    assert {"socket", "ssl", "urllib3"} == set().union(*found.values())


def test_imports_form_no_cycle() -> None:
    assert not [name for name, module in KNOWN.items() if name in sources.reached(module)]


def test_no_module_reexports_a_name_under_an_alias() -> None:
    """`name = other_module.name` at module level hides where the name lives."""
    offenders = [
        f"{module}: {ast.unparse(node)}"
        for module in PACKAGE
        for node in module.tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
        and _is_module(module, node.value.value.id)
    ]

    assert not offenders


def _is_module(module: Module, name: str) -> bool:
    return any(
        (alias.asname or alias.name) == name and f"{node.module}.{alias.name}" in KNOWN
        for node in module.nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def test_each_class_name_stands_once() -> None:
    homes: dict[str, list[str]] = {}
    for module in PACKAGE:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module.name)

    assert not {name: where for name, where in homes.items() if len(where) > 1}

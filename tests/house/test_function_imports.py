"""The packages that each function loads: every one of them costs time at a cold start.

A function that loads another package, or one package less, needs a change of this list.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from house import sources
from house.sources import FUNCTIONS, PACKAGE, ROOT

BOTOCORE = {"botocore", "dateutil", "jmespath", "six", "urllib3"}
# To register a header the logger loads botocore's first module, which loads no other of botocore.
POWERTOOLS = {"aws_lambda_powertools", "typing_extensions", "jmespath", "botocore"}
PYDANTIC = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
FASTAPI = PYDANTIC | {
    *("fastapi", "starlette", "anyio", "mangum", "opentelemetry", "annotated_doc"),
}
API = POWERTOOLS | FASTAPI
CLOUD_API = BOTOCORE | API

VAULT = {"cryptography", "_cffi_backend"}
# Sign-In with Ethereum, in the one function that does it.
SIWE = {
    *("Crypto", "abnf", "bitarray", "cffi", "ckzg", "cytoolz", "ens", "hexbytes", "parsimonious"),
    *("eth_abi", "eth_account", "eth_hash", "eth_keyfile", "eth_keys", "eth_rlp", "eth_typing"),
    *("eth_utils", "pycparser", "regex", "rlp", "siwe", "toolz", "web3", "websockets"),
    *("aiohappyeyeballs", "aiohttp", "aiosignal", "attr", "frozenlist", "multidict", "propcache"),
    *("certifi", "charset_normalizer", "idna", "requests", "yarl"),
}

# What comes with a package that our modules import.
BRINGS = {
    "aws_lambda_powertools": POWERTOOLS,
    "botocore": BOTOCORE,
    "cryptography": VAULT,
    "eth_utils": SIWE,
    "fastapi": FASTAPI,
    "mangum": FASTAPI,
    "pydantic": PYDANTIC,
    "pydantic_core": PYDANTIC,
    "siwe": SIWE,
    "starlette": FASTAPI,
}

LOADED = {
    "keys_account": API,
    "keys_admin": API,
    "authorizer": POWERTOOLS,
    "bootstrap": BOTOCORE | POWERTOOLS | VAULT | PYDANTIC | {"yaml"},
    "deliveries": CLOUD_API | VAULT,
    "delivery_worker": BOTOCORE | POWERTOOLS | VAULT,
    "fan_out": BOTOCORE | POWERTOOLS | VAULT,
    "federation": CLOUD_API | VAULT,
    "keys_services": API,
    "log_relay": BOTOCORE | POWERTOOLS,
    "health_metrics": CLOUD_API,
    "people": API,
    "public": API,
    "services": CLOUD_API | VAULT,
    "slow_delivery_worker": BOTOCORE | POWERTOOLS | VAULT,
    "signals": API,
    "sockets": BOTOCORE | POWERTOOLS,
    "statistics": POWERTOOLS,
    "sweeper": BOTOCORE | POWERTOOLS,
    "rewrap": BOTOCORE | POWERTOOLS | VAULT,
    "secrets": CLOUD_API | VAULT,
    "verification": API,
    "page": set(),
    "sessions": API,
    "wallets": CLOUD_API | VAULT | SIWE,
    "webhooks": CLOUD_API | VAULT,
}
# On every request's path: each of our own modules here costs every cold start of the API.
AUTHORIZERS_OWN = {
    *("core.clock", "core.errors", "core.grants", "core.observe"),
    *("core.principal", "core.retry", "core.settings"),
    *("dynamo.answers", "dynamo.attributes", "dynamo.client", "dynamo.connection"),
    *("dynamo.endpoint", "dynamo.kept_connections", "dynamo.keyspace", "dynamo.signing"),
    *("dynamo.table", "dynamo.transactions", "dynamo.write_builder"),
    *("credentials.actions", "credentials.model", "credentials.rules", "credentials.store"),
    *("sessions.lookup", "sessions.model", "sessions.rules", "sessions.store"),
    *("core", "credentials", "dynamo", "sessions"),
}


@cache
def _packages(*, wallet: bool) -> tuple[set[str], set[str]]:
    """Name the top-level packages that the layer's lock brings, and what else is installed."""
    locks = ("deps", "wallet") if wallet else ("deps",)
    lock = "\n".join((ROOT / "layers" / one / "requirements.lock").read_text() for one in locks)
    locked = {_plain(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", lock, re.MULTILINE)}
    owners = importlib.metadata.packages_distributions()
    layer = {top for top, dists in owners.items() if locked & {_plain(dist) for dist in dists}}
    return layer, owners.keys() - layer - {"gatehouse"}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _loaded(function: str) -> dict[str, Any]:
    environment = {
        "PATH": os.defpath,
        # Without `site` no .pth file of this environment brings in anything by itself.
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), sysconfig.get_path("purelib")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GATEHOUSE_KEYS_TABLE": "keys",
        "GATEHOUSE_MAIN_TABLE": "main",
        "GATEHOUSE_DELIVERY_QUEUE": "queue",
        "GATEHOUSE_SLOW_DELIVERY_QUEUE": "slow",
    }
    script = Path(__file__).with_name("loads.py")
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            script,
            FUNCTIONS / function,
            *map(",".join, _packages(wallet=function == "wallets")),
        ],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_list_names_every_function() -> None:
    assert set(LOADED) == sources.lambdas()


def test_functions_import_the_vendors_that_are_listed() -> None:
    """Read off the source: what our modules import, and the packages that come with each."""
    wrong = {}
    for function in sources.functions():
        vendors = {sources.vendor(name) for name in sources.reached(function)} - {None}
        found = set().union(*(BRINGS[vendor] for vendor in vendors if vendor in BRINGS))
        found |= {vendor for vendor in vendors if vendor not in BRINGS}
        expected = LOADED[function.name.removeprefix("functions.")]
        if found != expected:
            wrong[function.name] = found ^ expected

    assert not wrong


def test_the_authorizer_imports_of_ours_what_it_needs() -> None:
    [authorizer] = [one for one in sources.functions() if one.name == "functions.authorizer"]
    modules = {name for name in sources.reached(authorizer) if name.startswith("gatehouse.")}
    packages = {name.rpartition(".")[0] for name in modules} - {"gatehouse"}

    assert {name.removeprefix("gatehouse.") for name in modules | packages} == AUTHORIZERS_OWN


def test_what_is_before_every_answer_loads_no_web_framework() -> None:
    for function in ("authorizer", "sockets", "log_relay"):
        assert not LOADED[function] & {*FASTAPI, "boto3"}
    assert LOADED["authorizer"] == POWERTOOLS


@pytest.mark.slow
@pytest.mark.parametrize("function", LOADED)
def test_a_function_loads_what_is_listed_and_nothing_else(function: str) -> None:
    """The same in a process that holds nothing else: 23 processes, so not in `make check`."""
    loaded = _loaded(function)

    assert set(loaded["packages"]) == LOADED[function]
    if function == "authorizer":
        assert {name.removeprefix("gatehouse.") for name in loaded["ours"]} == AUTHORIZERS_OWN

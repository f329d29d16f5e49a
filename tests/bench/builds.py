"""What is measured, built as it ships: our layers by their own Makefiles, the usual way by copy.

Everything lies in .gatehouse/bench and runs on an interpreter without packages of its own, so
that nothing of the development environment is found by accident.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".gatehouse" / "tools"
_USUAL = ROOT / "tests" / "bench" / "usual"
_NO_BYTECODE = shutil.ignore_patterns("__pycache__")
_RUNTIME_CLIENT = ("awslambdaric", "simplejson", "snapshot_restore_py", "runtime_client")


@dataclass(frozen=True, slots=True)
class Builds:
    """The folders of a build. `usual_compiled` adds the bytecode that SAM leaves out."""

    python: Path
    runtime_client: Path
    functions: Path
    deps: Path
    gatehouse: Path
    wallet: Path
    usual: Path
    usual_compiled: Path


def build(place: Path) -> Builds:
    """Build everything from scratch."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", place / "python"],
        check=True,
    )
    builds = Builds(
        python=place / "python" / "bin" / "python",
        runtime_client=place / "runtime_client",
        functions=place / "functions",
        deps=_layer("deps", "DepsLayer", place),
        gatehouse=_layer("gatehouse", "GatehouseLayer", place),
        wallet=_layer("wallet", "WalletLayer", place),
        usual=place / "usual",
        usual_compiled=place / "usual_compiled",
    )
    _copy_runtime_client(builds.runtime_client)
    # As SAM ships them: only the handler's source.
    shutil.copytree(ROOT / "functions", builds.functions, ignore=_NO_BYTECODE)
    _install_usual(builds.usual)
    shutil.copytree(builds.usual, builds.usual_compiled)
    for folder in (builds.usual_compiled, builds.runtime_client):
        _compile(folder)
    return builds


def _layer(folder: str, name: str, place: Path) -> Path:
    artifacts = place / name
    artifacts.mkdir()
    environment = os.environ | {
        "ARTIFACTS_DIR": str(artifacts),
        "GATEHOUSE_UV": str(TOOLS / "uv" / "bin" / "uv"),
        "GATEHOUSE_RUNTIME": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "GATEHOUSE_ARCHITECTURE": "host",
    }
    layer = ROOT / "layers" / folder
    subprocess.run(["make", "--silent", "-C", layer, f"build-{name}"], check=True, env=environment)
    return artifacts / "python"


def _copy_runtime_client(target: Path) -> None:
    """Copy only the runtime client from the development environment."""
    target.mkdir()
    for name in _RUNTIME_CLIENT:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(f"{name} is not installed: run `make setup`")
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, target / name, ignore=_NO_BYTECODE)
        else:
            shutil.copy2(origin, target)


def _install_usual(target: Path) -> None:
    """Install as `sam build` does: packages and handlers together, no bytecode."""
    subprocess.run(
        [
            TOOLS / "uv" / "bin" / "uv",
            *("pip", "install", "--quiet", "--no-deps", "--require-hashes"),
            *("--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"),
            *("--target", target / "packages"),
            *("--requirement", _USUAL / "requirements.lock"),
        ],
        check=True,
    )
    for name in ("authorizer", "keys_services"):
        shutil.copytree(_USUAL / name, target / name, ignore=_NO_BYTECODE)


def _compile(folder: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            *("-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"),
            folder,
        ],
        check=True,
    )

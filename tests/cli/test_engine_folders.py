"""What the engine unpacks for functions is one copy, whatever the number of their processes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.config import Config

from gatehouse_cli.local import engine, engine_access
from gatehouse_cli.local.built_files import link_copies
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.engine_folders import BUILT_VARIABLE, SharedArchive, share
from gatehouse_cli.local.folder import LocalFolder

PYTHON = Path(__file__).parents[2] / ".gatehouse" / "tools" / "engine" / "bin" / "python"
CONTENT = {"python/a.py": b"A = 1\n", "python/b/c.py": b"C = 2\n" * 1000}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv(BUILT_VARIABLE, str(tmp_path / "built"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def packed(content: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            # With a fixed time: the same content makes the same archive.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def unpack(scratch: Path, process: str, content: dict[str, bytes]) -> Path:
    """Unpack as the engine does it for a process; return the folder of the layer."""
    folder = scratch / process / "layer_0"
    folder.mkdir(parents=True)
    archive = scratch / process / "layer_0.zip"
    archive.write_bytes(packed(content))
    with SharedArchive(archive) as opened:
        opened.extractall(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def inodes(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_processes_share_one_copy_and_the_archive_is_deleted(scratch: Path) -> None:
    one, two = unpack(scratch, "one", CONTENT), unpack(scratch, "two", CONTENT)

    assert files(one.resolve()) == files(two.resolve()) == CONTENT
    assert one.resolve() == two.resolve()
    assert not list(scratch.rglob("*.zip"))


def test_processes_that_start_at_once_share_one_copy(scratch: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda n: unpack(scratch, str(n), CONTENT), range(16)))

    assert len({folder.resolve() for folder in folders}) == 1
    assert files(folders[0].resolve()) == CONTENT


def test_a_copy_that_no_process_uses_is_deleted_with_the_next_one(scratch: Path) -> None:
    old = unpack(scratch, "old", {"a.py": b"1"}).resolve()
    unpack(scratch, "other", {"a.py": b"2"})
    assert old.exists()
    (scratch / "old" / "layer_0").unlink()

    unpack(scratch, "new", {"a.py": b"3"})

    assert not old.exists()
    assert len(list((scratch / "unpacked").iterdir())) == 2


def test_files_that_the_build_still_has_are_linked(scratch: Path, tmp_path: Path) -> None:
    built = tmp_path / "built" / "DepsLayer"
    for name, data in CONTENT.items():
        (built / name).parent.mkdir(parents=True, exist_ok=True)
        (built / name).write_bytes(data)

    folder = unpack(scratch, "one", CONTENT).resolve()

    assert files(folder) == CONTENT
    assert inodes(folder) == inodes(built)


@pytest.mark.parametrize("changed", [b"C = 3\n" * 1000, b"", None])
def test_a_file_that_the_build_changed_is_unpacked(
    scratch: Path, tmp_path: Path, changed: bytes | None
) -> None:
    built = tmp_path / "built" / "DepsLayer"
    (built / "python" / "b").mkdir(parents=True)
    (built / "python" / "a.py").write_bytes(CONTENT["python/a.py"])
    if changed is not None:
        (built / "python" / "b" / "c.py").write_bytes(changed)

    assert files(unpack(scratch, "one", CONTENT).resolve()) == CONTENT


def test_no_file_of_an_archive_is_written_outside_its_copy(scratch: Path, tmp_path: Path) -> None:
    """The engine's own check of names is left out: see `namelist`."""
    names = ("../../outside.py", "/outside.py", "a/../../outside.py", "inside.py")
    folder = unpack(scratch, "one", dict.fromkeys(names, b"X = 1\n"))

    assert {path.name for path in folder.resolve().rglob("*.py")} == {"outside.py", "inside.py"}
    assert all(path.is_relative_to(folder.resolve()) for path in tmp_path.rglob("outside.py"))
    assert not Path("/outside.py").exists()


def test_a_folder_that_is_not_empty_gets_all_files(scratch: Path) -> None:
    folder = scratch / "one" / "layer_0"
    folder.mkdir(parents=True)
    (folder / "kept.py").write_bytes(b"")
    archive = scratch / "one" / "layer_0.zip"
    archive.write_bytes(packed(CONTENT))
    with SharedArchive(archive) as opened:
        opened.extractall(folder)

    assert files(folder) == {**CONTENT, "kept.py": b""}


def test_a_module_that_unpacks_in_another_way_is_refused() -> None:
    with pytest.raises(RuntimeError, match="does not unpack with the module zipfile"):
        share(ModuleType("another"))


def test_built_files_and_their_copies_in_the_cache_are_one(tmp_path: Path) -> None:
    built, cache = tmp_path / "out", tmp_path / "cache"
    for folder in (built / "DepsLayer", cache / "0f3c"):
        (folder / "python").mkdir(parents=True)
        (folder / "python" / "same.py").write_text("same")
        (folder / "python" / "other.py").write_text(folder.name)
    (built / "template.yaml").write_text("x")

    link_copies(built, cache)
    link_copies(built, cache)

    layer, kept = built / "DepsLayer" / "python", cache / "0f3c" / "python"
    assert (layer / "same.py").samefile(kept / "same.py")
    assert [(layer / "other.py").read_text(), (kept / "other.py").read_text()] == [
        "DepsLayer",
        "0f3c",
    ]
    assert sorted(path.name for path in layer.iterdir()) == ["other.py", "same.py"]


# ---- The real engine ---------------------------------------------------------------------------

SLEEPER = b"""
import os, time, shared_by_all
def handler(event, context):
    time.sleep(event)
    return os.path.realpath(shared_by_all.__file__)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineAccess, Path]]:
    if not PYTHON.exists():
        pytest.skip("`make setup` installs the engine")
    home = LocalFolder(tmp_path_factory.mktemp("home"))
    home.prepare()
    access = engine_access.choose(home.engine_access, port=None)
    with engine.running(PYTHON, home, access=access, built=home.root, enforce_iam=False):
        yield access, home.scratch


def test_the_engine_s_functions_share_code_and_layers(
    running: tuple[EngineAccess, Path],
) -> None:
    """Fails when a new version of the engine unpacks in another way."""
    access, scratch = running
    lambdas: Any = boto3.client(
        "lambda",
        endpoint_url=access.endpoint,
        region_name="us-east-1",
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    layer = lambdas.publish_layer_version(
        LayerName="big",
        Content={"ZipFile": packed({"python/shared_by_all.py": b"", "big": os.urandom(2**20)})},
    )["LayerVersionArn"]
    for name in ("first", "second"):
        lambdas.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role="arn:aws:iam::000000000000:role/any",
            Handler="code.handler",
            Code={"ZipFile": packed({"code.py": SLEEPER})},
            Layers=[layer],
        )

    def call(name: str) -> str:
        answer = lambdas.invoke(FunctionName=name, Payload=b"0.5")
        assert "FunctionError" not in answer, answer["Payload"].read()
        return str(json.loads(answer["Payload"].read()))

    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(call, ["first", "second"] * 2))

    assert len(paths) == 1
    assert Path(paths.pop()).is_relative_to(scratch / "unpacked")
    processes = list(scratch.glob("ministack-lambda-*"))
    assert len(processes) >= 4
    used = subprocess.run(["du", "-sk", scratch], capture_output=True, text=True, check=True)
    assert int(used.stdout.split()[0]) < 2 * 1024, "more than one copy of the layer"

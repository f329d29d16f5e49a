"""The local folder, its local.env, and the stamp that makes a deployment unnecessary."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import env_file, stamp
from gatehouse_cli.local.env_file import LocalEnv
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.stack import clean
from gatehouse_cli.project import find_project, get_tool

KEY = "hk_" + "ab" * 36


def test_local_env_is_read_back_as_written(tmp_path: Path) -> None:
    env = LocalEnv("http://localhost:8080", KEY, "http://127.0.0.1:9", "GH1", "s" * 40)

    env_file.write(tmp_path / "local.env", env)

    assert env_file.read(tmp_path / "local.env") == env


def test_local_env_can_be_sourced_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "local.env"
    path.write_text("old")
    path.chmod(0o644)

    env_file.write(path, LocalEnv("http://localhost:8081", KEY, "http://127.0.0.1:9", "GH1", "s1"))

    shown = subprocess.run(
        ["sh", "-c", f". {path}; env"], env={}, capture_output=True, text=True, check=True
    )
    assert {line for line in shown.stdout.splitlines() if line.startswith("GATEHOUSE_")} == {
        "GATEHOUSE_URL=http://localhost:8081",
        f"GATEHOUSE_API_KEY={KEY}",
        "GATEHOUSE_ENGINE_URL=http://127.0.0.1:9",
        "GATEHOUSE_ENGINE_ID=GH1",
        "GATEHOUSE_ENGINE_SECRET=s1",
    }
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "GATEHOUSE_URL=x\n", "GATEHOUSE_URL=x\nGATEHOUSE_API_KEY=\n"])
def test_a_local_env_without_url_or_key_reads_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "local.env").write_text(text)

    assert env_file.read(tmp_path / "local.env") is None


def test_a_missing_local_env_reads_as_none(tmp_path: Path) -> None:
    assert env_file.read(tmp_path / "local.env") is None


def test_only_the_owner_reads_the_folder_and_its_scratch_is_emptied(tmp_path: Path) -> None:
    home = LocalFolder(tmp_path / "home")
    home.prepare()
    (home.scratch / "left").write_text("x")
    (home.state / "kept").write_text("x")

    home.prepare()

    folders = (home.root, home.state, home.scratch, home.logs)
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert not (home.scratch / "left").exists()
    assert (home.state / "kept").exists()


def test_a_folder_serves_one_stack_at_a_time(tmp_path: Path) -> None:
    home = LocalFolder(tmp_path)

    with home.lock(), pytest.raises(CommandError, match="already running"), home.lock():
        pass
    with home.lock():
        pass


def test_a_folder_that_was_never_used_is_not_left_behind(tmp_path: Path) -> None:
    unused, used = LocalFolder(tmp_path / "unused"), LocalFolder(tmp_path / "used")

    with unused.lock(), used.lock():
        used.prepare()

    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_clean_state_deletes_state_and_key_and_nothing_else(tmp_path: Path) -> None:
    home = LocalFolder(tmp_path)
    home.prepare()
    home.stamp.write_text("x")
    home.env_file.write_text("x")
    (home.root / "tools").mkdir()

    clean(home)

    assert {path.name for path in home.root.iterdir()} == {"lock", "tools"}


def test_the_project_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").touch()
    (tmp_path / "samconfig.toml").touch()
    below = tmp_path / "functions" / "keys"
    below.mkdir(parents=True)

    assert find_project(below) == tmp_path


def test_outside_a_clone_the_error_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="run this inside a clone"):
        find_project(tmp_path)


def test_a_missing_tool_reports_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"sam is missing .*: run `make setup` first"):
        get_tool(tmp_path, "sam", "sam")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in stamp.INPUTS:
        path = tmp_path / name
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        else:
            (path / "a").mkdir(parents=True)
            (path / "a" / "one.py").write_text("one")
    return tmp_path


def rename(project: Path) -> None:
    (project / "functions/a/one.py").rename(project / "functions/a/two.py")


@pytest.mark.parametrize(
    "change",
    [
        lambda project: (project / "template.yaml").write_text("other"),
        lambda project: (project / "samconfig.toml").write_text("other"),
        lambda project: (project / "requirements/sam.lock").write_text("other"),
        lambda project: (project / "layers/a/one.py").write_text("other"),
        lambda project: (project / "functions/a/new.py").touch(),
        lambda project: (project / "functions/a/one.py").unlink(),
        rename,
    ],
)
def test_any_changed_input_changes_the_stamp(
    project: Path, change: Callable[[Path], object]
) -> None:
    before = stamp.compute(project, {})

    change(project)

    assert stamp.compute(project, {}) != before


def test_a_changed_parameter_changes_the_stamp(project: Path) -> None:
    assert stamp.compute(project, {"A": "1"}) != stamp.compute(project, {"A": "2"})


def test_the_order_of_parameters_does_not_change_the_stamp(project: Path) -> None:
    assert stamp.compute(project, {"A": "1", "B": "2"}) == stamp.compute(
        project, {"B": "2", "A": "1"}
    )


def test_bytecode_and_files_elsewhere_do_not_change_the_stamp(project: Path) -> None:
    before = stamp.compute(project, {})

    (project / "layers/a/__pycache__").mkdir()
    (project / "layers/a/__pycache__/one.cpython-311.pyc").touch()
    (project / "README.md").touch()

    assert stamp.compute(project, {}) == before


def test_a_stamp_matches_only_its_own_value(tmp_path: Path) -> None:
    path = tmp_path / "stamp"
    assert not stamp.matches(path, "v")
    path.write_text("v")
    assert stamp.matches(path, "v")
    assert not stamp.matches(path, "w")

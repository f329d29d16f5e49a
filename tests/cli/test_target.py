"""Which stack a command talks to: URL and key always come from the same place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatehouse_cli.errors import CommandError
from gatehouse_cli.target import get_target

KEYS = {name: "hk_" + name[0] * 72 for name in ("option", "environment", "local")}
URLS = {name: f"https://{name}.example" for name in KEYS}


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GATEHOUSE_URL", "GATEHOUSE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def key_file(key: str = KEYS["option"]) -> Path:
    path = Path("key.txt")
    path.write_text(f"{key}\n")
    return path


def set_environment(monkeypatch: pytest.MonkeyPatch, url: str | None, key: str | None) -> None:
    for name, value in (("GATEHOUSE_URL", url), ("GATEHOUSE_API_KEY", key)):
        if value is not None:
            monkeypatch.setenv(name, value)


def write_local(text: str) -> None:
    Path(".gatehouse").mkdir()
    Path(".gatehouse/local.env").write_text(text)


LOCAL = f"GATEHOUSE_URL={URLS['local']}\nGATEHOUSE_API_KEY={KEYS['local']}\n"


@pytest.mark.parametrize("places", [["option", "environment", "local"], ["environment", "local"]])
def test_the_first_place_that_names_a_stack_gives_url_and_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], places: list[str]
) -> None:
    write_local(LOCAL)
    set_environment(monkeypatch, URLS["environment"] + "/", KEYS["environment"])
    options = (URLS["option"], key_file()) if "option" in places else (None, None)

    target = get_target(*options)

    assert (target.url, target.key) == (URLS[places[0]], KEYS[places[0]])
    said = capsys.readouterr()
    assert said.out == ""
    named = "" if "option" in places else f"Stack {URLS['environment']}, named by the environment\n"
    assert said.err == named


@pytest.mark.parametrize("prefix", ["", "export "])
def test_without_options_and_variables_the_local_stack_is_named(
    capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    write_local("".join(prefix + line for line in LOCAL.splitlines(keepends=True)))

    assert get_target(None, None).key == KEYS["local"]
    assert capsys.readouterr().err == f"Stack {URLS['local']}, named by .gatehouse/local.env\n"


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    write_local(LOCAL)
    set_environment(monkeypatch, "", " ")

    assert get_target(None, None).url == URLS["local"]


@pytest.mark.parametrize(
    ("url", "key", "missing"),
    [
        (URLS["environment"], None, "GATEHOUSE_API_KEY is missing: the environment has only GATE"),
        (URLS["environment"], "", "GATEHOUSE_API_KEY is missing: the environment has only GATE"),
        (None, KEYS["environment"], "GATEHOUSE_URL is missing: the environment has only GATE"),
    ],
)
def test_half_a_pair_is_an_error_that_names_the_missing_half(
    monkeypatch: pytest.MonkeyPatch, url: str | None, key: str | None, missing: str
) -> None:
    write_local(LOCAL)
    set_environment(monkeypatch, url, key)

    with pytest.raises(CommandError, match=missing) as refused:
        get_target(None, None)
    assert KEYS["environment"] not in str(refused.value)


def test_half_a_pair_of_options_is_never_completed_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_local(LOCAL)
    set_environment(monkeypatch, URLS["environment"], KEYS["environment"])

    with pytest.raises(CommandError, match=r"^--key-file is missing: the options name only --url"):
        get_target(URLS["option"], None)
    with pytest.raises(CommandError, match=r"^--url is missing"):
        get_target(None, key_file())
    with pytest.raises(CommandError, match=r"^--url is empty"):
        get_target("", None)


def test_half_a_local_env_says_which_command_writes_both() -> None:
    write_local("GATEHOUSE_URL=http://localhost:8080\n")

    with pytest.raises(CommandError, match=r"GATEHOUSE_API_KEY is missing: .*local.env .*make run"):
        get_target(None, None)


def test_without_any_place_the_error_names_all_three() -> None:
    with pytest.raises(CommandError, match=r"--url and --key-file, set GATEHOUSE_URL .*`make run`"):
        get_target(None, None)


@pytest.mark.parametrize("url", ["api.example.com", "ftp://a.example", "https://", "http://[::1"])
def test_a_url_that_is_none_is_named_in_the_error(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    set_environment(monkeypatch, url, KEYS["environment"])

    with pytest.raises(CommandError, match=r"GATEHOUSE_URL must be a URL"):
        get_target(None, None)


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"\xff\xfe", b"one\ntwo", "schl\u00fcssel".encode()]
)
def test_a_key_file_without_one_key_is_refused(content: bytes) -> None:
    Path("key.txt").write_bytes(content)

    with pytest.raises(CommandError, match=r"--key-file"):
        get_target(URLS["option"], Path("key.txt"))


def test_a_missing_key_file_and_an_unreadable_local_env_are_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"--key-file none.txt cannot be read"):
        get_target(URLS["option"], Path("none.txt"))
    Path(".gatehouse/local.env").mkdir(parents=True)
    with pytest.raises(CommandError, match=r"local.env cannot be read: .*directory"):
        get_target(None, None)

"""The settings keys reach SAM unchanged, and only SAM."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from gatehouse_cli import settings_keys
from gatehouse_cli.errors import CommandError
from support.aws.resources import ROOT

CURRENT, PREVIOUS = settings_keys.PARAMETERS
HEX = "ab" * 32
# How SAM itself reads the arguments.
READ = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


def test_variables_that_are_set_become_parameters_even_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (CURRENT, PREVIOUS):
        monkeypatch.delenv(name, raising=False)
    assert settings_keys.from_environment() == {}
    monkeypatch.setenv(PREVIOUS, "")
    monkeypatch.setenv(CURRENT, HEX)
    assert settings_keys.from_environment() == {
        "SettingsEncryptionKey": HEX,
        "SettingsEncryptionKeyPrevious": "",
    }


def test_a_key_that_sam_would_change_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CURRENT, 'sixteen characters\\" and more')
    with pytest.raises(CommandError, match=f"^{CURRENT} has a backslash"):
        settings_keys.from_environment()


@pytest.mark.parametrize(
    "key",
    [
        HEX,
        "",
        "q83v" * 10 + "q80=",
        "a text with spaces and = signs",
        '"in double quotes of its own"',
        "'in single ones, and {braces}: #x'",
        "gr\u00fc\u00dfe \u20ac und noch mehr",
        "a back\\slash, and $HOME",
    ],
)
def test_sam_reads_a_key_unchanged(key: str) -> None:
    given = {"DeployedAt": "2026-11-21T09:30:00Z", "SettingsEncryptionKey": key}
    with settings_keys.override_words(given) as words:
        assert words[0] == "--parameter-overrides"
        assert not key or key not in " ".join(words)
        python = ROOT / ".gatehouse" / "tools" / "sam" / "bin" / "python"
        done = subprocess.run(
            [python, "-c", READ, *words[1:]], check=True, capture_output=True, text=True
        )
    assert json.loads(done.stdout) == given


def test_only_the_owner_reads_the_file_and_it_is_deleted() -> None:
    with settings_keys.override_words({"SettingsEncryptionKey": HEX}) as words:
        path = Path(words[-1].removeprefix("file://"))
        assert HEX in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_without_keys_no_file_is_written() -> None:
    with settings_keys.override_words({"AccessLogs": "off"}) as words:
        assert words == ["--parameter-overrides", "AccessLogs=off"]

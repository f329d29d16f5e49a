"""The settings encryption keys, on their way from the environment to the stack's parameters."""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gatehouse_cli import samconfig
from gatehouse_cli.errors import CommandError

PARAMETERS = {
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY": "SettingsEncryptionKey",
    "HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS": "SettingsEncryptionKeyPrevious",
}
NONE = dict.fromkeys(PARAMETERS.values(), "")
# SAM takes these for its own way of quoting and would hand on something else.
_MANGLED = re.compile(r"\\[ \"']")


def from_environment() -> dict[str, str]:
    """Return the parameters of the variables that are set, be it to nothing.

    Raises:
        CommandError: A key cannot be handed on as it is.

    """
    found = {}
    for variable, parameter in PARAMETERS.items():
        value = os.environ.get(variable)
        if value is None:
            continue
        if _MANGLED.search(value):
            raise CommandError(
                f"{variable} holds a backslash before a quote or space: choose another."
            )
        found[parameter] = value
    return found


@contextmanager
def override_words(parameters: Mapping[str, str]) -> Iterator[list[str]]:
    """Give the words that hand parameters to SAM while the block runs.

    The keys go in a file that only its owner reads: everybody may read a command line.
    """
    hidden = {name: parameters[name] for name in PARAMETERS.values() if name in parameters}
    shown = {name: value for name, value in parameters.items() if name not in hidden}
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        words = ["--parameter-overrides", *samconfig.overrides(shown)]
        if hidden:
            path = Path(folder) / "keys.yaml"
            # SAM takes off a pair of quotes twice on the way from a file, be they the key's own.
            quoted = {name: f'""{value}""' for name, value in hidden.items()}
            path.touch(mode=0o600)
            path.write_text(json.dumps(quoted), encoding="utf-8")  # JSON is YAML.
            words.append(f"file://{path}")
        yield words

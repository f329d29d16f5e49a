"""Pass the settings keys from the environment to the stack's parameters."""

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
# SAM reads these as its own quoting and would pass on another value.
_MANGLED = re.compile(r"\\[ \"']")


def from_environment() -> dict[str, str]:
    """Return the parameters for the variables that are set, also those set to an empty text.

    Raises:
        CommandError: SAM cannot pass the key on unchanged.

    """
    parameters = {}
    for variable, parameter in PARAMETERS.items():
        value = os.environ.get(variable)
        if value is None:
            continue
        if _MANGLED.search(value):
            raise CommandError(
                f"{variable} has a backslash before a quote or a space: choose another key."
            )
        parameters[parameter] = value
    return parameters


@contextmanager
def override_words(parameters: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the arguments that pass parameters to SAM; they are valid inside the block.

    The keys go into a file that only its owner can read: every user can see a command line.
    """
    hidden = {name: parameters[name] for name in PARAMETERS.values() if name in parameters}
    shown = {name: value for name, value in parameters.items() if name not in hidden}
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        words = ["--parameter-overrides", *samconfig.overrides(shown)]
        if hidden:
            path = Path(folder) / "keys.yaml"
            # SAM strips quotes from a value in a file twice, even quotes of the key itself.
            quoted = {name: f'""{value}""' for name, value in hidden.items()}
            path.touch(mode=0o600)
            path.write_text(json.dumps(quoted), encoding="utf-8")  # JSON is YAML.
            words.append(f"file://{path}")
        yield words

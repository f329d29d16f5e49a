"""The URL and the key with which a command calls a stack's API."""

import os
from pathlib import Path

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import env_file
from gatehouse_cli.local.folder import LocalFolder


def get_url_and_key() -> tuple[str, str]:
    """Return base URL and key from the environment, else those of the local stack.

    Raises:
        CommandError: Neither has both.

    """
    url, key = os.environ.get("GATEHOUSE_URL"), os.environ.get("GATEHOUSE_API_KEY")
    if url and key:
        return url.rstrip("/"), key
    local = env_file.read(LocalFolder(Path(".gatehouse")).env_file)
    if local is None:
        raise CommandError(
            "No URL and key found: set GATEHOUSE_URL and GATEHOUSE_API_KEY, or run `make run` here."
        )
    return local.url, local.api_key

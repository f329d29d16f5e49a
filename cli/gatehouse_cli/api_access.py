"""Which stack a command calls over HTTP, and with which key."""

import os
from pathlib import Path

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import env_file
from gatehouse_cli.local.folder import LocalFolder


def get_url_and_key() -> tuple[str, str]:
    """Return base URL and key: those of the environment, else the local stack's.

    Raises:
        CommandError: Neither is there.

    """
    url, key = os.environ.get("GATEHOUSE_URL"), os.environ.get("GATEHOUSE_API_KEY")
    if url and key:
        return url.rstrip("/"), key
    local = env_file.read(LocalFolder(Path(".gatehouse")).env_file)
    if local is None:
        raise CommandError("Set GATEHOUSE_URL and GATEHOUSE_API_KEY, or run `make run` here first.")
    return local.url, local.api_key

"""Which stack a command calls over HTTP, and with which key."""

import os
from pathlib import Path

from gatehouse_cli.local import env_file
from gatehouse_cli.local.home import Home
from gatehouse_cli.trouble import Trouble


def target() -> tuple[str, str]:
    """Return base URL and key: those of the environment, else the local stack's.

    Raises:
        Trouble: Neither is there.

    """
    url, key = os.environ.get("GATEHOUSE_URL"), os.environ.get("GATEHOUSE_API_KEY")
    if url and key:
        return url.rstrip("/"), key
    local = env_file.read(Home(Path(".gatehouse")).env_file)
    if local is None:
        raise Trouble("Set GATEHOUSE_URL and GATEHOUSE_API_KEY, or run `make run` here first.")
    return local.url, local.api_key

"""The origin of a URL: what a secret that is sent there is bound to. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"https": 443, "http": 80}


def origin_of(url: str) -> str:
    """Return scheme, host and port of a checked URL: `https://receiver.example:443`.

    Host names are compared as text: `a.example.` is another origin than `a.example`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{parts.port or _PORTS[parts.scheme]}"

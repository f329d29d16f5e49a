"""KMS in memory: wraps a data key by putting its encryption context before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


class MemoryKms:
    """A client. `before` is called before each decryption; it may wait or raise."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self._before = before

    def generate_data_key(self, *, EncryptionContext: Mapping[str, str], **_: Any) -> Any:  # noqa: N803
        """Make the same data key for everyone."""
        key = bytes(range(32))
        return {"Plaintext": key, "CiphertextBlob": _context(EncryptionContext) + key}

    def decrypt(self, *, CiphertextBlob: bytes, EncryptionContext: Any, **_: Any) -> Any:  # noqa: N803
        """Unwrap a data key; fail for another context."""
        self._before()
        assert CiphertextBlob[:-32] == _context(EncryptionContext)
        return {"Plaintext": CiphertextBlob[-32:]}


def _context(context: Mapping[str, str]) -> bytes:
    return json.dumps(dict(context), sort_keys=True).encode()

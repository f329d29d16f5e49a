"""AES-256-GCM under a data key, and a data key wrapped by a settings key.

Pure: random bytes are arguments. Stored secrets depend on the bytes of `aad`, `settings_key`,
`stretch` and `wrap`, so these must never change; tests pin them.
"""

import base64
import hashlib
import hmac
import json
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatehouse.core.errors import SettingsKeyUnusable
from gatehouse.core.text import is_plain
from gatehouse.secrets.model import KMS, Place, Sealed, SettingsKey

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
_SHORTEST_TEXT, _LONGEST_TEXT = 16, 256
_HEX = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=", re.ASCII)
# Two values are derived from a settings key. Neither can be computed from the other.
_FOR_WRAPPING, _FOR_NAMING = b"gatehouse settings key: wrap", b"gatehouse settings key: name"


class WrongPlace(Exception):
    """Decryption failed: the secret was moved or altered, or the key is another one."""


def seal(
    place: Place,
    plaintext: str,
    *,
    key: bytes,
    wrapped_key: bytes,
    nonce: bytes,
    wrapped_by: str = KMS,
) -> Sealed:
    """Encrypt for one place. Each data key encrypts one secret, so a nonce cannot repeat."""
    ciphertext = AESGCM(key).encrypt(nonce, plaintext.encode(), aad(place))
    return Sealed(ciphertext, nonce, wrapped_key, wrapped_by)


def unseal(place: Place, sealed: Sealed, *, key: bytes) -> str:
    """Decrypt. Raises WrongPlace."""
    return _decrypt(place, sealed.ciphertext, key=key, nonce=sealed.nonce).decode()


def wrap(place: Place, data_key: bytes, *, key: SettingsKey, nonce: bytes) -> bytes:
    """Wrap a data key for one place. Returns the nonce, then AES-256-GCM's ciphertext and tag."""
    return nonce + AESGCM(key.wrapping).encrypt(nonce, data_key, aad(place))


def unwrap(place: Place, wrapped_key: bytes, *, key: SettingsKey) -> bytes:
    """Unwrap a data key. Raises WrongPlace."""
    nonce, ciphertext = wrapped_key[:NONCE_BYTES], wrapped_key[NONCE_BYTES:]
    return _decrypt(place, ciphertext, key=key.wrapping, nonce=nonce)


def aad(place: Place) -> bytes:
    """Return the place as the associated data that the cipher authenticates."""
    return json.dumps(place.context(), sort_keys=True, separators=(",", ":")).encode()


def parse_key(text: str, *, variable: str) -> bytes | str | None:
    """Read a settings key: its 32 bytes, a text to stretch, or None where it is empty.

    Raises SettingsKeyUnusable, which names the variable but never shows its value.
    """
    if not text:
        return None
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if _BASE64.fullmatch(text):
        return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_"))
    if (
        not _SHORTEST_TEXT <= len(text) <= _LONGEST_TEXT
        or not is_plain(text)
        or text != text.strip()
    ):
        raise SettingsKeyUnusable(
            f"{variable} must be 64 hex characters, base64 of {KEY_BYTES} bytes, or a text of "
            f"{_SHORTEST_TEXT} to {_LONGEST_TEXT} printable characters without a space at its ends"
        )
    return text


def stretch(text: str, *, salt: bytes) -> bytes:
    """Derive 32 bytes from a text with scrypt, in 32 MiB of memory."""
    return hashlib.scrypt(
        text.encode(), salt=salt, n=2**15, r=8, p=3, maxmem=2**26, dklen=KEY_BYTES
    )


def settings_key(raw: bytes) -> SettingsKey:
    """Derive the wrapping key and its id from 32 bytes."""
    name = hmac.digest(raw, _FOR_NAMING, "sha256").hex()[:16]
    return SettingsKey(f"env:{name}", hmac.digest(raw, _FOR_WRAPPING, "sha256"))


def _decrypt(place: Place, ciphertext: bytes, *, key: bytes, nonce: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, aad(place))
    except (InvalidTag, ValueError) as error:
        raise WrongPlace(place.purpose.value) from error

"""Encrypt and decrypt secrets: envelope encryption under KMS or a settings key."""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.aws import clients
from gatehouse.core import settings
from gatehouse.core.errors import SettingsKeyUnusable, Unavailable
from gatehouse.dynamo.table import Table, TransactionCanceled, transact
from gatehouse.secrets import rules, store, writes
from gatehouse.secrets.keyring import Keyring
from gatehouse.secrets.model import KMS, STACK, Place, Purpose, Sealed

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@dataclass(frozen=True, slots=True)
class Vault:
    """Encrypts and decrypts secrets.

    `client` and `key_id` are the KMS client and key. `keyring` has the settings keys, one of
    which may wrap data keys instead of KMS.
    """

    client: KMSClient = field(repr=False)
    key_id: str = ""
    keyring: Keyring | None = None

    def seal(self, place: Place, plaintext: str) -> Sealed:
        """Encrypt under a new data key. Raises Unavailable or SettingsKeyUnusable."""
        key = None if self.keyring is None else self.keyring.key_for_sealing()
        if key is None:
            answer = _call(
                self.client.generate_data_key,
                KeyId=self.key_id,
                KeySpec="AES_256",
                EncryptionContext=place.context(),
            )
            data_key, wrapped_key = answer["Plaintext"], answer["CiphertextBlob"]
        else:
            data_key = randomness.token_bytes(rules.KEY_BYTES)
            wrapped_key = rules.wrap(place, data_key, key=key, nonce=_nonce())
        return rules.seal(
            place,
            plaintext,
            key=data_key,
            wrapped_key=wrapped_key,
            nonce=_nonce(),
            wrapped_by=KMS if key is None else key.id,
        )

    def unseal(self, place: Place, sealed: Sealed) -> str:
        """Decrypt. Raises WrongPlace, Unavailable or SettingsKeyUnusable."""
        data_key = self.unwrap(place, sealed.wrapped_key, wrapped_by=sealed.wrapped_by)
        return rules.unseal(place, sealed, key=data_key)

    def unwrap(self, place: Place, wrapped_key: bytes, *, wrapped_by: str) -> bytes:
        """Return a data key in plain. Raises what `unseal` raises.

        `wrapped_by` alone decides between KMS and a settings key, whatever is set now.
        """
        if wrapped_by == KMS:
            answer = _call(
                self.client.decrypt,
                CiphertextBlob=wrapped_key,
                KeyId=self.key_id,
                EncryptionContext=place.context(),
            )
            plain: bytes = answer["Plaintext"]
            return plain
        if self.keyring is None:
            raise SettingsKeyUnusable("The secret is wrapped by a settings key, but none is set")
        return rules.unwrap(place, wrapped_key, key=self.keyring.get(wrapped_by))

    def wrap(self, place: Place, data_key: bytes) -> tuple[bytes, str]:
        """Wrap a data key by what is set now. Returns it with the `wrapped_by` to store."""
        key = None if self.keyring is None else self.keyring.current_key()
        if key is not None:
            return rules.wrap(place, data_key, key=key, nonce=_nonce()), key.id
        answer = _call(
            self.client.encrypt,
            KeyId=self.key_id,
            Plaintext=data_key,
            EncryptionContext=place.context(),
        )
        return answer["CiphertextBlob"], KMS


def vault(table: Table) -> Vault:
    """Make the vault that this stack's settings describe. `table` is the main table.

    Raises SettingsKeyUnusable where a settings key is malformed.
    """
    return Vault(clients.kms(), settings.SETTINGS_KEY.text(), Keyring.from_settings(table))


def read(table: Table, vault: Vault, place: Place) -> str | None:
    """Read and decrypt a secret; None where there is none. Raises what `Vault.unseal` raises."""
    sealed = store.read(table, place)
    return None if sealed is None else vault.unseal(place, sealed)


def stack_secret(table: Table, vault: Vault, purpose: Purpose) -> str:
    """Read one of the stack's own secrets, and create it on the first call."""
    place = Place(purpose, STACK, "key")
    existing = read(table, vault, place)
    if existing is not None:
        return existing
    new = randomness.token_hex(32)
    try:
        transact(table.client, [writes.put_new(table, vault, place, new)])
    except TransactionCanceled:
        # Another environment created it after our read.
        existing = read(table, vault, place)
        if existing is None:
            raise Unavailable from None
        return existing
    return new


def _nonce() -> bytes:
    return randomness.token_bytes(rules.NONCE_BYTES)


def _call(operation: Any, **request: Any) -> Any:
    try:
        return operation(**request)
    except BotoCoreError as error:
        raise Unavailable from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
            raise rules.WrongPlace(code) from error
        if code in {
            "DependencyTimeoutException",
            "KMSInternalException",
            "KeyUnavailableException",
            "ThrottlingException",
        }:
            raise Unavailable from error
        raise

"""Keep secrets that must come out again: envelope encryption under KMS or a settings key."""

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
    """KMS and the id of its key, and the settings keys, of which one may wrap in KMS's place."""

    client: KMSClient = field(repr=False)
    key_id: str = ""
    keyring: Keyring | None = None

    def seal(self, place: Place, plaintext: str) -> Sealed:
        """Encrypt under a fresh data key. Raises Unavailable or SettingsKeyUnusable."""
        key = None if self.keyring is None else self.keyring.sealing()
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
        """Decrypt, or raise WrongPlace, Unavailable or SettingsKeyUnusable."""
        data_key = self.unwrap(place, sealed.wrapped_key, wrapped_by=sealed.wrapped_by)
        return rules.unseal(place, sealed, key=data_key)

    def unwrap(self, place: Place, wrapped_key: bytes, *, wrapped_by: str) -> bytes:
        """Give a data key in plain; raises what `unseal` raises.

        What KMS wrapped is opened by KMS, whatever else is set.
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
            raise SettingsKeyUnusable("A secret is wrapped by a settings key, and none is set")
        return rules.unwrap(place, wrapped_key, key=self.keyring.opening(wrapped_by))

    def wrap(self, place: Place, data_key: bytes) -> tuple[bytes, str]:
        """Wrap a data key with what is set to wrap; give it with the name of what wrapped it."""
        key = None if self.keyring is None else self.keyring.wrapping()
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
    """Make the vault that this stack's settings describe, its memory in the main table.

    Raises SettingsKeyUnusable where a settings key is malformed.
    """
    return Vault(clients.kms(), settings.SETTINGS_KEY.text(), Keyring.from_settings(table))


def read(table: Table, vault: Vault, place: Place) -> str | None:
    """Read a secret in plain; None where there is none."""
    sealed = store.read(table, place)
    return None if sealed is None else vault.unseal(place, sealed)


def stack_secret(table: Table, vault: Vault, purpose: Purpose) -> str:
    """Read a secret that the stack makes for itself, making it the first time."""
    place = Place(purpose, STACK, "key")
    found = read(table, vault, place)
    if found is not None:
        return found
    made = randomness.token_hex(32)
    try:
        transact(table.client, [writes.put_new(table, vault, place, made)])
    except TransactionCanceled:
        # Another environment was faster; its secret is the one.
        found = read(table, vault, place)
        if found is None:
            raise Unavailable from None
        return found
    return made


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

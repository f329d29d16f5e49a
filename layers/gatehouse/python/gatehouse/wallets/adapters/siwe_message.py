"""Sign-In with Ethereum (EIP-4361): the only file that imports the `siwe` library.

The library loads many modules, so only the wallets function imports this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from eth_utils.address import to_checksum_address
from siwe import SiweMessage, VerificationError  # type: ignore[import-untyped]

from gatehouse.core.clock import MINUTE, SECOND, Micros, parse
from gatehouse.wallets.model import LONGEST_MESSAGE, LONGEST_SIGNATURE, Signed

_SKEW: Micros = MINUTE


class NotValid(Exception):
    """The message or its signature is not valid."""


def check(
    message: str, signature: str, *, domains: Sequence[str], chain_ids: Sequence[str], now: Micros
) -> Signed:
    """Check domain, chain, times and signature; the caller checks the URIs. Raises NotValid.

    Contract wallets are refused: to check their signatures takes a connection to a chain.
    """
    if len(message) > LONGEST_MESSAGE or len(signature) > LONGEST_SIGNATURE:
        raise NotValid
    # Cheap checks first: callers need no credential, and the library is slow on bad messages.
    authority = message.partition(" wants you to sign in with your Ethereum account:\n")[0]
    if authority.partition("://")[2] not in domains and authority not in domains:
        raise NotValid
    try:
        # abnf=False uses a regular expression. The grammar takes quadratic time.
        parsed = SiweMessage.from_message(message, abnf=False)
        if parsed.prepare_message() != message:
            raise NotValid
        if parsed.domain not in domains or str(parsed.chain_id) not in chain_ids:
            raise NotValid
        if parse(str(parsed.issued_at)) > now + _SKEW:
            raise NotValid
        parsed.verify(signature, timestamp=datetime.fromtimestamp(now / SECOND, UTC))
    except (VerificationError, ValueError) as error:
        raise NotValid from error
    uris = [str(parsed.uri)]
    if parsed.scheme is not None:
        uris.append(f"{parsed.scheme}://{parsed.domain}")
    return Signed(to_checksum_address(parsed.address), parsed.nonce, tuple(uris))

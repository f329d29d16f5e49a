"""Sign-In with Ethereum (EIP-4361): the one home of the library that reads and checks it.

It loads much, so only the function that signs people in imports this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from eth_utils.address import to_checksum_address
from siwe import SiweMessage, VerificationError  # type: ignore[import-untyped]

from gatehouse.core.clock import MINUTE, SECOND, Micros, parse
from gatehouse.core.errors import Unauthorized
from gatehouse.wallets.model import Signed

_LONGEST_MESSAGE = 2_000
_LONGEST_SIGNATURE = 512
_SKEW: Micros = MINUTE


def check(
    message: str, signature: str, *, domains: Sequence[str], chain_ids: Sequence[str], now: Micros
) -> Signed:
    """Check domain, chain, times and signature. Anything wrong is the same refusal.

    Wallets that are contracts are refused: to ask them takes a connection to a chain.
    """
    refused = Unauthorized("The signature does not hold", code="AUTH_INVALID_SIGNATURE")
    if len(message) > _LONGEST_MESSAGE or len(signature) > _LONGEST_SIGNATURE:
        raise refused
    # Cheap questions first: whoever asks holds no credential, and a grammar is slow to say no.
    authority = message.partition(" wants you to sign in with your Ethereum account:\n")[0]
    if authority.partition("://")[2] not in domains and authority not in domains:
        raise refused
    try:
        # By the library's regular expression; its grammar takes time that grows with the square.
        read = SiweMessage.from_message(message, abnf=False)
        if read.prepare_message() != message:
            raise refused
        if read.domain not in domains or str(read.chain_id) not in chain_ids:
            raise refused
        if parse(str(read.issued_at)) > now + _SKEW:
            raise refused
        read.verify(signature, timestamp=datetime.fromtimestamp(now / SECOND, UTC))
    except (VerificationError, ValueError) as error:
        raise refused from error
    return Signed(to_checksum_address(read.address), read.nonce)

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.maker import Maker
from gatehouse.core.request import Call
from gatehouse.keys.model import Key


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revoked key, the ids with their kind of what ended with it, and how many keys live on.

    `more`: the time of the request was over, and the sweeper ends what is left. `live_identities`
    are the members whom its family let in by invites, and who are still active. `changed` are
    things of others that its family raised, revived or redirected; they stay as they are.
    """

    key: Key
    ended: tuple[str, ...] = ()
    live_descendants: int = 0
    live_identities: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    more: bool = False

    def headers(self) -> dict[str, str]:
        """Return what an answer without a body says about descendants, as headers."""
        counts = {
            "X-Ended-Descendants": len(self.ended),
            "X-Live-Descendants": self.live_descendants,
            "X-Live-Identities": len(self.live_identities),
            "X-Changed-By-Descendants": len(self.changed),
        }
        headers = {name: str(count) for name, count in counts.items() if count}
        return headers | ({"X-More-Descendants": "true"} if self.more else {})


@dataclass(frozen=True, slots=True)
class Changed:
    """A thing by its name in audit events, and who last raised, revived or redirected it."""

    target: str
    maker: Maker


@dataclass(frozen=True, slots=True)
class Cascade:
    """A revocation with descendants that began: of which key, and the request that asked for it."""

    key_id: str
    call: Call

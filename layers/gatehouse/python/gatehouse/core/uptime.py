"""How long this version has been deployed."""

from gatehouse.core import clock, settings
from gatehouse.core.clock import SECOND, Micros

# Used where the deployment's time is not set, as in `sam local invoke`.
_STARTED = clock.now()


def seconds(now: Micros) -> int:
    """Return whole seconds since the deployment, at least zero."""
    deployed_at = settings.DEPLOYED_AT.text()
    since = clock.parse(deployed_at) if deployed_at else _STARTED
    return max(0, now - since) // SECOND

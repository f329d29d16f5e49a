"""For how long this version has been deployed."""

from gatehouse.core import clock, settings
from gatehouse.core.clock import SECOND, Micros

# Where nobody said when it was deployed, as in `sam local invoke`: the environment's own start.
_STARTED = clock.now()


def seconds(now: Micros) -> int:
    """Give whole seconds since the deployment, never below zero."""
    deployed_at = settings.DEPLOYED_AT.text()
    since = clock.parse(deployed_at) if deployed_at else _STARTED
    return max(0, now - since) // SECOND

"""How many examples a property takes that needs more than its profile's number."""

from __future__ import annotations

import hypothesis


def at_most(full: int, *, quick: int = 25) -> int:
    """Return `full`, in `make check` at most `quick`."""
    is_quick = hypothesis.settings.get_current_profile_name() == "quick"
    return min(full, quick) if is_quick else full

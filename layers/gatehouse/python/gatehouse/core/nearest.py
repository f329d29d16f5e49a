"""What a caller who misspelled a name probably meant."""

from collections.abc import Collection

_LONGEST = 64  # characters of a name that are compared


def find_nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is most like a misspelled one; None if none is like it."""
    import difflib  # noqa: PLC0415 - only where a name is wrong, not at each cold start

    plain = {one.replace("_", "").lower(): one for one in known}
    found = difflib.get_close_matches(name[:_LONGEST].replace("_", "").lower(), plain, n=1)
    return plain[found[0]] if found else None


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a sentence for the end of an error about an unknown value, empty if none is near."""
    nearest = find_nearest(name, known)
    return "" if nearest is None else f". Did you mean {nearest}?"

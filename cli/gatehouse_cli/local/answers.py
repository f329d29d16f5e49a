"""Whether a function's answer is the one that was expected of its event."""

import json
from typing import Any

ANY = "*"


def find_difference(expected: Any, actual: Any, place: str = "answer") -> str | None:
    """Return what differs and where, None when the answer is as expected.

    An expected object names the fields that matter; others may be there. "*" stands for any value.
    Where an object is expected, a text is read as JSON, as API Gateway does with `body`.
    """
    if expected == ANY:
        return None
    if isinstance(expected, (dict, list)) and isinstance(actual, str):
        try:
            actual = json.loads(actual)
        except ValueError:
            return f"{place} is not JSON: {actual[:200]!r}"
    if isinstance(expected, dict) and isinstance(actual, dict):
        missing = [name for name in expected if name not in actual]
        if missing:
            return f"{place} has no {missing[0]}: {json.dumps(actual)[:200]}"
        pairs = [(expected[name], actual[name], f"{place}.{name}") for name in expected]
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = [
            (one, other, f"{place}[{number}]")
            for number, (one, other) in enumerate(zip(expected, actual, strict=True))
        ]
    elif expected == actual and type(expected) is type(actual):
        return None
    else:
        return f"{place} is {json.dumps(actual)[:200]}, not {json.dumps(expected)[:200]}"
    found = (find_difference(one, other, where) for one, other, where in pairs)
    return next((difference for difference in found if difference), None)

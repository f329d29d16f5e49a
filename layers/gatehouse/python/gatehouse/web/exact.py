"""Free-form objects in answers, whose numbers go out as they came in.

Pydantic writes a number as a float. So it writes such an object as one marked text, and `restored`
puts the object's JSON in the place of that text.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Annotated, Any

from pydantic import PlainSerializer, WithJsonSchema

from gatehouse.core import exact_json

# Random, so that no caller's text is taken for a marked one.
_MARK = f"exact:{secrets.token_hex(16)}:"
_MARKED = re.compile(rf'"{_MARK}((?:[^"\\]|\\.)*)"'.encode())


def _marked(value: dict[str, Any]) -> str:
    return _MARK + exact_json.dumps(value)


ExactObject = Annotated[
    dict[str, Any],
    PlainSerializer(_marked, return_type=str, when_used="json"),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]


def restored(body: bytes) -> bytes:
    """Return JSON with each marked text replaced by the object that it stands for."""
    if _MARK.encode() not in body:
        return body
    return _MARKED.sub(lambda found: json.loads(b'"' + found[1] + b'"').encode(), body)

"""Texts that callers choose: which characters they may hold, and how many.

By code point, and not by `str.isprintable`: that follows the Unicode version of the interpreter,
so one machine would accept what another refuses.
"""

from __future__ import annotations

import re

LONGEST_NAME = 200  # of an account, identity, invite, key or peer
LONGEST_LABEL = 64  # of a scope, ring, role, tag or task type
LONGEST_URL = 2_048

# Controls (Cc), line and paragraph separator, bidirectional embeddings, overrides and isolates,
# lone surrogates. Everything else is allowed: joiners, variation selectors, ideographic spaces,
# emoji tags, and what a later Unicode version adds.
_FORMATS = "\\x7f-\\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_NOT_SHOWN = f"\\x00-\\x1f{_FORMATS}"
# A message has lines and columns: tabs, line feeds, and a carriage return before a line feed.
_NOT_IN_MESSAGE = f"\\x00-\\x08\\x0b-\\x1f{_FORMATS}"
_REFUSED = re.compile(f"[{_NOT_SHOWN}\\ud800-\\udfff]")
# As JSON Schema writes them, where no text has a lone surrogate.
PLAIN_PATTERN = f"^[^{_NOT_SHOWN}]*$"
PLAIN_NOT_BLANK_PATTERN = f"^[^{_NOT_SHOWN}]*[^\\s{_NOT_SHOWN}][^{_NOT_SHOWN}]*$"
_MESSAGE = f"([^{_NOT_IN_MESSAGE}]|\\r\\n)*"
MESSAGE_PATTERN = f"^{_MESSAGE}[^\\s{_NOT_IN_MESSAGE}]{_MESSAGE}$"

_SURROGATE = re.compile("[\\ud800-\\udfff]")
NOT_PLAIN = "control, line-separating or bidirectional characters"


def is_plain(text: str) -> bool:
    """Return whether a text has no character that breaks a line or changes what is shown."""
    return _REFUSED.search(text) is None


def is_message(text: str) -> bool:
    """Return whether a text is plain except for line breaks (LF or CRLF) and tabs."""
    return is_plain(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8: it has no lone surrogate."""
    return _SURROGATE.search(text) is None


def plain(text: str) -> str:
    """Return a text with a space for each character that `is_plain` does not allow."""
    return _REFUSED.sub(" ", text)

"""The lengths of texts that callers choose, in characters."""

LONGEST_NAME = 200  # of an account, identity, invite, key or peer
LONGEST_LABEL = 64  # of a scope, ring, role, tag or task type
LONGEST_URL = 2_048

"""The template as CloudFormation gets it: translated by the deployer's own SAM."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from typing import Any

from gatehouse_cli.project import get_tool
from support.aws import resources

# SAM has an environment of its own, so the translation is a process of its own.
_SCRIPT = """
import json, sys
from samtranslator.translator.transform import transform

class NoPolicies:
    def load(self):
        return {}

json.dump(transform(json.load(sys.stdin), {}, NoPolicies()), sys.stdout)
"""


@cache
def translated() -> dict[str, Any]:
    """Return the translated template; takes about a second, once."""
    template = resources.template()
    for resource in template["Resources"].values():
        for name in {"CodeUri", "ContentUri"} & set(resource.get("Properties", {})):
            resource["Properties"][name] = "s3://bucket/key"  # as `sam deploy` uploads it
    done = subprocess.run(
        [get_tool(resources.ROOT, "sam", "python"), "-c", _SCRIPT],
        input=json.dumps(template),
        env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1"},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found

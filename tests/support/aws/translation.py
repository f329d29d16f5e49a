"""The template as CloudFormation gets it: translated by the deployer's own SAM."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
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
    """Return the translated template. It is kept in a file until the template changes."""
    template = resources.template()
    for resource in template["Resources"].values():
        for name in {"CodeUri", "ContentUri"} & set(resource.get("Properties", {})):
            resource["Properties"][name] = "s3://bucket/key"  # as `sam deploy` uploads it
    asked = json.dumps(template)
    lock = (resources.ROOT / "requirements" / "sam.lock").read_text()
    digest = hashlib.sha256("\0".join((asked, _SCRIPT, lock)).encode()).hexdigest()
    kept = resources.ROOT / ".gatehouse" / "translated" / f"{digest[:16]}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        for outdated in kept.parent.iterdir():
            outdated.unlink(missing_ok=True)
        _write(kept, _translate(asked))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _write(path: Path, text: str) -> None:
    """Write a file in one step: another process may be writing it, too."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent.parent, delete=False) as written:
        written.write(text)
    Path(written.name).replace(path)


def _translate(template: str) -> str:
    done = subprocess.run(
        [get_tool(resources.ROOT, "sam", "python"), "-c", _SCRIPT],
        input=template,
        env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout

# ruff: noqa: INP001 - a step of the build, not a package
"""Remove from botocore the data of all services that our functions do not call.

    python trim.py <python folder of the layer>

botocore ships data of over 400 services. Creating a client lists all their folders and parses
one file with all their endpoints. Without them each cold start takes 40 ms less, and the layer
is 25 MB smaller.
"""

import json
import shutil
import sys
from pathlib import Path

# A test compares these with the clients that the code creates.
SERVICES = frozenset(
    {
        *("apigatewaymanagementapi", "cloudwatch", "ecs", "kms", "lambda", "logs"),
        *("resourcegroupstaggingapi", "sqs"),
    }
)


def trim(packages: Path) -> None:
    """Remove the folders and endpoints of other services."""
    data = packages / "botocore" / "data"
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    file = data / "endpoints.json"
    endpoints = json.loads(file.read_text())
    for partition in endpoints["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in known if name in SERVICES}
    file.unlink()  # it may be a hard link into the installer's shared cache
    file.write_text(json.dumps(endpoints, separators=(",", ":")))


if __name__ == "__main__":
    trim(Path(sys.argv[1]))

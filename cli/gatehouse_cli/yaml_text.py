"""YAML by libyaml where it is installed, which is many times faster on a template."""

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    SafeLoader = yaml.SafeLoader
    SafeDumper = yaml.SafeDumper
else:
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def load(text: str) -> Any:
    """Return the value of a document; raises YAMLError."""
    return yaml.load(text, Loader=SafeLoader)  # noqa: S506  # Either one is safe.


def dump(value: Any) -> str:
    """Return the document of a value; mappings keep their order."""
    return str(yaml.dump(value, Dumper=SafeDumper, sort_keys=False))

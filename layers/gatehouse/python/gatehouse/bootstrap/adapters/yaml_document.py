"""Read YAML into values with their lines. The only file that imports the YAML library."""

from __future__ import annotations

import yaml

from gatehouse.bootstrap.model import Located
from gatehouse.core.errors import BadInput

_LARGEST = 256 * 1024


def read(text: str) -> Located:
    """Read YAML into located values. Raises BadInput that names the line."""
    if len(text.encode()) > _LARGEST:
        raise BadInput("The file is over 256 KiB")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"The file is not valid YAML: {error}") from error
    return Located({}, 1) if node is None else _located(node, set())


def _located(node: yaml.Node, above: set[int]) -> Located:
    line = node.start_mark.line + 1
    if id(node) in above:
        raise BadInput(f"line {line}: an alias must not contain itself")
    inside = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Located] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise BadInput(f"line {key.start_mark.line + 1}: a field name must be plain text")
            if key.value in found:
                raise BadInput(f"line {key.start_mark.line + 1}: {key.value} appears twice")
            found[key.value] = _located(value, inside)
        return Located(found, line)
    if isinstance(node, yaml.SequenceNode):
        return Located([_located(entry, inside) for entry in node.value], line)
    try:
        return Located(yaml.SafeLoader("").construct_object(node), line)
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f"line {line}: {node.value!r:.64} cannot be read") from error

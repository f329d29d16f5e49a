"""DynamoDB's expressions, as far as the rooms use them: conditions, filters and updates.

An expression is parsed once and kept. It is checked as DynamoDB checks it: a name must not be
a reserved word, and every placeholder must be defined and used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import moto

Item = dict[str, Any]  # an item, or a map of values, as DynamoDB writes it
Names = Mapping[str, str]
Test = Callable[[Item, Item, Names], bool]  # arguments: item, values by placeholder, names
Operand = Callable[[Item, Item, Names], Any]  # returns a value as DynamoDB writes it, or None

_TOKEN = re.compile(r"\s*([:#]?[A-Za-z_]\w*|<=|>=|<>|[=<>(),+-])")
_WORDS = {"AND", "OR", "NOT", "IN", "BETWEEN", "SET", "ADD", "REMOVE"}
_FUNCTIONS = {"attribute_exists", "attribute_not_exists", "if_not_exists"}
_RESERVED = frozenset(
    (Path(moto.__file__).parent / "dynamodb" / "parsing" / "reserved_keywords.txt")
    .read_text()
    .split()
)
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: bool(one == other),
    "<>": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


class InvalidExpression(Exception):
    """DynamoDB would answer ValidationException; the text says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an update: what happens to one attribute."""

    clause: str  # SET, ADD or REMOVE
    name: str
    operand: Operand | None  # None for REMOVE


def plain(value: Item) -> Any:
    """Return a string, a number or bytes as Python compares them; anything else as it is."""
    [(kind, content)] = value.items()
    return int(content) if kind == "N" else content


def holds(request: Item, old: Item | None) -> bool:
    """Test the condition of a write against the stored item, None where there is none."""
    text = request.get("ConditionExpression")
    return text is None or condition(text)(old or {}, *_given(request))


def matches(request: Item, item: Item) -> bool:
    """Test the filter of a scan."""
    text = request.get("FilterExpression")
    return text is None or condition(text)(item, *_given(request))


def updated(request: Item, old: Item | None) -> Item:
    """Return the item as an update leaves it. Every part reads the item as it was before."""
    before = old or {}
    new = dict(old or request["Key"])
    values, names = _given(request)
    seen: set[str] = set()
    for part in parts(request["UpdateExpression"]):
        name = names.get(part.name, part.name)
        if name in seen:
            raise InvalidExpression(f"two document paths overlap: {name}")
        if name in request["Key"]:
            raise InvalidExpression(f"{name} is part of the key")
        seen.add(name)
        if part.operand is None:
            new.pop(name, None)
        elif part.clause == "ADD":
            new[name] = _sum(before.get(name, {"N": "0"}), part.operand(before, values, names), 1)
        else:
            new[name] = part.operand(before, values, names)
    return new


def check_placeholders(request: Item) -> None:
    """Raise InvalidExpression unless the placeholders given are exactly those used."""
    used: set[str] = set()
    for field in (
        "ConditionExpression",
        "FilterExpression",
        "KeyConditionExpression",
        "UpdateExpression",
    ):
        if field in request:
            used |= _placeholders(request[field])
    given: set[str] = set()
    for field in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        if field in request:
            given |= request[field].keys()
            if not request[field]:
                raise InvalidExpression(f"{field} must not be empty")
    if used != given:
        raise InvalidExpression(f"unused or undefined: {sorted(used ^ given)}")


@cache
def condition(text: str) -> Test:
    """Parse a condition, a filter or a key condition."""
    tokens = list(_tokens(text))
    test = _any(tokens)
    if tokens:
        raise InvalidExpression(f"syntax error near {tokens}")
    return test


@cache
def parts(text: str) -> list[Part]:
    """Parse an update."""
    found: list[Part] = []
    clause = ""
    tokens = list(_tokens(text))
    while tokens:
        if tokens[0] in {"SET", "ADD", "REMOVE"}:
            clause = tokens.pop(0)
        name = tokens.pop(0)
        operand = None
        if clause == "SET":
            _expect(tokens, "=")
            operand = _value(tokens)
        elif clause == "ADD":
            operand = _operand(tokens.pop(0))
        found.append(Part(clause, name, operand))
        if tokens and tokens[0] == ",":
            tokens.pop(0)
        elif tokens and tokens[0] not in {"SET", "ADD", "REMOVE"}:
            raise InvalidExpression(f"syntax error near {tokens}")
    return found


@cache
def _placeholders(text: str) -> frozenset[str]:
    return frozenset(token for token in _tokens(text) if token[0] in "#:")


@cache
def _tokens(text: str) -> tuple[str, ...]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidExpression(f"syntax error near {text[position:]!r}")
        found.append(match[1])
        position = match.end()
    for token in found:
        word = token.upper()
        if word in _RESERVED and word not in _WORDS:
            raise InvalidExpression(f"{token} is a reserved word")
    return tuple(found)


def _given(request: Item) -> tuple[Item, Names]:
    return (
        request.get("ExpressionAttributeValues", {}),
        request.get("ExpressionAttributeNames", {}),
    )


def _expect(tokens: list[str], expected: str) -> None:
    found = tokens.pop(0) if tokens else "the end"
    if found != expected:
        raise InvalidExpression(f"syntax error: {expected} expected, {found} found")


def _operand(token: str) -> Operand:
    if token in _FUNCTIONS or not (token[0] in "#:_" or token[0].isalpha()):
        raise InvalidExpression(f"syntax error near {token}")
    if token[0] == ":":
        return lambda _, values, __: values[token]
    return lambda item, _, names: item.get(names.get(token, token))


def _value(tokens: list[str]) -> Operand:
    """Parse the right side of SET: an operand, or a sum or difference of two."""
    left = _term(tokens)
    if not tokens or tokens[0] not in {"+", "-"}:
        return left
    sign = {"+": 1, "-": -1}[tokens.pop(0)]
    right = _term(tokens)
    return lambda *given: _sum(left(*given), right(*given), sign)


def _term(tokens: list[str]) -> Operand:
    token = tokens.pop(0)
    if token != "if_not_exists":
        return _required(_operand(token))
    _expect(tokens, "(")
    present = _operand(tokens.pop(0))
    _expect(tokens, ",")
    otherwise = _required(_operand(tokens.pop(0)))
    _expect(tokens, ")")

    def read(item: Item, values: Item, names: Names) -> Any:
        found = present(item, values, names)
        return otherwise(item, values, names) if found is None else found

    return read


def _required(operand: Operand) -> Operand:
    def read(item: Item, values: Item, names: Names) -> Any:
        found = operand(item, values, names)
        if found is None:
            raise InvalidExpression("the expression refers to an attribute that does not exist")
        return found

    return read


def _sum(left: Item, right: Item, sign: int) -> Item:
    if "N" not in left or "N" not in right:
        raise InvalidExpression("an operand has an incorrect data type")
    return {"N": str(int(left["N"]) + sign * int(right["N"]))}


def _any(tokens: list[str]) -> Test:
    tests = [_all(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        tests.append(_all(tokens))
    if len(tests) == 1:
        return tests[0]
    return lambda item, values, names: any(test(item, values, names) for test in tests)


def _all(tokens: list[str]) -> Test:
    tests = [_single(tokens)]
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        tests.append(_single(tokens))
    if len(tests) == 1:
        return tests[0]
    return lambda item, values, names: all(test(item, values, names) for test in tests)


def _single(tokens: list[str]) -> Test:
    if not tokens:
        raise InvalidExpression("syntax error: the expression ends too early")
    first = tokens.pop(0)
    if first == "NOT":
        inner = _single(tokens)
        return lambda item, values, names: not inner(item, values, names)
    if first == "(":
        inner = _any(tokens)
        _expect(tokens, ")")
        return inner
    if first in {"attribute_exists", "attribute_not_exists"}:
        _expect(tokens, "(")
        name = tokens.pop(0)
        _expect(tokens, ")")
        there = first == "attribute_exists"
        return lambda item, _, names: (names.get(name, name) in item) is there
    left = _operand(first)
    operator = tokens.pop(0)
    if operator == "IN":
        _expect(tokens, "(")
        many = [_operand(tokens.pop(0))]
        while tokens[0] == ",":
            tokens.pop(0)
            many.append(_operand(tokens.pop(0)))
        _expect(tokens, ")")
        equal = [_compare(left, "=", one) for one in many]
        return lambda *given: any(test(*given) for test in equal)
    if operator == "BETWEEN":
        low = _operand(tokens.pop(0))
        _expect(tokens, "AND")
        high = _operand(tokens.pop(0))
        above, below = _compare(left, ">=", low), _compare(left, "<=", high)
        return lambda *given: above(*given) and below(*given)
    if operator not in _COMPARED:
        raise InvalidExpression(f"syntax error near {operator}")
    return _compare(left, operator, _operand(tokens.pop(0)))


def _compare(left: Operand, operator: str, right: Operand) -> Test:
    """Compare two operands. Where one is missing, or of another type, only `<>` holds."""
    compared = _COMPARED[operator]

    def test(item: Item, values: Item, names: Names) -> bool:
        one, other = left(item, values, names), right(item, values, names)
        if one is None or other is None or one.keys() != other.keys():
            return operator == "<>"
        return compared(plain(one), plain(other))

    return test

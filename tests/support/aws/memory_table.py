"""DynamoDB in memory: the calls and expressions that the deliveries' rooms use, and no others.

For simulations of many thousand runs, for which moto is a hundred times too slow. What it answers
is proved against moto, call by call, in rooms/test_memory_table.py.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

Wire = dict[str, Any]  # an item or a value as DynamoDB writes it
Test = Callable[[Wire, Wire, Mapping[str, str]], bool]  # of an item, with values and names

INDEXES = {"by_due": ("due_pk", "due_at"), "by_listing": ("listed_pk", "listed_sk")}
_TOKEN = re.compile(r"\s*([:#]?[A-Za-z_]\w*|<=|>=|<>|[=<>(),+-])")
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: bool(one == other),
    "<>": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


class MemoryTable:
    """A client of one table, whatever name it is called by.

    `before` and `after` are called around each call with its operation's name, and may raise.
    """

    def __init__(self) -> None:
        self.before: Callable[[str], None] | None = None
        self.after: Callable[[str], None] | None = None
        self.items: dict[str, dict[str, Wire]] = {}
        self._sorted: dict[tuple[str, str], list[tuple[Any, str, str]]] = {}

    def get_item(self, **request: Any) -> Wire:
        """Read an item."""
        return self._around("GetItem", lambda: self._get_item(request["Key"]))

    def batch_get_item(self, *, RequestItems: Any) -> Wire:  # noqa: N803 - DynamoDB's names
        """Read items."""
        [(table, wanted)] = RequestItems.items()

        def read() -> Wire:
            found = [self._at(key) for key in wanted["Keys"]]
            return {"Responses": {table: [one for one in found if one]}, "UnprocessedKeys": {}}

        return self._around("BatchGetItem", read)

    def query(self, **request: Any) -> Wire:
        """Read a partition of the table or of an index."""
        return self._around("Query", lambda: self._query(request))

    def scan(self, **_: Any) -> Wire:
        """Read everything."""
        found = [item for partition in self.items.values() for item in partition.values()]
        return self._around("Scan", lambda: {"Items": found})

    def put_item(self, **request: Any) -> Wire:
        """Write an item."""
        return self._around("PutItem", lambda: self._one("Put", request))

    def update_item(self, **request: Any) -> Wire:
        """Change an item."""
        return self._around("UpdateItem", lambda: self._one("Update", request))

    def transact_write_items(self, *, TransactItems: Any) -> Wire:  # noqa: N803
        """Write items together or not at all."""
        return self._around("TransactWriteItems", lambda: self._transact(TransactItems))

    def has_due(self, now: int) -> bool:
        """Tell whether a sweep would find anything to do; asks no call."""
        return bool(self.items.get("WAKE#PENDING")) or any(
            line and line[0][0] <= now
            for (index, _), line in self._sorted.items()
            if index == "by_due"
        )

    def _around(self, name: str, act: Callable[[], Wire]) -> Wire:
        if self.before:
            self.before(name)
        answer = act()
        if self.after:
            self.after(name)
        return answer

    def _get_item(self, key: Wire) -> Wire:
        found = self._at(key)
        return {"Item": found} if found else {}

    def _one(self, kind: str, request: Wire) -> Wire:
        old = self._at(request.get("Item", request.get("Key")))
        if not _holds(request, old):
            shown = {"Item": old} if old and _wants_old(request) else {}
            raise failure(kind, "ConditionalCheckFailedException", **shown)
        new = _written(kind, request, old)
        self._store(new)
        return {"Attributes": new} if request.get("ReturnValues") == "ALL_NEW" else {}

    def _transact(self, writes: list[Wire]) -> Wire:
        steps = []
        reasons: list[Wire] = []
        for write in writes:
            [(kind, request)] = write.items()
            old = self._at(request.get("Item", request.get("Key")))
            reason: Wire = {"Code": "None"}
            if not _holds(request, old):
                reason = {"Code": "ConditionalCheckFailed"}
                if old and _wants_old(request):
                    reason["Item"] = old
            reasons.append(reason)
            steps.append((kind, request, old))
        if any(reason["Code"] != "None" for reason in reasons):
            raise canceled(reasons)
        for kind, request, old in steps:
            if kind == "Delete":
                self._remove(request["Key"])
            elif kind != "ConditionCheck":
                self._store(_written(kind, request, old))
        return {}

    def _query(self, request: Wire) -> Wire:
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        index = request.get("IndexName")
        wanted = INDEXES[index] if index else ("pk", "sk")
        first, *rest = request["KeyConditionExpression"].split(" AND ", 1)
        assert first == "#pk = :pk"
        assert names["#pk"] == wanted[0]
        entries = self._sorted.get((index or "", _plain(values[":pk"])), [])
        if rest:
            assert names["#sk"] == wanted[1]
            test, kept = _condition(rest[0]), []
            for entry in entries:
                item = self.items[entry[1]][entry[2]]
                if test(item, values, names):
                    kept.append(entry)
            entries = kept
        if not request.get("ScanIndexForward", True):
            entries = entries[::-1]
        start = request.get("ExclusiveStartKey")
        if start is not None:
            assert index is None
            after = _plain(start["sk"])
            forward = request.get("ScanIndexForward", True)
            entries = [one for one in entries if (one[0] > after if forward else one[0] < after)]
        limit = request["Limit"]
        page = entries[:limit]
        found = [self.items[pk][sk] for _, pk, sk in page]
        if index:
            keys = ("pk", "sk", *wanted)
            found = [{name: item[name] for name in keys} for item in found]
        answer: Wire = {"Items": found}
        # As moto. DynamoDB's last page, where it is full, names a next one that is empty.
        if len(entries) > limit:
            answer["LastEvaluatedKey"] = {name: found[-1][name] for name in ("pk", "sk")}
        return answer

    def _at(self, key: Wire) -> Wire | None:
        return self.items.get(key["pk"]["S"], {}).get(key["sk"]["S"])

    def _store(self, item: Wire) -> None:
        self._remove(item)
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        self.items.setdefault(pk, {})[sk] = item
        for place, entry in _entries(item):
            insort(self._sorted.setdefault(place, []), entry)

    def _remove(self, key: Wire) -> None:
        pk, sk = key["pk"]["S"], key["sk"]["S"]
        old = self.items.get(pk, {}).pop(sk, None)
        if old is None:
            return
        for place, entry in _entries(old):
            line = self._sorted[place]
            del line[bisect_left(line, entry)]


def failure(operation: str, code: str, **parsed: Any) -> ClientError:
    """Make the error that botocore raises for an answer."""
    found: Any = {"Error": {"Code": code, "Message": "in memory"}, **parsed}
    return ClientError(found, operation)


def canceled(reasons: list[Wire]) -> ClientError:
    """Make the error of a transaction that was not done."""
    code = "TransactionCanceledException"
    return failure("TransactWriteItems", code, CancellationReasons=reasons)


def _entries(item: Wire) -> list[tuple[tuple[str, str], tuple[Any, str, str]]]:
    """Say where an item stands: in its partition, and in each index whose key it has."""
    pk, sk = item["pk"]["S"], item["sk"]["S"]
    found = [(("", pk), (sk, pk, sk))]
    for index, (hashed, ranged) in INDEXES.items():
        if hashed in item and ranged in item:
            place = (index, item[hashed]["S"])
            found.append((place, (_plain(item[ranged]), pk, sk)))
    return found


def _wants_old(request: Wire) -> bool:
    return request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"


def _holds(request: Wire, old: Wire | None) -> bool:
    text = request.get("ConditionExpression")
    if text is None:
        return True
    values = request.get("ExpressionAttributeValues", {})
    return _condition(text)(old or {}, values, request.get("ExpressionAttributeNames", {}))


def _written(kind: str, request: Wire, old: Wire | None) -> Wire:
    if kind == "Put":
        return dict(request["Item"])
    new = dict(old or request["Key"])
    names = request.get("ExpressionAttributeNames", {})
    values = request.get("ExpressionAttributeValues", {})
    for clause, parts in _update(request["UpdateExpression"]):
        for part in parts:
            name = names.get(part[0], part[0])
            if clause == "REMOVE":
                new.pop(name, None)
            elif clause == "ADD":
                before = _plain(new[name]) if name in new else 0
                new[name] = {"N": str(before + _plain(values[part[1]]))}
            else:  # SET, all of it of the item as it was
                new[name] = _evaluate(part[2:], old or {}, values, names)
    return new


def _evaluate(tokens: list[str], old: Wire, values: Wire, names: Mapping[str, str]) -> Wire:
    """Work out what is on the right of SET: a value, if_not_exists, and a sum of two."""
    if tokens[0] == "if_not_exists":
        name, length = names.get(tokens[2], tokens[2]), 6
        found = old[name] if name in old else values[tokens[4]]
    else:
        name, length = names.get(tokens[0], tokens[0]), 1
        found = values[tokens[0]] if tokens[0].startswith(":") else old[name]
    rest = tokens[length:]
    if not rest:
        return dict(found)
    sign = {"+": 1, "-": -1}[rest[0]]
    return {"N": str(_plain(found) + sign * _plain(_evaluate(rest[1:], old, values, names)))}


def _plain(value: Wire) -> Any:
    [(kind, content)] = value.items()
    return int(content) if kind == "N" else content


@cache
def _tokens(text: str) -> tuple[str, ...]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match, f"no token of ours: {text[position:]}"
        found.append(match[1])
        position = match.end()
    return tuple(found)


@cache
def _update(text: str) -> list[tuple[str, list[list[str]]]]:
    """Take an update apart: clauses, and the tokens of each of their parts."""
    clauses: list[tuple[str, list[list[str]]]] = []
    depth = 0
    for token in _tokens(text):
        if token in {"SET", "ADD", "REMOVE"}:
            clauses.append((token, [[]]))
        elif token == "," and not depth:
            clauses[-1][1].append([])
        else:
            depth += {"(": 1, ")": -1}.get(token, 0)
            clauses[-1][1][-1].append(token)
    return clauses


@cache
def _condition(text: str) -> Test:
    tokens = list(_tokens(text))
    test = _any(tokens)
    assert not tokens, f"not understood: {tokens}"
    return test


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
    first = tokens.pop(0)
    if first == "(":
        inner = _any(tokens)
        assert tokens.pop(0) == ")"
        return inner
    if first in {"attribute_exists", "attribute_not_exists"}:
        _, name, _ = (tokens.pop(0) for _ in range(3))
        there = first == "attribute_exists"
        return lambda item, _, names: (names.get(name, name) in item) is there
    operator = tokens.pop(0)
    if operator == "IN":
        assert tokens.pop(0) == "("
        many = [tokens.pop(0)]
        while tokens.pop(0) == ",":
            many.append(tokens.pop(0))
        return lambda item, values, names: (
            item.get(names.get(first, first)) in [values[one] for one in many]
        )
    if operator == "BETWEEN":
        low, _, high = (tokens.pop(0) for _ in range(3))
        above, below = _compare(first, ">=", low), _compare(first, "<=", high)
        return lambda *given: above(*given) and below(*given)
    return _compare(first, operator, tokens.pop(0))


def _compare(left: str, operator: str, right: str) -> Test:
    """Compare two operands; where one is missing, or of another type, it does not hold."""
    compared = _COMPARED[operator]

    def test(item: Wire, values: Wire, names: Mapping[str, str]) -> bool:
        one, other = (
            values[name] if name.startswith(":") else item.get(names.get(name, name))
            for name in (left, right)
        )
        if one is None or other is None or one.keys() != other.keys():
            return operator == "<>"
        return compared(_plain(one), _plain(other))

    return test

"""Small faults for a Python file, each one change of its syntax tree.

A fault that no test notices is in behaviour that no test checks. Texts of errors and log lines,
other sentences, annotations, decorators and docstrings are not changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_COMPOUND = (
    *(ast.If, ast.While, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.Try),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Match),
)
# A text for people: only words, and at least two of them.
_SENTENCE = re.compile(r"[A-Za-z][A-Za-z',.:;-]*( [A-Za-z0-9',.:;-]+)+")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Mutant:
    """One changed place of a file.

    `lines` are those of the statement, for a compound one its header. `scope` is the function or
    class around it, empty at module level. `names` are what an assignment at module level assigns.
    `was` and `now` are the changed part of the statement.
    """

    path: str
    lines: range
    scope: str
    names: frozenset[str]
    was: str
    now: str
    change: Callable[[], None]
    tree: ast.Module

    @property
    def place(self) -> str:
        """File and line, as editors open them."""
        return f"{self.path}:{self.lines.start}"

    def code(self) -> ast.Module:
        """Change the tree, which all mutants of a file share: call it in a forked process."""
        self.change()
        return ast.fix_missing_locations(self.tree)


def mutants(path: str, source: str) -> list[Mutant]:
    """List the mutants of a file in the order of its lines."""
    return list(_File(path, ast.parse(source)).mutants())


@dataclass(frozen=True)
class _Place:
    """Where a node stands in its parent."""

    parent: ast.AST
    field: str
    index: int | None = None

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class _Around:
    """What surrounds a node: its statement, its scope, and whether it belongs to a text."""

    statement: ast.stmt | None = None
    scope: tuple[str, ...] = ()
    in_function: bool = False
    is_text: bool = False


class _File:
    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path = path
        self.tree = tree

    def mutants(self) -> Iterator[Mutant]:
        yield from self._children(self.tree, _Around())

    def _children(self, node: ast.AST, around: _Around) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns", "decorator_list", "type_params"}:
                continue
            if isinstance(value, list):
                for index, child in enumerate(value):
                    if isinstance(child, ast.AST):
                        yield from self._node(child, _Place(node, field, index), around)
            elif isinstance(value, ast.AST):
                yield from self._node(value, _Place(node, field), around)

    def _node(self, node: ast.AST, place: _Place, around: _Around) -> Iterator[Mutant]:
        if isinstance(node, ast.stmt):
            if _is_skipped(node):
                return
            around = _Around(node, around.scope, around.in_function, _is_text(node))
        elif isinstance(node, ast.JoinedStr) or _is_text_argument(node, place):
            around = _Around(around.statement, around.scope, around.in_function, is_text=True)
        for now in _replacements(node, place, around):
            yield self._mutant(node, now, place, around)
        if isinstance(node, _DEFINITIONS):
            inside = (*around.scope, node.name)
            is_function = not isinstance(node, ast.ClassDef)
            around = _Around(node, inside, is_function or around.in_function)
        yield from self._children(node, around)

    def _mutant(self, node: ast.AST, now: ast.AST, place: _Place, around: _Around) -> Mutant:
        statement = around.statement
        assert statement is not None  # noqa: S101 - every expression is in a statement
        before = _header(statement)
        if node is statement:
            after = _header(now)
        else:
            place.put(now)
            after = _header(statement)
            place.put(node)
        was, changed = _difference(before, after)
        return Mutant(
            self.path,
            _lines(statement),
            ".".join(around.scope),
            _assigned(statement) if not around.scope else frozenset(),
            was,
            changed,
            lambda: place.put(now),
            self.tree,
        )


def _is_skipped(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):  # for type checkers
            return True
    return False


def _is_text(node: ast.stmt) -> bool:
    """Tell whether the strings of a statement are for people: an error's or a log line's."""
    return isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and isinstance(node.value.func.value, ast.Name)
        and node.value.func.value.id == "logger"
    )


def _is_text_argument(node: ast.AST, place: _Place) -> bool:
    match place.parent, node:
        case ast.Call(func=ast.Name(id="cast" | "TypeVar" | "NewType")), _:
            return place.field == "args"
        case ast.keyword(arg="strict"), ast.Constant():  # of zip: a check of our own code
            return True
    return False


def _replacements(node: ast.AST, place: _Place, around: _Around) -> Iterator[ast.AST]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    elif isinstance(node, ast.expr):
        yield from _of_expression(node, around)
        if _is_condition(place) and not _is_negated_already(node):
            yield ast.UnaryOp(ast.Not(), node)


def _of_statement(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Return(value=ast.Constant(value=None | True | False) | None):
            pass
        case ast.Return():
            yield ast.Return(ast.Constant(None))


def _of_expression(node: ast.expr, around: _Around) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, ops, comparators):
            for index, op in enumerate(ops):
                other = _COMPARISONS[type(op)]()
                yield ast.Compare(left, [*ops[:index], other, *ops[index + 1 :]], comparators)
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            if not (isinstance(op, ast.BitOr) and not around.in_function):  # a union of types
                yield ast.BinOp(left, _OPERATORS[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = [*values[:index], *values[index + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Call(ast.Name(name), args, keywords) if name in _CALLS:
            yield ast.Call(ast.Name(_CALLS[name], ast.Load()), args, keywords)
        case ast.Constant(value):
            yield from map(ast.Constant, _of_value(value, is_text=around.is_text))


def _of_value(value: object, *, is_text: bool) -> Iterator[bool | float | str | bytes]:
    match value:
        case bool() if not is_text:
            yield not value
        case int() | float() if not isinstance(value, bool):
            yield value + 1
            yield value - 1
        case str() if not is_text and not _SENTENCE.fullmatch(value):
            yield value + "~"
        case bytes():
            yield value + b"~"


def _is_condition(place: _Place) -> bool:
    return (place.field == "test" and isinstance(place.parent, ast.If | ast.While | ast.IfExp)) or (
        place.field == "ifs" and isinstance(place.parent, ast.comprehension)
    )


def _is_negated_already(node: ast.expr) -> bool:
    match node:
        case ast.UnaryOp(ast.Not()) | ast.Constant():
            return True
        case ast.Compare(ops=[op]):
            return not isinstance(op, _ORDERED)
    return False


def _assigned(statement: ast.stmt) -> frozenset[str]:
    match statement:
        case ast.Assign(targets=targets):
            pass
        case ast.AnnAssign(target=target):
            targets = [target]
        case _:
            targets = []
    return frozenset(
        node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
    )


def _lines(statement: ast.stmt) -> range:
    last = statement.end_lineno or statement.lineno
    if isinstance(statement, _COMPOUND):
        body = statement.cases if isinstance(statement, ast.Match) else statement.body
        first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
        last = max(statement.lineno, first.lineno - 1)
    return range(statement.lineno, last + 1)


def _header(node: ast.AST) -> str:
    if isinstance(node, _COMPOUND) and not isinstance(node, ast.Match):
        text = ast.unparse(node).splitlines()
        skip = len(node.decorator_list) if isinstance(node, _DEFINITIONS) else 0
        return text[skip]
    return " ".join(line.strip() for line in ast.unparse(node).splitlines())


def _difference(before: str, after: str, *, around: int = 40) -> tuple[str, str]:
    """Cut two statements to what differs and a little on both sides."""
    same = _shared(before, after)
    rest = _shared(before[same:][::-1], after[same:][::-1])
    start = max(0, same - around)

    def cut(text: str) -> str:
        end = len(text) - max(0, rest - around)
        return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")

    return cut(before), cut(after)


def _shared(one: str, other: str) -> int:
    """Count the characters that both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))

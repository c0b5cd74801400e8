"""Small safe expressions over facts, with a third truth value for what is not known.

A rule's condition is Python syntax cut down to a whitelist: paths into the facts, constants, comparisons, arithmetic,
``and``, ``or``, ``not``, ``x if c else y``, comprehensions, and a few functions (``FUNCTIONS``, ``any``, ``all``,
``known``). Every path and every operand is checked when the rule is read, so evaluation cannot fail: it gives a value,
or ``Unknown`` naming the facts that were missing.

Logic is Kleene's: ``unknown and False`` is False, ``unknown or True`` is True, anything else unknown stays unknown.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.advice.functions import FUNCTIONS, Function
from harness.advice.kinds import BOOL, NONE, NUMBER, TEXT, Collection, Kind, Record, Scalar, Table, fields_of
from harness.advice.logic import Unknown, conjunction, disjunction, merged, negation
from harness.advice.steps import count_step, within_steps

MAX_LENGTH = 1000  # characters; keeps the parser's recursion small
_DEEPEST = 50  # operations in one another

Environment = Mapping[str, Any]
Evaluator = Callable[[Environment], Any]


class ExpressionError(Exception):
    """An expression that is not understood; the message says what and why."""


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes:
        text: as written.
        kind: what it evaluates to.
        paths: the facts it names, as dotted paths without indices.
    """

    text: str
    kind: Kind
    paths: tuple[str, ...]
    _run: Evaluator

    def evaluate(self, names: Environment) -> Any:
        """The value, ``None`` for a fact known to be absent (no quota is set), or ``Unknown``."""
        return self._run(names)


def parse(text: str, scope: Mapping[str, Kind]) -> Expression:
    """Read and check an expression.

    Args:
        text: the expression.
        scope: kind of each name it may start a path with.

    Raises:
        ExpressionError: bad syntax, a construct outside the whitelist, an unknown fact, or operands that do not fit.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"not an expression: {error}") from error
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
    if level:  # what recurs over it could not
        raise ExpressionError(f"more than {_DEEPEST} operations in one another")
    compiler = _Compiler(scope)
    typed = compiler.compile(tree.body)
    return Expression(text, typed.kind, tuple(dict.fromkeys(compiler.paths)), within_steps(typed.run, typed.path))


@dataclass(frozen=True)
class _Typed:
    kind: Kind
    run: Evaluator
    path: str  # how a missing value is named: the fact's path where there is one, else the expression itself


# Items of a comprehension as (condition, value), the condition True or Unknown; both Unknown for a source that is.
_Items = Callable[[Environment], list[tuple[Any, Any]]]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _lifted(function: Callable[..., Any], arguments: Sequence[_Typed], path: str) -> Evaluator:
    """``function`` over known arguments; an unknown or absent one, or a failing call, makes the result unknown."""

    def run(names: Environment) -> Any:
        values = [argument.run(names) for argument in arguments]
        unknown = merged(values)
        if unknown is not None:
            return unknown
        absent = frozenset(argument.path for argument, value in zip(arguments, values, strict=True) if value is None)
        if absent:
            return Unknown(absent)
        try:
            return function(*values)
        except (ArithmeticError, ValueError):
            return Unknown(frozenset({path}))

    return run


class _Compiler:
    def __init__(self, scope: Mapping[str, Kind], bound: Mapping[str, str] | None = None) -> None:
        self.scope = scope
        self.bound = bound or {}  # comprehension variable -> the path it stands for
        self.paths: list[str] = []

    def compile(self, node: ast.expr) -> _Typed:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise ExpressionError(f"{ast.unparse(node)!r}: {type(node).__name__} is not allowed")
        typed = method(node)
        assert isinstance(typed, _Typed)
        return typed

    def _expect(self, node: ast.expr, kind: Kind) -> _Typed:
        typed = self.compile(node)
        if typed.kind != kind:
            raise ExpressionError(f"{ast.unparse(node)!r} is {typed.kind}, expected {kind}")
        return typed

    def _constant(self, node: ast.Constant) -> _Typed:
        value = node.value
        kinds: dict[type, Kind] = {bool: BOOL, int: NUMBER, float: NUMBER, str: TEXT, type(None): NONE}
        kind = kinds.get(type(value))
        if kind is None:
            raise ExpressionError(f"{ast.unparse(node)!r}: only numbers, texts, True, False and None are allowed")
        return _Typed(kind, lambda _: value, repr(value))

    def _name(self, node: ast.Name) -> _Typed:
        name = node.id
        if name not in self.scope:
            raise ExpressionError(f"{name!r} is not known; expected one of {', '.join(sorted(self.scope))}")
        return _Typed(self.scope[name], lambda names: names[name], self.bound.get(name, name))

    def _attribute(self, node: ast.Attribute) -> _Typed:
        base = self.compile(node.value)
        if not isinstance(base.kind, Record):
            raise ExpressionError(f"{base.path!r} is {base.kind} and has no fields")
        known = fields_of(base.kind.type)
        name, path = node.attr, f"{base.path}.{node.attr}"
        if name not in known:
            raise ExpressionError(f"{path!r} is not a fact; {base.kind} has {', '.join(sorted(known))}")
        self.paths.append(path.replace("[]", ""))

        def read(record: Any) -> Any:
            value = getattr(record, name)
            # An empty value is a fact only where the group says that it was read.
            sources = getattr(record, "sources", None)
            if value is None:
                return None if sources is not None and name in sources else Unknown(frozenset({path}))
            if sources is not None and name not in sources and value in ((), {}):
                return Unknown(frozenset({path}))
            return value

        return _Typed(known[name], _lifted(read, [base], path), path)

    def _subscript(self, node: ast.Subscript) -> _Typed:
        base = self.compile(node.value)
        if not isinstance(base.kind, Table):
            raise ExpressionError(f"{base.path!r} is {base.kind}; only a table can be indexed")
        key = self._expect(node.slice, base.kind.key)
        path = f"{base.path}[{ast.unparse(node.slice)}]"

        def read(table: Mapping[Any, Any], index: Any) -> Any:
            value = table.get(index)
            return Unknown(frozenset({path})) if value is None else value

        return _Typed(base.kind.value, _lifted(read, [base, key], path), path)

    def _boolop(self, node: ast.BoolOp) -> _Typed:
        operands = [self._expect(value, BOOL) for value in node.values]
        combine = conjunction if isinstance(node.op, ast.And) else disjunction
        return _Typed(BOOL, lambda names: combine([_truth(item, names) for item in operands]), ast.unparse(node))

    def _unaryop(self, node: ast.UnaryOp) -> _Typed:
        path = ast.unparse(node)
        if isinstance(node.op, ast.Not):
            operand = self._expect(node.operand, BOOL)
            return _Typed(BOOL, lambda names: negation(_truth(operand, names)), path)
        if isinstance(node.op, ast.USub):
            operand = self._expect(node.operand, NUMBER)
            return _Typed(NUMBER, _lifted(operator.neg, [operand], path), path)
        raise ExpressionError(f"{path!r}: only 'not' and '-' are allowed")

    def _binop(self, node: ast.BinOp) -> _Typed:
        function = _ARITHMETIC.get(type(node.op))
        path = ast.unparse(node)
        if function is None:
            raise ExpressionError(f"{path!r}: only + - * / // % are allowed")
        operands = [self._expect(node.left, NUMBER), self._expect(node.right, NUMBER)]
        return _Typed(NUMBER, _lifted(function, operands, path), path)

    def _ifexp(self, node: ast.IfExp) -> _Typed:
        condition, chosen = self._expect(node.test, BOOL), self.compile(node.body)
        other = self._expect(node.orelse, chosen.kind)

        def run(names: Environment) -> Any:
            truth = _truth(condition, names)
            if isinstance(truth, Unknown):
                return truth
            return (chosen if truth else other).run(names)

        return _Typed(chosen.kind, run, ast.unparse(node))

    def _compare(self, node: ast.Compare) -> _Typed:
        operands = [self.compile(item) for item in (node.left, *node.comparators)]
        steps = [
            self._comparison(test, left, right, ast.unparse(node))
            for test, left, right in zip(node.ops, operands, operands[1:], strict=False)
        ]
        return _Typed(BOOL, lambda names: conjunction([step(names) for step in steps]), ast.unparse(node))

    def _comparison(self, test: ast.cmpop, left: _Typed, right: _Typed, path: str) -> Evaluator:
        if isinstance(test, (ast.Is, ast.IsNot)):
            if right.kind != NONE:
                raise ExpressionError(f"{path!r}: 'is' compares with None only")
            wanted = isinstance(test, ast.Is)

            def is_none(names: Environment) -> Any:
                value = left.run(names)
                return value if isinstance(value, Unknown) else (value is None) == wanted

            return is_none
        if isinstance(test, (ast.In, ast.NotIn)):
            element = _element_kind(right.kind)
            if element != left.kind:
                raise ExpressionError(f"{path!r}: {left.kind} cannot be in {right.kind}")
            contained = _lifted(lambda item, items: item in items, [left, right], path)
            return contained if isinstance(test, ast.In) else lambda names: negation(contained(names))
        if isinstance(test, (ast.Eq, ast.NotEq)):
            if left.kind != right.kind or not isinstance(left.kind, Scalar):
                raise ExpressionError(f"{path!r}: {left.kind} cannot be compared with {right.kind}")
            return _lifted(operator.eq if isinstance(test, ast.Eq) else operator.ne, [left, right], path)
        if left.kind != NUMBER or right.kind != NUMBER:
            raise ExpressionError(f"{path!r}: only numbers are ordered, not {left.kind} and {right.kind}")
        return _lifted(_ORDER[type(test)], [left, right], path)

    def _tuple(self, node: ast.Tuple | ast.List) -> _Typed:
        items = [self.compile(item) for item in node.elts]
        if not items or any(item.kind != items[0].kind for item in items):
            raise ExpressionError(f"{ast.unparse(node)!r}: expected one or more values of one kind")
        path = ast.unparse(node)
        return _Typed(Collection(items[0].kind), _lifted(lambda *values: values, items, path), path)

    _list = _tuple

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp) -> _Typed:
        kind, items = self._items(node)

        def run(names: Environment) -> Any:
            pairs = items(names)
            return merged([part for pair in pairs for part in pair]) or tuple(value for _, value in pairs)

        return _Typed(Collection(kind), run, ast.unparse(node))

    _generatorexp = _listcomp

    def _items(self, node: ast.ListComp | ast.GeneratorExp) -> tuple[Kind, _Items]:
        """Kind and evaluator of a comprehension's items, inner loops first."""
        inner = _Compiler(self.scope, self.bound)
        loops: list[tuple[str, _Typed, list[_Typed]]] = []
        for loop in node.generators:
            if not isinstance(loop.target, ast.Name) or loop.is_async:
                raise ExpressionError(f"{ast.unparse(node)!r}: expected 'for NAME in COLLECTION'")
            source = inner.compile(loop.iter)
            if not isinstance(source.kind, Collection):
                raise ExpressionError(f"{ast.unparse(loop.iter)!r} is {source.kind}, expected a collection")
            name = loop.target.id
            if name in self.scope:
                raise ExpressionError(f"{ast.unparse(node)!r}: the name {name!r} is taken")
            paths = inner.paths
            inner = _Compiler({**inner.scope, name: source.kind.element}, {**inner.bound, name: f"{source.path}[]"})
            inner.paths = paths
            loops.append((name, source, [inner._expect(test, BOOL) for test in loop.ifs]))
        value = inner.compile(node.elt)
        self.paths.extend(inner.paths)

        def walk(names: Environment, depth: int, condition: Any) -> Iterator[tuple[Any, Any]]:
            if depth == len(loops):
                yield condition, value.run(names)
                return
            name, source, tests = loops[depth]
            collection = source.run(names)
            if isinstance(collection, Unknown) or collection is None:
                unknown = collection or Unknown(frozenset({source.path}))
                yield unknown, unknown
                return
            for element in collection:
                count_step()
                bound = {**names, name: element}
                kept = conjunction([condition, *(_truth(test, bound) for test in tests)])
                if kept is not False:
                    yield from walk(bound, depth + 1, kept)

        return value.kind, lambda names: list(walk(names, 0, True))

    def _call(self, node: ast.Call) -> _Typed:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise ExpressionError(f"{ast.unparse(node)!r}: expected FUNCTION(ARGUMENT, ...)")
        name, path = node.func.id, ast.unparse(node)
        if name in ("any", "all"):
            return self._quantifier(name, node)
        if name == "known":
            return self._known(node)
        function: Function | None = FUNCTIONS.get(name)
        if function is None:
            allowed = ", ".join(sorted((*FUNCTIONS, "all", "any", "known")))
            raise ExpressionError(f"{path!r}: no function {name!r}; expected one of {allowed}")
        arguments = [self.compile(argument) for argument in node.args]
        kind = function.result([argument.kind for argument in arguments])
        if kind is None:
            given = ", ".join(str(argument.kind) for argument in arguments) or "nothing"
            raise ExpressionError(f"{path!r}: {name} takes {function.takes}, not {given}")
        return _Typed(kind, _lifted(function.apply, arguments, path), path)

    def _quantifier(self, name: str, node: ast.Call) -> _Typed:
        if len(node.args) != 1 or not isinstance(node.args[0], ast.GeneratorExp):
            raise ExpressionError(f"{ast.unparse(node)!r}: expected {name}(TEST for NAME in COLLECTION)")
        kind, items = self._items(node.args[0])
        if kind != BOOL:
            raise ExpressionError(f"{ast.unparse(node)!r}: {name} tests {BOOL}, not {kind}")

        def run(names: Environment) -> Any:
            pairs = items(names)
            if name == "any":
                return disjunction([conjunction(pair) for pair in pairs])
            return conjunction([disjunction([negation(condition), value]) for condition, value in pairs])

        return _Typed(BOOL, run, ast.unparse(node))

    def _known(self, node: ast.Call) -> _Typed:
        if len(node.args) != 2:
            raise ExpressionError(f"{ast.unparse(node)!r}: expected known(VALUE, FALLBACK)")
        value = self.compile(node.args[0])
        fallback = self._expect(node.args[1], value.kind)

        def run(names: Environment) -> Any:
            result = value.run(names)
            return fallback.run(names) if result is None or isinstance(result, Unknown) else result

        return _Typed(value.kind, run, ast.unparse(node))


def _truth(operand: _Typed, names: Environment) -> Any:
    """A truth value; a fact known to be absent has none."""
    value = operand.run(names)
    return Unknown(frozenset({operand.path})) if value is None else value


def _element_kind(kind: Kind) -> Kind | None:
    if isinstance(kind, Collection):
        return kind.element
    if isinstance(kind, Table):
        return kind.key
    return TEXT if kind == TEXT else None

"""The rule language against Python's own evaluator, and against arbitrary text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.advice.expression import ExpressionError, parse
from harness.advice.kinds import Record
from harness.advice.logic import Unknown


@dataclass(frozen=True)
class Leaf:
    size: int | None = None
    tags: tuple[int, ...] = ()


@dataclass(frozen=True)
class Machine:
    a: bool | None = None
    b: bool | None = None
    c: bool | None = None
    n: int | None = None
    m: int | None = None
    text: str | None = None
    leaves: tuple[Leaf, ...] = ()
    table: Mapping[str, bool | None] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


SCOPE = {"x": Record(Machine)}
_FUNCTIONS = {"len": len, "max": max, "min": min, "sum": sum, "any": any, "all": all}


def _evaluate(text: str, machine: Machine) -> object:
    return parse(text, SCOPE).evaluate({"x": machine})


def _logic() -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["x.a", "x.b", "x.c", "True", "False", "x.n < x.m", "x.n == 2", "x.n + 1 > x.m"])
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            inner.map(lambda one: f"(not {one})"),
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
            st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
        ),
        max_leaves=8,
    )


_TRUTH = st.sampled_from([True, False, None])
_NUMBER = st.sampled_from([0, 2, 5, None])


@given(text=_logic(), a=_TRUTH, b=_TRUTH, c=_TRUTH, n=_NUMBER, m=_NUMBER)
def test_an_answer_holds_whatever_the_unknown_facts_are(text, a, b, c, n, m):
    """A definite answer must be Python's for every value the unknown facts could have."""
    answer = _evaluate(text, Machine(a=a, b=b, c=c, n=n, m=m))
    truths, numbers = (True, False), (-1, 0, 1, 2, 3, 5, 6)
    completions = [
        Machine(a=one, b=two, c=three, n=four, m=five)
        for one, two, three, four, five in product(
            truths if a is None else [a],
            truths if b is None else [b],
            truths if c is None else [c],
            numbers if n is None else [n],
            numbers if m is None else [m],
        )
    ]
    if isinstance(answer, Unknown):
        assert answer.missing <= {f"x.{name}" for name in "abcnm" if getattr(Machine(a, b, c, n, m), name) is None}
        assert answer.missing
    else:
        assert {eval(text, {"x": machine}) for machine in completions} == {answer}


_LEAVES = st.lists(
    st.builds(Leaf, size=st.integers(0, 9) | st.none(), tags=st.lists(st.integers(0, 3), max_size=3).map(tuple)),
    max_size=4,
).map(tuple)
_OVER_LEAVES = [
    "any(leaf.size > 4 for leaf in x.leaves)",
    "all(leaf.size > 4 for leaf in x.leaves if len(leaf.tags) > 0)",
    "any(leaf.size == tag for leaf in x.leaves for tag in leaf.tags if tag > 1)",
    "len([leaf.size for leaf in x.leaves if leaf.size < 5])",
    "sum([leaf.size * 2 for leaf in x.leaves])",
    "max([leaf.size for leaf in x.leaves])",
]


@given(text=st.sampled_from(_OVER_LEAVES))
def test_nothing_is_known_of_a_collection_that_was_not_read(text):
    assert _evaluate(text, Machine()) == Unknown(frozenset({"x.leaves"}))


@given(text=st.sampled_from(_OVER_LEAVES), leaves=_LEAVES)
def test_comprehensions_agree_with_python_or_are_unknown(text, leaves):
    machine = Machine(leaves=leaves, sources={"leaves": "here"})
    answer = _evaluate(text, machine)
    if all(leaf.size is not None for leaf in leaves):
        try:
            expected = eval(text, {**_FUNCTIONS, "x": machine})
        except ValueError:  # the largest of nothing
            assert isinstance(answer, Unknown)
        else:
            assert answer == expected
            assert type(answer) is type(expected)
    elif not isinstance(answer, Unknown):
        completed = [
            Machine(leaves=tuple(Leaf(size if leaf.size is None else leaf.size, leaf.tags) for leaf in leaves))
            for size in range(-1, 11)
        ]
        assert {eval(text, {**_FUNCTIONS, "x": machine}) for machine in completed} == {answer}


_WORDS = st.sampled_from(
    [
        *("x", "x.a", "x.n", "x.text", "x.leaves", "x.table", "x.nothing", "leaf", "leaf.size", "x.a.__class__"),
        *("and", "or", "not", "if", "else", "for", "in", "is", "None", "True", "await", "import", ":=", "lambda"),
        *("1", "2.5", "9e999", "'a'", "f'{x}'", "x.table['a']", "__class__", "open", "\\", "\x00", "#", "\n", "é"),
        *("(", ")", "[", "]", "{", "}", ",", ".", "+", "-", "*", "/", "//", "%", "**", "<", ">", "==", "!=", ":"),
        *("len(", "max(", "any(", "known(", "round(", "integer(", "join(", "first(", "cpulist(", "gib("),
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=14).map(" ".join)))
def test_any_text_is_either_checked_or_refused_and_never_fails_later(text):
    try:
        expression = parse(text, SCOPE)
    except ExpressionError:
        return
    for machine in (
        Machine(),
        Machine(True, False, True, 3, 0, "12", (Leaf(1, (2,)),), {"a": True}, {"leaves": "here"}),
        Machine(sources=dict.fromkeys(("a", "n", "text", "leaves", "table"), "known to be absent")),
    ):
        expression.evaluate({"x": machine})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "x.a.__class__",
        "x.sources",
        "(lambda: True)()",
        "[leaf for leaf in x.leaves][0].size",
        "x.n ** 9 ** 9",
        "x.leaves.index(1)",
        "open('/etc/passwd')",
        "x.text.format(x)",
        "any([x.a])",
        "x.a if x.n else x.b",
        "x.a == 1",
        "x.text < 'a'",
        "x.a and x.n",
        "max(x.text)",
        "{1, 2}",
        "f'{x}'",
        "1" * 2000,
        "(" * 300 + "1" + ")" * 300,
    ],
)
def test_what_is_not_on_the_whitelist_is_refused(text):
    with pytest.raises(ExpressionError):
        parse(text, SCOPE)

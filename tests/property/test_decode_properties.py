"""What is encoded decodes to the same value, and a value of another shape is one error, for any value of the types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from harness.decode import LARGEST_INT, PositiveInt, decode, encode
from harness.errors import InputError
from harness.parsing import parse_json


class Unit(str, Enum):
    SECONDS = "s"
    BYTES = "B"


@dataclass(frozen=True)
class Leaf:
    count: PositiveInt
    unit: Unit | None
    kind: Literal["leaf"] = "leaf"


@dataclass(frozen=True)
class Branch:
    name: str
    children: tuple[Leaf | Branch, ...]
    weights: Mapping[int, float]
    samples: tuple[int, ...]
    value: bool | int | float | str | tuple[float, ...] | None
    kind: Literal["branch"] = "branch"


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_WHOLE = st.integers(-LARGEST_INT, LARGEST_INT)
_LEAVES = st.builds(Leaf, st.integers(1, LARGEST_INT), st.none() | st.sampled_from(Unit))
_NODES = st.recursive(
    _LEAVES,
    lambda node: st.builds(
        Branch,
        st.text(),
        st.lists(node, max_size=3).map(tuple),
        st.dictionaries(_WHOLE, _FLOATS, max_size=3),
        st.lists(_WHOLE, max_size=3).map(tuple),
        st.none() | st.booleans() | _WHOLE | _FLOATS | st.text() | st.lists(_FLOATS, max_size=3).map(tuple),
    ),
    max_leaves=8,
)
_JSON = st.recursive(
    st.none() | st.booleans() | _WHOLE | _FLOATS | st.text(max_size=4),
    lambda item: st.lists(item, max_size=3) | st.dictionaries(st.sampled_from(["kind", "count", "name", "x"]), item),
    max_leaves=6,
)


@given(_NODES)
def test_what_is_encoded_decodes_to_the_same(node):
    written = json.dumps(encode(node), allow_nan=False)
    decoded = decode(type(node), parse_json(written, "n.json"), "n.json")
    assert decoded == node
    assert json.dumps(encode(decoded)) == written


@given(_JSON)
def test_any_other_json_is_decoded_or_refused_by_place(value):
    try:
        node = decode(Leaf, value, "n.json")
    except InputError as error:
        assert str(error).startswith("n.json")  # noqa: PT017 - either outcome is right, an error must name its place
    else:
        assert encode(node)["count"] == value["count"]

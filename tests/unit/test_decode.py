"""Typed reading and writing: what a file may hold, and that every wrong value is one error naming file and key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from harness import parsing
from harness.decode import (
    Check,
    NotPlainError,
    PositiveFloat,
    PositiveInt,
    Text,
    decode,
    decode_json_file,
    decode_toml_file,
    encode,
)
from harness.errors import InputError
from harness.parsing import parse_json, read_json, read_toml


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Circle:
    radius: PositiveFloat
    kind: Literal["circle"] = "circle"


@dataclass(frozen=True)
class Square:
    side: int
    kind: Literal["square"] = "square"


@dataclass(frozen=True)
class Drawing:
    title: Text
    copies: PositiveInt = 1
    colour: Colour | None = None
    shapes: tuple[Circle | Square, ...] = ()
    size: tuple[int, float] = (1, 2.0)
    sizes: Mapping[int, float] = field(default_factory=dict)
    by_colour: Mapping[Literal["red", "blue"], tuple[int, ...]] = field(default_factory=dict)
    where: Path = Path()
    value: bool | int | float | str | tuple[int, ...] = 0
    shown_as: str | Square = ""
    free: Any = None
    even: Annotated[int, Check("an even number", lambda number: number % 2 == 0)] = 0
    derived: int = field(default=3, init=False)


def test_everything_a_dataclass_may_hold_round_trips():
    drawing = Drawing(
        title="Both",
        copies=2,
        colour=Colour.BLUE,
        shapes=(Circle(1.5), Square(2)),
        size=(3, 0.5),
        sizes={10: 1.0, 2: 0.5},
        by_colour={"red": (1, 2)},
        where=Path("a/b"),
        value=(1, 2),
        shown_as=Square(4),
        free={"x": [1, None]},
        even=4,
    )
    assert decode(Drawing, parse_json(json.dumps(encode(drawing)), "-"), "-") == drawing


def test_defaults_and_numbers_that_toml_cannot_tell_apart():
    drawing = decode(Drawing, {"title": "Plain", "sizes": {"3": 1}, "size": [1, 2]}, "d.toml")
    assert drawing == Drawing("Plain", sizes={3: 1.0})
    assert type(drawing.sizes[3]) is float
    assert type(drawing.size[1]) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"title": 3}, r"d.toml: title is 3 (int); expected a text"),
        ({"title": " "}, r"d.toml: title is ' ' (str); expected a text that is not empty"),
        ({"copies": True}, r"d.toml: copies is True (bool); expected a positive whole number"),
        ({"copies": 2.0}, r"d.toml: copies is 2.0 (float); expected a positive whole number"),
        ({"copies": 0}, r"d.toml: copies is 0 (int); expected a positive whole number"),
        ({"copies": None}, r"d.toml: copies is null; expected a positive whole number"),
        ({"copies": [1]}, r"d.toml: copies is a list; expected a positive whole number"),
        ({"copies": {}}, r"d.toml: copies is a table; expected a positive whole number"),
        ({"colour": "green"}, r"d.toml: colour is 'green' (str); expected one of 'red', 'blue'"),
        ({"colour": ["red"]}, r"d.toml: colour is a list; expected one of 'red', 'blue'"),
        ({"shapes": 3}, r"d.toml: shapes is 3 (int); expected a list"),
        ({"shapes": [{"kind": "line"}]}, r"d.toml: shapes[0].kind is 'line' (str); expected one of 'circle', 'square'"),
        ({"shapes": [{"radius": 1}]}, r"d.toml: shapes[0].kind is null; expected one of 'circle', 'square'"),
        ({"shapes": [{"kind": "circle", "radius": -1}]}, r"d.toml: shapes[0].radius is -1 (int); expected a positive"),
        ({"shapes": [{"kind": "circle"}]}, r"d.toml: shapes[0].radius is missing; expected a positive number"),
        ({"shapes": [{"kind": ["circle"]}]}, r"d.toml: shapes[0].kind is a list; expected one of"),
        ({"size": [1]}, r"d.toml: size is a list; expected a list of 2"),
        ({"size": [1, "2"]}, r"d.toml: size[1] is '2' (str); expected a number"),
        ({"sizes": {"three": 1}}, r"d.toml: sizes.three: expected a whole number as the key"),
        ({"sizes": [1]}, r"d.toml: sizes is a list; expected a table"),
        ({"by_colour": {"green": []}}, r"d.toml: by_colour.green: unknown key; expected one of 'red', 'blue'"),
        ({"by_colour": {"red": [1, "2"]}}, r"d.toml: by_colour.red[1] is '2' (str); expected a whole number"),
        ({"where": 3}, r"d.toml: where is 3 (int); expected a path"),
        ({"value": None}, r"d.toml: value is null; expected true or false or a whole number or a number or a text"),
        ({"value": [1, "x"]}, r"d.toml: value[1] is 'x' (str); expected a whole number"),
        ({"shown_as": 3}, r"d.toml: shown_as is 3 (int); expected a text"),
        ({"shown_as": {"side": "x"}}, r"d.toml: shown_as.side is 'x' (str); expected a whole number"),
        ({"even": 3}, r"d.toml: even is 3 (int); expected an even number"),
        ({"derived": 4}, r"d.toml: unknown key 'derived'"),
        ({"color": "red"}, r"d.toml: unknown key 'color'. Did you mean 'colour'? Known: by_colour, colour, copies"),
        ({"value": "x" * 200}, None),
    ],
)
def test_a_wrong_value_names_file_key_and_what_was_expected(given, message):
    table = {"title": "Mine", **given}
    if message is None:
        assert decode(Drawing, table, "d.toml").value == "x" * 200
        return
    with pytest.raises(InputError) as caught:
        decode(Drawing, table, "d.toml")
    assert message in str(caught.value)


def test_missing_keys_and_things_that_are_no_table():
    with pytest.raises(InputError, match=r"d\.toml: title is missing; expected a text"):
        decode(Drawing, {}, "d.toml")
    with pytest.raises(InputError, match=r"d\.json is a list; expected a table"):
        decode(Drawing, [], "d.json")
    with pytest.raises(InputError, match=r"\.{3}; expected a whole number"):
        decode(int, "x" * 500, "d.json: count")


def test_a_type_that_no_file_can_hold_is_a_programming_error():
    with pytest.raises(TypeError, match="decode cannot read"):
        decode(list[int], [1], "here")


def test_long_lists_of_plain_numbers_keep_their_types():
    samples = list(range(100_000))
    assert decode(tuple[int, ...], samples, "s") == tuple(samples)
    with pytest.raises(InputError, match=r"s\[99999\] is True"):
        decode(tuple[int, ...], [*samples[:-1], True], "s")
    assert decode(tuple[float, ...], [1, 2.5], "s") == (1.0, 2.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Drawing("a", free=float("nan")), "free: nan is not a finite number"),
        (Drawing("a", free={"x": [1.0, float("inf")]}), r"free\.x\[1\]: inf is not a finite number"),
        (Drawing("a", free={(1, 2): 3}), r"free: key \(1, 2\) is neither text nor a whole number"),
        (Drawing("a", free=object()), "free: object is not a JSON type"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(value, message):
    with pytest.raises(NotPlainError, match=message):
        encode(value)


def test_mappings_are_written_in_order_of_their_keys():
    assert list(encode({Colour.RED: 1, Colour.BLUE: 2})) == ["blue", "red"]
    assert list(encode({10: "b", 9: "a"})) == ["9", "10"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,}', r"x\.json: not JSON: line 1 column \d+"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": 1, "a": 2}', "key 'a' appears twice"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b"9" * 10_000, r"x\.json: not JSON"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"", r"x\.json: not JSON"),
    ],
)
def test_files_that_are_not_json(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_json(path)


def test_no_file_takes_more_time_or_memory_than_a_sound_file(tmp_path, monkeypatch):
    many = ", ".join(f'"k{number}": 0' for number in range(200_000))
    with pytest.raises(InputError, match="key 'k199999' appears twice"):  # looked for by the square, for hours
        parse_json(f'{{{many}, "k199999": 1}}', "x.json")
    monkeypatch.setattr(parsing, "_JSON_TABLES", 100)
    monkeypatch.setattr(parsing, "_JSON_VALUES", 1000)
    for text in ("[" + "[]," * 100 + "[]]", "[" + "{}," * 100 + "1]", "[" + "0," * 1001 + "0]"):
        with pytest.raises(InputError, match="more than 100 lists and tables or 1,000 values"):
            parse_json(text, "x.json")
    (tmp_path / "dots.toml").write_text("title = 'T'\n" + "a." * 100_000 + "a = 1")
    with pytest.raises(InputError, match=r"dots\.toml: line 2 has more than 256 dots"):
        read_toml(tmp_path / "dots.toml")


def test_files_by_type(tmp_path):
    (tmp_path / "d.json").write_text('{"title": "T"}')
    (tmp_path / "d.toml").write_text('title = "T"')
    assert decode_json_file(Drawing, tmp_path / "d.json") == decode_toml_file(Drawing, tmp_path / "d.toml")
    (tmp_path / "bad.toml").write_text('title = "T"\ncopies = 0')
    with pytest.raises(InputError, match=r"bad\.toml: copies is 0"):
        decode_toml_file(Drawing, tmp_path / "bad.toml")
    (tmp_path / "broken.toml").write_text('title = "T"\ncopies =\nx = 3')
    with pytest.raises(InputError, match=r"broken\.toml: not TOML: .*line 2"):
        read_toml(tmp_path / "broken.toml")
    with pytest.raises(InputError, match=r"gone\.toml: no such file"):
        read_toml(tmp_path / "gone.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_toml(tmp_path)

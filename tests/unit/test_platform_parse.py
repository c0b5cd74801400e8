from __future__ import annotations

import pytest

from harness.platform import parse


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,8,10-11", (0, 1, 2, 3, 8, 10, 11)),
        ("0\n", (0,)),
        ("", ()),
        ("252-255", (252, 253, 254, 255)),
        ("3-1", None),
        ("0-", None),
        ("0,,1", None),
        ("0-65535", tuple(range(65536))),
        ("0-65536", None),  # no kernel has so many: not such a list
        ("70000", None),
        ("0-99999999999", None),
        ("٣", None),
        (None, None),
    ],
)
def test_lists(text: str | None, numbers: tuple[int, ...] | None) -> None:
    assert parse.cpu_list(text) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("000000,000000ff,ffff0000", tuple(range(16, 40))),
        ("f", (0, 1, 2, 3)),
        ("00000000,00000000", ()),
        ("1,0000000", None),  # a group cut short
        ("", None),
        ("xyz", None),
        ("1" + ",00000000" * 59, (1888,)),
        (None, None),
    ],
)
def test_masks(text: str | None, numbers: tuple[int, ...] | None) -> None:
    assert parse.cpu_mask(text) == numbers


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("32K", 32 << 10),
        ("98250752 kB", 98250752 << 10),
        ("2 MB", 2 << 20),
        ("10M", 10 << 20),
        ("32", None),
        ("-1K", None),
        ("", None),
        (None, None),
    ],
)
def test_sizes(text: str | None, size: int | None) -> None:
    assert parse.size(text) == size


def test_device_tree_values() -> None:
    assert parse.cells(b"\0\0\0\x07\0\0\x01\0") == (7, 256)
    assert parse.cells(b"\0\0\0") is None
    assert parse.cells(b"") is None
    assert parse.strings(b"IBM,9105-22A\0ibm,powernv\0") == ("IBM,9105-22A", "ibm,powernv")
    assert parse.strings(None) == ()

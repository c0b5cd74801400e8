from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.platform.sysroot import SysRoot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/firmware/devicetree/base").mkdir(parents=True)
    (tmp_path / "sys/firmware/devicetree/base/model").write_bytes(b"IBM,9105-22A\0")
    (tmp_path / "proc/device-tree").symlink_to("/sys/firmware/devicetree/base")
    return tmp_path


def test_absolute_links_stay_inside_the_tree(tree: Path) -> None:
    assert SysRoot(tree).read_text("proc/device-tree/model") == "IBM,9105-22A"
    assert SysRoot(tree).list_dir("proc/device-tree") == ("model",)
    assert SysRoot(tree).exists("proc/device-tree/model")


def test_links_cannot_reach_the_machine_that_reads(tree: Path) -> None:
    (tree / "proc/cpuinfo").symlink_to("/proc/cpuinfo")
    (tree / "proc/stat").symlink_to("../../../../../../../../proc/stat")
    (tree / "proc/self").symlink_to("/proc/self")
    root = SysRoot(tree)
    assert root.read_bytes("proc/cpuinfo") is None
    assert root.read_bytes("proc/stat") is None
    assert root.read_bytes("proc/self/status") is None
    assert root.read_bytes("../../../../../../proc/cpuinfo") is None


def test_links_to_links_are_followed_and_loops_end(tree: Path) -> None:
    (tree / "sys/one").symlink_to("two")
    (tree / "sys/two").symlink_to("../proc/device-tree")
    (tree / "sys/loop").symlink_to("loop")
    (tree / "sys/file").symlink_to("one/model")
    root = SysRoot(tree)
    assert root.read_text("sys/one/model") == "IBM,9105-22A"
    assert root.read_text("sys/file") == "IBM,9105-22A"
    assert root.read_text("sys/loop") is None
    assert root.read_text("sys/loop/model") is None
    assert not root.exists("sys/loop")


def test_what_is_no_file_is_nothing(tree: Path) -> None:
    os.mkfifo(tree / "sys/fifo")
    (tree / "sys/locked").write_text("1")
    root = SysRoot(tree)
    assert root.read_text("sys/fifo") in (None, "")
    assert root.read_text("sys/firmware") is None
    assert root.read_text("sys/absent") is None
    assert root.read_text("absent/absent") is None
    assert root.read_text("sys/nul\0byte") is None
    assert root.list_dir("sys/locked") == ()
    assert root.list_dir("nul\0byte") == ()
    assert not root.exists("nul\0byte")


def test_values_are_whole_or_nothing(tree: Path) -> None:
    for name, content in (
        ("plain", "42\n"),
        ("signed", "-1\n"),
        ("text", "42 kB\n"),
        ("empty", ""),
        ("huge", "9" * 99),
    ):
        (tree / f"sys/{name}").write_text(content)
    root = SysRoot(tree)
    assert [root.read_int(f"sys/{name}") for name in ("plain", "signed", "text", "empty", "huge")] == [
        42,
        -1,
        None,
        None,
        None,
    ]


def test_numbered_entries(tree: Path) -> None:
    for name in ("cpu0", "cpu12", "cpufreq", "cpu1x", "cpu003", "cpu99999999"):
        (tree / "sys" / name).mkdir()
    assert SysRoot(tree).numbered("sys", "cpu") == (0, 3, 12)


def test_a_long_file_is_read_to_its_end(tree: Path) -> None:
    content = b"x" * 200_000
    (tree / "proc/long").write_bytes(content)
    (tree / "sys/long").write_bytes(content)
    assert SysRoot(tree).read_bytes("proc/long") == content
    assert SysRoot(tree).read_bytes("sys/long") == content


def test_the_machine_itself() -> None:
    root = SysRoot("/")
    assert root.live
    text = root.read_text("proc/self/maps")  # procfs gives it in parts
    assert text is not None
    assert text == text.strip()
    assert len(text) > 4096
    assert text.splitlines()[-1].endswith(("]", ".so", "]")) or len(text.splitlines()) > 30
    assert root.exists("proc/self/status")
    assert root.list_dir("proc/self/task")


def test_a_link_to_the_root_is_the_machine(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    assert SysRoot(tmp_path / "link").live
    assert not SysRoot(tmp_path).live

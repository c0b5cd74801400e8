"""A saved machine tells what the machine told, and not its serial number; with Python and by the shell script."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import build
from support.trees_presets import PRESETS
from typer.testing import CliRunner

from harness.cli.main import app
from harness.content import content_dir
from harness.platform.dump import opened
from harness.platform.facts import CrossCheck, Facts, LoadFacts, SoftwareFacts
from harness.platform.probe import probe
from harness.platform.saved import RecordingRoot
from harness.platform.sysroot import SysRoot

TREES = ("p10-two-nodes", "p10-shared", "p10-mixed-smt", "p9-bare-metal", "p7-lpar-old-kernel", "x86-two-sockets")


def bare(facts: Facts) -> Facts:
    """Without what is of the live machine only, and without where it was read: a live one is asked by uname too."""
    cpu, kernel = replace(facts.cpu, sources={}), replace(facts.kernel, sources={})
    return replace(facts, sysroot="", cpu=cpu, kernel=kernel, software=SoftwareFacts(), crosscheck=CrossCheck())


@pytest.mark.parametrize("name", TREES)
def test_a_saved_tree_tells_what_the_tree_told(name: str, tmp_path: Path) -> None:
    root = RecordingRoot(str(build(PRESETS[name], tmp_path / "tree")))
    facts = probe(root)
    (tmp_path / "saved.tgz").write_bytes(root.archive())
    assert bare(probe(opened(tmp_path / "saved.tgz"))) == bare(facts)


def test_this_machine_saved_tells_what_it_told(tmp_path: Path) -> None:
    root = RecordingRoot("/")
    facts = probe(root, cross_checked=False)
    (tmp_path / "saved.tgz").write_bytes(root.archive())
    assert bare(probe(opened(tmp_path / "saved.tgz"))) == bare(facts)


def test_the_serial_number_is_saved_only_when_asked_for(tmp_path: Path) -> None:
    tree = build(PRESETS["p10-shared"], tmp_path / "tree")
    written = (tree / "proc/ppc64/lparcfg").read_bytes()
    serial = next(line for line in written.splitlines() if line.startswith(b"serial_number="))
    for asked in (False, True):
        root = RecordingRoot(str(tree))
        probe(root)
        with tarfile.open(fileobj=io.BytesIO(root.archive(serial=asked))) as archive:
            members = [archive.extractfile(member) for member in archive if member.isreg()]
            content = b"\n".join(member.read() for member in members if member is not None)
        assert (serial.partition(b"=")[2] in content) is asked


@pytest.mark.skipif(shutil.which("sh") is None or shutil.which("tar") is None, reason="needs a POSIX shell and tar")
def test_the_shell_script_saves_the_same(tmp_path: Path) -> None:
    """On this machine, without the facts of the moment and of the process."""
    out = tmp_path / "host.tgz"
    subprocess.run(["sh", str(content_dir("sysconfig") / "save-tree.sh"), str(out)], check=True, capture_output=True)
    here, there = bare(probe(SysRoot("/"), cross_checked=False)), bare(probe(opened(out)))
    for group in ("cpu", "topology", "caches", "kernel", "lpar", "machine", "energy", "emulation"):
        mine, saved = getattr(here, group), getattr(there, group)
        if group == "topology":  # free memory differs from moment to moment
            mine, saved = (
                replace(facts, nodes=tuple((node.id, node.cpus, node.memory_bytes) for node in facts.nodes))
                for facts in (mine, saved)
            )
        assert saved == mine, group
    assert there.load != LoadFacts()


def test_the_script_hides_the_serial_as_the_command_does() -> None:
    printed = CliRunner().invoke(app, ["probe", "--script"]).stdout
    assert printed == (content_dir("sysconfig") / "save-tree.sh").read_text()
    subprocess.run(["sh", "-n"], input=printed, text=True, check=True)

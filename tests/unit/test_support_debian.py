"""Roots unpacked from packages: from a mirror that lists what it does not hold, and kept until their recipe changes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import debian

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

# An apt whose mirror holds what is in $HELD, as NAME.deb or, of the later suite, NAME@forky.deb.
APT = """#!/bin/sh
case $1 in
indextargets) echo "http://mirror/debian bookworm" ;;
update) ;;
install) for name in $RESOLVED; do echo "'http://mirror/$name.deb' ${name}_1_ppc64el.deb 9 SHA256:0"; done ;;
download)
    shift
    for name; do
        file=$(echo "$name" | tr / @)
        cp "$HELD/$file.deb" "./${name%/*}_1_ppc64el.deb" || lacking="$lacking $name"
    done
    [ "$lacking" = " -qq" ] ;;
pkgnames) for name in $KERNELS; do echo "$name"; done ;;
depends) echo "  Depends: linux-image-6.12.117+deb13-powerpc64le" ;;
esac
"""


def package(folder: Path, name: str, *files: str) -> None:
    """A package with some files, each holding the package's name."""
    for file in ("DEBIAN/control", *files):
        path = folder / "work" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    control = "Package: x\nVersion: 1\nArchitecture: ppc64el\nMaintainer: nobody <n@example.org>\nDescription: x\n"
    (folder / "work" / name / "DEBIAN/control").write_text(control)
    build = ["dpkg-deb", "--build", "--root-owner-group", folder / "work" / name, folder / f"{name}.deb"]
    subprocess.run(build, check=True, capture_output=True)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The folder of what the mirror holds."""
    tools, held = tmp_path / "bin", tmp_path / "held"
    tools.mkdir()
    held.mkdir()
    for name in ("apt-get", "apt-cache"):
        (tools / name).write_text(APT)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setenv("HELD", str(held))
    monkeypatch.setenv("RESOLVED", "libc6 numactl")
    return held


def unpacked(target: Path) -> Path:
    target.mkdir()
    with debian.archive("ppc64el") as packages:
        packages.unpack(target, ["numactl"])
    return target


def test_what_the_mirror_lists_and_does_not_hold_comes_from_the_next_suite(mirror, tmp_path):
    package(mirror, "numactl", "usr/bin/numactl", "usr/share/doc/numactl/copyright")
    package(mirror, "libc6@forky", "usr/lib/libc.so.6")
    root = unpacked(tmp_path / "root")
    assert (root / "bin/numactl").read_text() == "numactl"
    assert (root / "usr/lib/libc.so.6").read_text() == "libc6@forky"
    assert not list((root / "usr/share/doc").rglob("*.*"))


def test_what_neither_suite_holds_is_named(mirror, tmp_path):
    package(mirror, "numactl", "usr/bin/numactl")
    with pytest.raises(RuntimeError, match="trixie and forky list what they do not hold: libc6"):
        unpacked(tmp_path / "root")


def test_a_mirror_that_resolves_nothing_is_not_available(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("RESOLVED", "")
    with pytest.raises(debian.Unavailable, match="cannot resolve the packages of trixie for ppc64el"):
        unpacked(tmp_path / "root")


@pytest.mark.parametrize(
    ("held", "chosen"),
    [
        (("6.12.107+deb13", "6.12.117+deb13", "7.2.12+deb14"), "6.12.117+deb13"),
        (("6.12.107+deb13", "7.2.12+deb14"), "6.12.107+deb13"),  # the suite's own series before a newer one
        (("7.2.9+deb14", "7.2.12+deb14"), "7.2.12+deb14"),
        ((), None),
    ],
)
def test_the_newest_kernel_that_the_mirror_holds_is_taken(mirror, tmp_path, monkeypatch, held, chosen):
    versions = ("6.12.107+deb13", "6.12.117+deb13", "7.2.9+deb14", "7.2.12+deb14")
    flavours = ("powerpc64le", "powerpc64le-64k", "powerpc64le-dbg")
    monkeypatch.setenv("KERNELS", " ".join(f"linux-image-{v}-{f}" for v in versions for f in flavours))
    for version in held:
        release = f"{version}-powerpc64le"
        modules = [f"usr/lib/modules/{release}/kernel/{name}.ko.xz" for name in ("fs/9p/9p", "sound/soundcore")]
        package(mirror, f"linux-image-{release}", f"boot/vmlinux-{release}", *modules)
    root = tmp_path / "root"
    root.mkdir()
    with debian.archive("ppc64el") as packages:
        if chosen is None:
            with pytest.raises(RuntimeError, match="no kernel powerpc64le of"):
                packages.unpack_kernel(root, "powerpc64le", ["fs/9p/9p", "not/there"])
            return
        packages.unpack_kernel(root, "powerpc64le", ["fs/9p/9p", "not/there"])
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    release = f"{chosen}-powerpc64le"
    assert files == {f"boot/vmlinux-{release}", f"usr/lib/modules/{release}/kernel/fs/9p/9p.ko.xz"}


def test_a_folder_is_built_once_for_a_recipe_and_never_half(tmp_path):
    folder, source, built = tmp_path / "cache/root", tmp_path / "recipe.py", []
    source.write_text("first")

    def use(*, fails: bool = False) -> str:
        def build(target: Path) -> None:
            built.append(source.read_text())
            (target / "content").write_text(source.read_text())
            if fails:
                raise RuntimeError("the mirror went away")

        with debian.cached(folder, (source,), build=build) as root:
            return (root / "content").read_text()

    assert [use(), use()] == ["first", "first"]
    source.write_text("second")
    with pytest.raises(RuntimeError, match="went away"):
        use(fails=True)
    assert not folder.exists()
    assert [use(), use()] == ["second", "second"]
    assert built == ["first", "second", "second"]

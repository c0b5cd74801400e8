"""Inventories: both forms, every error with its line, and nothing but an error from any text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.fleet.inventory import Host, load_inventory, parse_inventory

ANSIBLE = """\
# production
lone ansible_host=10.0.0.9
[power]
lpar[01:03] ansible_user=bench
lpar10 ansible_host="10.0.0.10" ansible_port=2222  # behind NAT
[old]
lpar10
p8-[a:c].example.com:2022
[all:vars]
ansible_user = everyone
ansible_python_interpreter=/usr/bin/python3
[old:vars]
ansible_user=archivist
[site:children]
power
old
[site:vars]
ansible_port=22
"""


def names(text: str) -> list[str]:
    return [host.name for host in parse_inventory(text, "hosts").hosts]


def test_lines_with_ranges_users_ports_and_comments() -> None:
    text = (
        "# all\n\nlpar[01-03]  # frame 1\nroot@gw[1,3-4]:2222\n; old\n[fe80::1]\nadmin@[::1]:23\nf[1-2]n[08-10/2].x\n"
    )
    assert parse_inventory(text, "hosts").hosts == (
        *(Host(f"lpar0{n}", f"lpar0{n}", None, None, 3) for n in (1, 2, 3)),
        *(Host(f"gw{n}:2222", f"gw{n}", "root", 2222, 4) for n in (1, 3, 4)),
        Host("fe80::1", "fe80::1", None, None, 6),
        Host("::1:23", "::1", "admin", 23, 7),
        *(Host(f"f{f}n{n}.x", f"f{f}n{n}.x", None, None, 8) for f in (1, 2) for n in ("08", "10")),
    )


def test_an_ansible_inventory() -> None:
    """As ``ansible-inventory --list`` shows it: variables of the host, then of its deepest group, up to all."""
    inventory = parse_inventory(ANSIBLE, "hosts")
    hosts = {host.name: (host.address, host.user, host.port) for host in inventory.hosts}
    assert hosts == {
        "lone": ("10.0.0.9", "everyone", None),
        "lpar01": ("lpar01", "bench", 22),
        "lpar02": ("lpar02", "bench", 22),
        "lpar03": ("lpar03", "bench", 22),
        "lpar10": ("10.0.0.10", "archivist", 2222),
        "p8-a.example.com:2022": ("p8-a.example.com", "archivist", 2022),
        "p8-b.example.com:2022": ("p8-b.example.com", "archivist", 2022),
        "p8-c.example.com:2022": ("p8-c.example.com", "archivist", 2022),
    }
    assert inventory.groups["site"] == tuple(name for name in hosts if name != "lone")
    assert [host.name for host in inventory.selected("@power,-lpar[02-03]").hosts] == ["lpar01", "lpar10"]
    assert [host.name for host in inventory.selected("-@site").hosts] == ["lone"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a\nb\na\n", 3, "a is there already, in line 1"),
        ("a\nlpar[03-01]\n", 2, "ends before it begins"),
        ("lpar[1-x]\n", 1, "is no range"),
        ("lpar[08-010]\n", 1, "two widths"),
        ("n[0-9999]x[0-9999]\n", 1, "more than 10,000 hosts"),
        ("n[1-5000]\nm[1-5001]\n", 2, "more than 10,000 hosts"),
        ("a:0\n", 1, "port '0'"),
        ("a:70000\n", 1, "port '70000'"),
        ("a:\n", 1, "port ''"),
        ("# ours\nall:\n  hosts:\n    a:\n", 2, "this is YAML"),
        ("---\n- a\n", 1, "this is YAML"),
        ("a b\n", 1, "expected NAME=VALUE"),
        ("../../etc\n", 1, "no name of a host"),
        ("-oProxyCommand=sh\n", 1, "no name of a host"),
        ("-oX@host\n", 1, "user '-oX'"),
        ("a$(id)\n", 1, "no name of a host"),
        ("<script>\n", 1, "no name of a host"),
        ("a 'b\n", 1, "No closing quotation"),
        ("a ansible_hots=b\n", 1, "ansible_host"),
        ("a ansible_password=secret\n", 1, "no passwords"),
        ("[g]\na ansible_host=-oX\n", 2, "address '-oX'"),
        ("[g]\na ansible_ssh_pass=x\n", 2, "no passwords"),
        ("[g:vars]\nansible_become_password=x\n", 2, "no passwords"),
        ("[g:vars]\nansible_port=x\n", 2, "port 'x'"),
        ("[g:vars]\nnothing\n", 2, "is no variable"),
        ("[g:kids]\na\n", 1, "unknown kind of section 'kids'"),
        ("[g:children]\nh\n", 2, "unknown group 'h'"),
        ("[g]\na\n[g:children]\nh\n[h:children]\ng\n", 1, "its own children"),
        ("[g]\na ansible_host=x\nb ansible_host=x\n", 3, "has the address of a, line 2"),
    ],
)
def test_an_error_names_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse_inventory(text, "hosts")
    assert f"hosts: line {line}" in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "[g]\n"])
def test_an_inventory_without_a_host_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="no host in there"):
        parse_inventory(text, "hosts")


@pytest.mark.parametrize(
    ("choice", "words"), [("lpar4", "unknown host 'lpar4'"), ("@g", "unknown group"), ("a,-a", "no host is left")]
)
def test_a_choice_of_hosts_that_are_not_there(choice: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_inventory("a\nb\n", "hosts").selected(choice)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00a")
    (tmp_path / "huge").write_bytes(b"#" * ((1 << 20) + 1))
    for name, words in {
        "binary": "not UTF-8",
        "huge": "larger than 1 MiB",
        "none": "no such file",
        ".": "directory",
    }.items():
        with pytest.raises(InputError, match=words):
            load_inventory(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12, unique=True), st.integers(1, 4), st.booleans())
def test_ranges_name_what_was_folded_into_them(numbers: list[int], width: int, colon: bool) -> None:
    width = max(width, *(len(str(number)) for number in numbers))
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] + 1 == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]:0{width}d}{':' if colon else '-'}{run[-1]:0{width}d}" for run in runs]
    assert names(f"n[{','.join(parts)}]") == [f"n{number:0{width}d}" for number in numbers]


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab01[]:-,@#;='\"./ \n\t=x\\%\u0661"), max_size=60))
def test_any_text_gives_hosts_or_an_error(text: str) -> None:
    try:
        hosts = parse_inventory(text, "hosts").hosts
    except InputError as error:
        hosts = ()
        words = str(error)
        assert words.startswith(("hosts: line ", "hosts: no host"))
    for host in hosts:
        assert "/" not in host.name
        assert host.name[0] not in "-.["
        assert not host.address.startswith("-")

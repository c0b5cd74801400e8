"""Inventories: which hosts a fleet has. Lines with node ranges, or an Ansible inventory in INI form.

``lpar[01-16]``, ``user@host:port`` and comments; in INI form groups, ``:children``, ``:vars`` and the variables
``ansible_host``, ``ansible_user``, ``ansible_port``. Both forms take both kinds of range, ``[01-16]`` and ``[01:16]``.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from harness.decode import Check, PathPart
from harness.errors import InputError, unknown
from harness.parsing import read_text, yaml_line

MOST_HOSTS = 10_000
_DEEPEST = 50  # groups in groups
_LARGEST = 1 << 20  # bytes of a file
_LONGEST_LINE = 1 << 14  # characters: quotation marks are looked for one by one
_SECTION = re.compile(r"\[([^\[\]:\s]+)(?::(\w*))?\]\s*(?:[#;].*)?")
_ENTRY = re.compile(
    r"(?:(?P<user>[^\s]+)@)?"
    r"(?:\[(?P<six>[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%\w+)?)\]|(?P<host>(?:\[[^\]]*\]|[^\[\]:\s@])+))"
    r"(?::(?P<port>[^:\s]*))?"
)
_RANGE = re.compile(r"\[([^\[\]]*)\]")
_PART = re.compile(r"([0-9]{1,9})(?:[-:]([0-9]{1,9})(?:[/:]([0-9]{1,9}))?)?|([a-z])[-:]([a-z])|([A-Z])[-:]([A-Z])")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")
_SECRET = re.compile(r"pass(word|wd|phrase)?$|_pass|secret|private_key$", re.IGNORECASE)
_VARIABLES = {
    "ansible_host": "address", "ansible_ssh_host": "address", "ansible_user": "user", "ansible_ssh_user": "user",
    "ansible_port": "port", "ansible_ssh_port": "port",
}  # fmt: skip
_EXAMPLE = "Expected lpar[01-16], or USER@HOST:PORT."

_Address = Annotated[str, Check("an address", lambda text: re.fullmatch(r"[^-\s]\S*", text) is not None)]
_User = Annotated[str, Check("the name of a user", lambda text: _USER.fullmatch(text) is not None)]
_Port = Annotated[int, Check("a number from 1 to 65535", lambda number: 0 < number < 65536)]


@dataclass(frozen=True)
class Host:
    """One host of a fleet.

    Attributes:
        name: what the inventory calls it; of letters, digits, dots, dashes, and its port where it was given with one.
        address: to connect to.
        user, port: None leaves them to the configuration of ssh.
        line: of the file, that names it.
    """

    name: PathPart
    address: _Address
    user: _User | None = None
    port: _Port | None = None
    line: int = 0


@dataclass(frozen=True)
class Inventory:
    """The hosts in the order of the file, the groups of an INI file: name -> names of hosts, and the file's digest."""

    hosts: tuple[Host, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sha256: str = ""

    def selected(self, choice: str) -> Inventory:
        """The hosts of ``@group,lpar[01-04],-lpar03``; all, less those after a minus, where nothing else is named.

        Raises:
            InputError: there is no such host or group, or none is left.
        """
        names = {host.name for host in self.hosts}
        added: set[str] = set()
        removed: set[str] = set()
        parts = [part.strip() for part in re.split(r",(?![^\[]*\])", choice) if part.strip()]
        for part in parts:
            wanted = part.removeprefix("-")
            members = self._members(wanted, names)
            (removed if part.startswith("-") else added).update(members)
        if all(part.startswith("-") for part in parts):
            added = names
        hosts = tuple(host for host in self.hosts if host.name in added - removed)
        if not hosts:
            raise InputError(f"--hosts {choice}: no host is left.", remedy=f"The inventory has {len(names)}.")
        return replace(self, hosts=hosts)

    def _members(self, wanted: str, names: set[str]) -> Iterable[str]:
        if wanted.startswith("@"):
            if wanted[1:] not in self.groups:
                raise unknown("group", wanted[1:], self.groups, where="--hosts")
            return self.groups[wanted[1:]]
        expanded = list(_expanded(wanted, "--hosts"))
        missing = next((name for name in expanded if name not in names), None)
        if missing is not None:
            raise unknown("host", missing, names, where="--hosts")
        return expanded


def load_inventory(path: Path) -> Inventory:
    """Read an inventory file.

    Raises:
        InputError: it cannot be read, or a line is none; names file and line.
    """
    text = read_text(path, _LARGEST)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return replace(parse_inventory(text.removeprefix("\ufeff"), str(path)), sha256=digest)


def parse_inventory(text: str, where: str) -> Inventory:
    """The hosts of a text; ``where`` names it in errors.

    Raises:
        InputError: a line is none; names it.
    """
    lines = text.split("\n")
    if (at := yaml_line(text)) is not None:
        raise InputError(
            f"{where}: line {at}: this is YAML; an inventory is lines of hosts, or Ansible's INI.",
            remedy="Its hosts, one per line: ansible all -i FILE --list-hosts | tail -n +2",
        )
    reader = _Reader(where)
    reader.ini = any(_SECTION.fullmatch(line.strip()) for line in lines)
    for number, line in enumerate(lines, start=1):
        if len(line) > _LONGEST_LINE:
            raise InputError(f"{where}: line {number} has more than {_LONGEST_LINE:,} characters.", remedy="Check it.")
        reader.read(line.strip(), f"{where}: line {number}", number)
    return reader.inventory()


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where
        self.ini = False
        self._group, self._kind = "ungrouped", ""
        self._hosts: dict[str, Host] = {}
        self._own: dict[str, dict[str, str]] = {}  # host -> variables of its line
        self._members: dict[str, list[str]] = {}  # group -> hosts
        self._children: dict[str, list[tuple[str, str]]] = {}  # group -> groups, and where they are named
        self._variables: dict[str, dict[str, str]] = {}  # group -> variables
        self._places: dict[str, str] = {}  # group -> where it is

    def read(self, line: str, where: str, number: int) -> None:
        if not line or line[0] in "#;":
            return
        section = _SECTION.fullmatch(line) if self.ini else None
        if section is not None:
            self._group, self._kind = section[1], section[2] or ""
            if self._kind not in ("", "vars", "children"):
                raise unknown("kind of section", self._kind, ("vars", "children"), where=where)
            if self._kind != "vars":
                self._members.setdefault(self._group, [])
            self._places.setdefault(self._group, where)
        elif self._kind == "vars":
            name, equals, value = line.partition("=")
            if not equals:
                raise InputError(f"{where}: {line!r} is no variable.", remedy="Expected NAME=VALUE.")
            self._note(
                self._variables.setdefault(self._group, {}), name.strip(), _unquoted(value.strip(), where), where
            )
        elif self._kind == "children":
            self._children.setdefault(self._group, []).append((_words(line, where)[0], where))
        else:
            self._read_hosts(_words(line, where), where, number)

    def _read_hosts(self, words: list[str], where: str, number: int) -> None:
        if not words:
            return
        variables: dict[str, str] = {}
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals:
                raise InputError(f"{where}: {word!r} after the host: expected NAME=VALUE.", remedy="One host per line.")
            if not self.ini and name not in _VARIABLES and not _SECRET.search(name):
                raise unknown("variable", name, _VARIABLES, where=where)
            self._note(variables, name, value, where)
        for host in _hosts_of(words[0], where, number):
            if host.name in self._hosts and not self.ini:
                raise InputError(
                    f"{where}: {host.name} is there already, in line {self._hosts[host.name].line}.",
                    remedy="Name every host once.",
                )
            if host.name not in self._hosts and len(self._hosts) >= MOST_HOSTS:
                raise InputError(f"{where}: more than {MOST_HOSTS:,} hosts.", remedy="Divide the fleet.")
            self._hosts.setdefault(host.name, host)
            given = {"user": host.user, "port": None if host.port is None else str(host.port)}
            own = {key: value for key, value in given.items() if value is not None}
            self._own.setdefault(host.name, {}).update(own | variables)
            self._members.setdefault(self._group, []).append(host.name)

    def _note(self, variables: dict[str, str], name: str, value: str, where: str) -> None:
        if _SECRET.search(name):
            raise InputError(
                f"{where}: {name}: no passwords or keys in an inventory.",
                remedy="Use an ssh agent, and delete it there.",
            )
        key = _VARIABLES.get(name)
        if key is not None:
            variables[key] = value
            _checked(key, value, where)

    def inventory(self) -> Inventory:
        groups = {name: tuple(self._all(name)) for name in (*self._members, *self._children)}
        parents: dict[str, list[str]] = {}
        for name, children in self._children.items():
            for child, _ in children:
                parents.setdefault(child, []).append(name)
        depths: dict[str, int] = {}
        for name in groups:
            _note_depth(name, parents, depths)
        of_host: dict[str, list[str]] = {}
        for group in sorted(groups, key=lambda name: (depths[name], name)):
            for name in groups[group]:
                of_host.setdefault(name, []).append(group)
        hosts = []
        for host in self._hosts.values():
            variables = dict(self._variables.get("all", {}))
            for group in of_host[host.name]:
                variables |= self._variables.get(group, {})
            variables |= self._own[host.name]
            port = variables.get("port")
            hosts.append(
                replace(
                    host,
                    address=variables.get("address", host.address),
                    user=variables.get("user"),
                    port=None if port is None else int(port),
                )
            )
        self._refuse_twins(hosts)
        if not hosts:
            raise InputError(f"{self._where}: no host in there.", remedy=f"{_EXAMPLE} One per line.")
        groups["all"] = tuple(self._hosts)
        return Inventory(tuple(hosts), groups)

    def _refuse_twins(self, hosts: list[Host]) -> None:
        seen: dict[tuple[str, int | None], Host] = {}
        for host in hosts:
            other = seen.setdefault((host.address, host.port), host)
            if other is not host:
                raise InputError(
                    f"{self._where}: line {host.line}: {host.name} has the address of {other.name}, line {other.line}.",
                    remedy="Name every host once.",
                )

    def _all(self, top: str) -> list[str]:
        """Hosts of a group and of all groups below it."""
        hosts: dict[str, None] = {}
        seen: set[str] = set()

        def walk(group: str, above: tuple[str, ...]) -> None:
            if group in above or len(above) > _DEEPEST:
                raise InputError(
                    f"{self._places[top]}: group {top} is among its own children, or has more than {_DEEPEST} levels.",
                    remedy="Take it out of :children.",
                )
            if group in seen:
                return
            seen.add(group)
            hosts.update(dict.fromkeys(self._members.get(group, ())))
            for child, where in self._children.get(group, ()):
                if child not in self._members and child not in self._children:
                    raise unknown("group", child, {*self._members, *self._children}, where=where)
                walk(child, (*above, group))

        walk(top, ())
        return list(hosts)


def _note_depth(group: str, parents: Mapping[str, list[str]], depths: dict[str, int]) -> int:
    """How many groups a group is in, the longest way; variables of deeper groups go before those of higher ones."""
    if group not in depths:
        depths[group] = 1 + max((_note_depth(parent, parents, depths) for parent in parents.get(group, ())), default=0)
    return depths[group]


def _words(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise InputError(f"{where}: {error}.", remedy=_EXAMPLE) from None


def _unquoted(value: str, where: str) -> str:
    return " ".join(_words(value, where))


def _hosts_of(entry: str, where: str, number: int) -> Iterator[Host]:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise InputError(f"{where}: {entry!r} names no host.", remedy=_EXAMPLE)
    user, port = match["user"], match["port"]
    if user is not None:
        _checked("user", user, where)
    if port is not None:
        _checked("port", port, where)
    number_of_port = None if port is None else int(port)
    for name in (match["six"],) if match["six"] else _expanded(match["host"], where):
        shown = name if number_of_port is None else f"{name}:{number_of_port}"
        yield Host(shown, name, user, number_of_port, number)


def _checked(kind: str, value: str, where: str) -> None:
    match kind:
        case "port":
            fits = value.isascii() and value.isdecimal() and len(value) < 6 and 0 < int(value) < 65536
        case "user":
            fits = _USER.fullmatch(value) is not None and len(value) <= 64
        case _:
            fits = _NAME.fullmatch(value) is not None or re.fullmatch(r"[0-9A-Fa-f:.]+(%\w+)?", value) is not None
    if not fits:
        expected = {"port": "a number from 1 to 65535", "user": "the name of a user"}.get(kind, "a name or an address")
        raise InputError(f"{where}: {kind} {value!r}: expected {expected}.", remedy=_EXAMPLE)


def _expanded(pattern: str, where: str) -> Iterator[str]:
    """The names that a pattern with ranges stands for, in order."""
    pieces = _RANGE.split(pattern)
    choices = [list(_range(piece, pattern, where)) if index % 2 else [piece] for index, piece in enumerate(pieces)]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > MOST_HOSTS:
        raise InputError(f"{where}: {pattern}: more than {MOST_HOSTS:,} hosts.", remedy="Write a smaller range.")
    for parts in itertools.product(*choices):
        name = "".join(parts)
        if _NAME.fullmatch(name) is None or len(name) > 150:
            raise InputError(
                f"{where}: {name!r} is no name of a host.",
                remedy="Letters, digits, dots and dashes, a letter or digit first. " + _EXAMPLE,
            )
        yield name


def _range(text: str, pattern: str, where: str) -> Iterator[str]:
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InputError(
                f"{where}: {pattern}: {part!r} is no range.", remedy="Expected [01-16], [1,3,5-7] or [a:d]."
            )
        number, last, step, *letters = match.groups()
        width = 1
        if number is None:
            low, high = (ord(letter) for letter in letters if letter is not None)
        else:
            low, high = int(number), int(last or number)
            width = len(number) if number.startswith("0") else 1
            if last is not None and width > 1 and len(last) != width:
                raise InputError(f"{where}: {pattern}: {part!r} has numbers of two widths.", remedy="Expected [01-16].")
        values = range(low, high + 1, max(1, int(step or 1)))
        if not values:
            raise InputError(f"{where}: {pattern}: {part!r} ends before it begins.", remedy="Expected [01-16].")
        if len(values) > MOST_HOSTS:
            raise InputError(f"{where}: {pattern}: more than {MOST_HOSTS:,} hosts.", remedy="Write a smaller range.")
        yield from (chr(value) if number is None else f"{value:0{width}d}" for value in values)

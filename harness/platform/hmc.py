"""What the Hardware Management Console knows of this partition, read over ssh."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import InputError
from harness.platform import lpar
from harness.platform.facts import Facts, Sources
from harness.platform.sysroot import SysRoot

_DESTINATION = re.compile(r"(ssh://)?[A-Za-z0-9_][^\s\0]*\Z")  # must not start with "-": ssh would read an option
_SSH_FAILED = 255  # its own exit code; others are of the remote command
_NO_VALUE = {"", "none", "null", "unavailable"}


@dataclass(frozen=True)
class HmcFacts:
    """The partition as its management console sees it.

    Affinity scores go from 0, the worst placement of processors and memory, to 100.
    """

    managed_system: str | None = None  # the server, in either form that the option -m takes
    profile: str | None = None  # the partition profile last activated
    configured_mode: str | None = None  # processor compatibility mode asked for: "default", "POWER9"
    affinity_score: int | None = None
    predicted_affinity_score: int | None = None  # after a Dynamic Platform Optimizer run that favours this partition
    problems: tuple[str, ...] = ()  # what it refused, and what is not known for that
    sources: Sources = field(default_factory=dict)


def managed_system_of(lparcfg: Mapping[str, str]) -> str | None:
    """The server as the console's option ``-m`` takes it, ``9105-22A*785FABC``, from the lines of lparcfg.

    Firmware writes ``IBM,`` and two digits before the seven characters of the serial number that the console shows.
    """
    model = re.fullmatch(r"IBM,([0-9]{4}-[0-9A-Z]{3})", lparcfg.get("system_type", ""))
    serial = re.fullmatch(r"IBM,(?:[0-9]{2})?([0-9A-Z]{7})", lparcfg.get("serial_number", ""))
    return f"{model[1]}*{serial[1]}" if model and serial else None


def facts_for(
    facts: Facts, sysroot: SysRoot, *, destination: str | None, managed_system: str | None, serial: bool = False
) -> HmcFacts:
    """What an HMC knows of this LPAR; without a ``destination`` the name of its server alone.

    Args:
        facts: of this machine.
        sysroot: what they were read from.
        destination: ``user@host`` of the HMC; None asks none.
        managed_system: the server's name there; None for its type and serial number.
        serial: whether that may be part of the answer, which names the server in commands.

    Raises:
        InputError: the destination is none, or the server's or the partition's name is not known. An HMC that does not
            answer is among the ``problems``.
    """
    system = managed_system or managed_system_of(lpar.read(sysroot))
    named = managed_system or (system if serial else None)
    sources = {} if named is None else {"managed_system": "given" if managed_system else "lparcfg:serial_number"}
    if destination is None:
        return HmcFacts(managed_system=named, sources=sources)
    if system is None:
        raise InputError("--hmc: the server's name is not known here.", remedy="Give it with --managed-system NAME.")
    if facts.lpar.partition_name is None:
        raise InputError("--hmc: this is not a partition with a name.", remedy="Run doctor inside the LPAR.")
    if not _DESTINATION.match(destination):
        raise InputError(f"--hmc {destination!r} is not a destination.", remedy="Expected user@host, as for ssh.")
    try:
        answer = read(destination, managed_system=system, lpar_name=facts.lpar.partition_name)
    except InputError as error:
        return HmcFacts(
            named, problems=(f"{error.message.rstrip('.')}. {error.remedy or ''}".strip(),), sources=sources
        )
    return replace(answer, managed_system=named)


def parse_rows(text: str) -> tuple[Mapping[str, str], ...]:
    """Lines of ``key=value,key=value`` as mappings.

    A value that holds commas is printed as ``"key=a,b"``. Fields that are not pairs and lines without any (the
    console's "No results were found.") are passed over; values that mean "no value" are dropped.
    """
    rows = []
    for fields in csv.reader(line for line in text.replace("\0", "").splitlines() if line.strip()):
        pairs = (item.partition("=") for item in fields)
        row = {key.strip(): value.strip() for key, middle, value in pairs if middle and key.strip()}
        row = {key: value for key, value in row.items() if value.lower() not in _NO_VALUE}
        if row:
            rows.append(row)
    return tuple(rows)


def read(destination: str, *, managed_system: str, lpar_name: str, timeout_s: float = 60.0) -> HmcFacts:
    """Ask the console at ``destination`` (``user@host``) about one partition.

    Args:
        destination: as ssh takes it, and no option of it; keys, ports and proxies belong into the ssh configuration.
        managed_system: user-defined name or ``9105-22A*785FABC``.
        lpar_name: name of the partition.
        timeout_s: for each of the three commands; predicting a score takes the console several seconds.

    Raises:
        InputError: no access, or the console refused everything. What it refuses beside an
            answer is among the ``problems``.
    """
    refusals: dict[str, InputError] = {}
    answered = 0

    def ask(subject: str, *command: str) -> Mapping[str, str]:
        nonlocal answered
        try:
            rows = parse_rows(_ssh(destination, command, timeout_s))
        except InputError as error:
            if not answered and not isinstance(error, _RefusedError):
                raise
            refusals[subject] = error
            return {}
        answered += 1
        return next((row for row in rows if row.get("lpar_name", row.get("name")) == lpar_name), {})

    of_lpar = ("--filter", f"lpar_names={lpar_name}")
    memory = ("lsmemopt", "-m", managed_system, "-r", "lpar", "-o")
    settings = ask("its profile and configured mode", "lssyscfg", "-r", "lpar", "-m", managed_system, *of_lpar)
    current = ask("its affinity score", *memory, "currscore", *of_lpar)
    predicted = ask("the predicted affinity score", *memory, "calcscore", "-p", lpar_name)
    if not answered:
        raise next(iter(refusals.values()))
    values: dict[str, tuple[str | int | None, str]] = {
        "profile": (settings.get("curr_profile", settings.get("default_profile")), "lssyscfg -r lpar"),
        "configured_mode": (settings.get("desired_lpar_proc_compat_mode"), "lssyscfg -r lpar"),
        "affinity_score": (_score(current.get("curr_lpar_score")), "lsmemopt -o currscore"),
        "predicted_affinity_score": (_score(predicted.get("predicted_lpar_score")), "lsmemopt -o calcscore"),
    }
    known = {name: value for name, (value, _) in values.items() if value is not None}
    sources = {name: f"hmc:{values[name][1]}" for name in known}
    return HmcFacts(
        managed_system=managed_system,
        problems=tuple(
            f"{error.message.rstrip('.')}. So {subject} is not known." for subject, error in refusals.items()
        ),
        sources={**sources, "managed_system": "given"},
        **known,  # type: ignore[arg-type]
    )


class _RefusedError(InputError):
    """The console was reached and did not carry out the command."""


def _score(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[0-9]{1,3}", text):
        return None
    return int(text) if int(text) <= 100 else None


def _ssh(destination: str, command: Sequence[str], timeout_s: float) -> str:
    # ssh hands the remote shell one string, so the words are quoted for it here.
    argv = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "--", destination, shlex.join(command)]
    remedy = f"Try: {shlex.join(argv)}"
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise InputError("--hmc needs the program ssh.", remedy="Install the OpenSSH client.") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"The HMC at {destination} did not answer within {timeout_s:g} s.", remedy=remedy) from error
    if done.returncode != 0:
        kind = InputError if done.returncode == _SSH_FAILED else _RefusedError
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        what = f"refused {command[0]!r}" if kind is _RefusedError else "was not reached"
        raise kind(f"The HMC at {destination} {what}: {reason}", remedy=remedy)
    return done.stdout

"""What NSL-KDD and KDD Cup 99 share: 41 features of a connection, families of attacks, and the forms of their files.

Published files have no header; copies have one, or are ARFF, lack the difficulty or the dot after the label.

Source: the task description of KDD Cup 99 (kddcup.names, training_attack_types), Tavallaee et al. 2009 for NSL-KDD.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.datasets import csvfile, synthetic
from harness.datasets.packed import plain_name
from harness.datasets.store import opened
from harness.datasets.synthetic import Field
from harness.datasets.table import Table, categorical, categorical_of
from harness.errors import InputError

PROTOCOLS = ("icmp", "tcp", "udp")
FLAGS = ("OTH", "REJ", "RSTO", "RSTOS0", "RSTR", "S0", "S1", "S2", "S3", "SF", "SH")
_SERVICES = """
    IRC X11 Z39_50 auth bgp courier csnet_ns ctf daytime discard domain domain_u echo eco_i ecr_i efs exec finger
    ftp ftp_data gopher hostnames http http_443 imap4 iso_tsap klogin kshell ldap link login mtp name netbios_dgm
    netbios_ns netbios_ssn netstat nnsp nntp ntp_u other pm_dump pop_2 pop_3 printer private red_i remote_job rje shell
    smtp sql_net ssh sunrpc supdup systat telnet tftp_u tim_i time urh_i urp_i uucp uucp_path vmnet whois"""
SERVICES_10_PERCENT = tuple(_SERVICES.split())  # the 66 services that occur in the 10 % file of KDD Cup 99
SERVICES = (*SERVICES_10_PERCENT, "aol", "harvest", "http_2784", "http_8001")  # 70 in NSL-KDD's training file

_KINDS = """
    duration:count protocol_type:category service:category flag:category src_bytes:count dst_bytes:count land:flag
    wrong_fragment:count urgent:count hot:count num_failed_logins:count logged_in:flag num_compromised:count
    root_shell:flag su_attempted:flag num_root:count num_file_creations:count num_shells:count num_access_files:count
    num_outbound_cmds:count is_host_login:flag is_guest_login:flag
    count:count srv_count:count serror_rate:rate srv_serror_rate:rate rerror_rate:rate srv_rerror_rate:rate
    same_srv_rate:rate diff_srv_rate:rate srv_diff_host_rate:rate dst_host_count:count dst_host_srv_count:count
    dst_host_same_srv_rate:rate dst_host_diff_srv_rate:rate dst_host_same_src_port_rate:rate
    dst_host_srv_diff_host_rate:rate dst_host_serror_rate:rate dst_host_srv_serror_rate:rate dst_host_rerror_rate:rate
    dst_host_srv_rerror_rate:rate"""
FEATURES: tuple[str, ...] = tuple(pair.split(":")[0] for pair in _KINDS.split())
CATEGORIES = frozenset({"protocol_type", "service", "flag"})

_FAMILIES = {
    "normal": "normal",
    "dos": "apache2 back land mailbomb neptune pod processtable smurf teardrop udpstorm worm",
    "probe": "ipsweep mscan nmap portsweep saint satan",
    "r2l": """ftp_write guess_passwd imap multihop named phf sendmail snmpgetattack snmpguess spy warezclient
        warezmaster xlock xsnoop""",
    "u2r": "buffer_overflow httptunnel loadmodule perl ps rootkit sqlattack xterm",
    "anomaly": "anomaly",  # of copies that only say whether
}
FAMILY_OF: Mapping[str, str] = {name: family for family, names in _FAMILIES.items() for name in names.split()}


NORMAL = "normal"
_LABELS = frozenset({"label", "labels", "class", "attack", "attack_type", "outcome", "target", "type"})
_DIFFICULTY = frozenset({"difficulty", "difficulty_level", "difficultylevel", "level", "score"})
_INDEX = frozenset({"", "id", "index", "unnamed: 0"})
_SPELLINGS = {"abnormal": "anomaly", "attack": "anomaly", "1": "anomaly", "0": NORMAL}
_HEAD_BYTES = 1 << 16


def read(path: Path, indicators: Collection[str] = (), *, dotted: bool = False) -> tuple[Table, str]:
    """The rows of a file with the type of attack as class, and the digest of its content.

    Args:
        path: the file, with or without a header, or ARFF.
        indicators: features read as categories besides protocol, service and flag.
        dotted: whether labels of the published form end in a dot, which tells the two data sets apart.

    Raises:
        InputError: not this data set's columns, a broken line, or a label that is no type of attack.
    """
    columns, header_lines = _layout(path, dotted=dotted)
    names = (*FEATURES, "label")
    schema = csvfile.Schema(columns, categories=CATEGORIES | {"label"} | frozenset(indicators), keep=names)
    frame, digest = csvfile.read(path, schema, header_lines=header_lines)
    written = [str(name).strip(" '\"").casefold() for name in frame["label"].cat.categories]
    place = columns.index("label") + 1
    wrong = [name for name in written if name.endswith(".") != dotted]
    if wrong and not header_lines and not plain_name(path).endswith(".csv"):
        raise InputError(
            f"{path}: column {place} holds {wrong[0]!r}, "
            f"where an attack type {'with a' if dotted else 'without'} dot at its end was expected.",
            remedy=f"This is a file of {'NSL-KDD' if dotted else 'KDD Cup 99'}, not of the data set asked for.",
        )
    attacks = [_SPELLINGS.get(name, name) for name in (name.removesuffix(".") for name in written)]
    unknown = sorted(set(attacks) - set(FAMILY_OF))
    if unknown:
        raise InputError(
            f"{path}: column {place} holds {unknown[0]!r}, which is no attack type.",
            remedy="The label is the last column, or the one before the difficulty.",
        )
    codes = frame["label"].cat.codes.to_numpy()
    ordered = sorted(set(attacks))
    classes = categorical(np.array([ordered.index(name) for name in attacks])[codes], ordered)
    label = np.asarray(classes != NORMAL).astype(np.int8)
    return Table(frame[list(FEATURES)], label, classes), digest


def _layout(path: Path, *, dotted: bool) -> tuple[tuple[str, ...], int]:
    """The columns of a file, by our names, and how many lines stand before its rows."""
    with opened(path) as reader:
        start = (reader.read(_HEAD_BYTES) or b"").decode("utf-8-sig", errors="replace")
    lines = start.split("\n")
    lowered = [line.strip().casefold() for line in lines]
    if "@data" in lowered:
        attributes = [line.split()[1] for line in lines if line.strip().casefold().startswith("@attribute")]
        return _named(path, attributes), lowered.index("@data") + 1
    first = next(csv.reader([lines[0].replace("\0", "")]), [])
    if sum(_is_number(value) for value in first) <= 1 < len(first):
        return _named(path, first), 1
    places = {len(FEATURES) + 1: (*FEATURES, "label"), len(FEATURES) + 2: (*FEATURES, "label", "difficulty")}
    whole = places[len(FEATURES) + (1 if dotted else 2)]
    # A file of the other data set is held to the published columns, and refused.
    other = first[-1:] != [] and first[-1].endswith(".") != dotted and not plain_name(path).endswith(".csv")
    columns = whole if other else places.get(len(first), whole)
    if len(first) == len(columns) and not _is_number(first[-1]):  # the label is looked for from the end
        columns = (*columns[: len(FEATURES)], *sorted(columns[len(FEATURES) :]))
    return columns, 0


def _named(path: Path, written: Sequence[str]) -> tuple[str, ...]:
    """Columns of a header by our names: label and difficulty are called differently in every copy."""
    names = [name.strip(" '\"").casefold().replace(" ", "_") for name in written]
    spare = [place for place, name in enumerate(names) if name not in FEATURES and name not in _INDEX]
    for place in reversed(spare):
        name = names[place]
        if name in _DIFFICULTY:
            names[place] = "difficulty"
        elif name in _LABELS and "label" not in names[place + 1 :]:
            names[place] = "label"
    csvfile.require_columns(path, names, (*FEATURES, "label"))
    return csvfile.distinct_names(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fields(services: tuple[str, ...]) -> tuple[Field, ...]:
    """The 41 features as fields of the synthetic process."""
    return synthetic.fields(_KINDS, {"protocol_type": PROTOCOLS, "service": services, "flag": FLAGS})


def by_family(table: Table) -> Table:
    """The same rows with attack families instead of attack types as classes."""
    if table.classes is None:
        return table
    families = [FAMILY_OF[str(name)] for name in table.classes]
    return replace(table, classes=categorical_of(families))

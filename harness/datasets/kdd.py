"""What NSL-KDD and KDD Cup 99 share: 41 features of a connection, and the families of attacks.

Source: the task description of KDD Cup 99 (kddcup.names, training_attack_types), Tavallaee et al. 2009 for NSL-KDD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.datasets import synthetic
from harness.datasets.synthetic import Field
from harness.datasets.table import Table, categorical_of

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
}
FAMILY_OF: Mapping[str, str] = {name: family for family, names in _FAMILIES.items() for name in names.split()}


def fields(services: tuple[str, ...]) -> tuple[Field, ...]:
    """The 41 features as fields of the synthetic process."""
    return synthetic.fields(_KINDS, {"protocol_type": PROTOCOLS, "service": services, "flag": FLAGS})


def by_family(table: Table) -> Table:
    """The same rows with attack families instead of attack types as classes."""
    if table.classes is None:
        return table
    families = [FAMILY_OF[str(name)] for name in table.classes]
    return replace(table, classes=categorical_of(families))

"""The data sets of CICFlowMeter's flows: CICIDS2017, CSE-CIC-IDS2018 and MAWIFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from harness.datasets import cicflow
from harness.datasets.recipe import Reading, Recipe, Request
from harness.datasets.store import Found

FEATURES = tuple(  # of the improved release
    """Dst Port|Protocol|Flow Duration|Total Fwd Packet|Total Bwd packets|Total Length of Fwd Packet|
    Total Length of Bwd Packet|Fwd Packet Length Max|Fwd Packet Length Min|Fwd Packet Length Mean|
    Fwd Packet Length Std|Bwd Packet Length Max|Bwd Packet Length Min|Bwd Packet Length Mean|Bwd Packet Length Std|
    Flow Bytes/s|Flow Packets/s|Flow IAT Mean|Flow IAT Std|Flow IAT Max|Flow IAT Min|Fwd IAT Total|Fwd IAT Mean|
    Fwd IAT Std|Fwd IAT Max|Fwd IAT Min|Bwd IAT Total|Bwd IAT Mean|Bwd IAT Std|Bwd IAT Max|Bwd IAT Min|
    Fwd PSH Flags|Bwd PSH Flags|Fwd URG Flags|Bwd URG Flags|Fwd RST Flags|Bwd RST Flags|Fwd Header Length|
    Bwd Header Length|Fwd Packets/s|Bwd Packets/s|Packet Length Min|Packet Length Max|Packet Length Mean|
    Packet Length Std|Packet Length Variance|FIN Flag Count|SYN Flag Count|RST Flag Count|PSH Flag Count|
    ACK Flag Count|URG Flag Count|CWR Flag Count|ECE Flag Count|Down/Up Ratio|Average Packet Size|
    Fwd Segment Size Avg|Bwd Segment Size Avg|Fwd Bytes/Bulk Avg|Fwd Packet/Bulk Avg|Fwd Bulk Rate Avg|
    Bwd Bytes/Bulk Avg|Bwd Packet/Bulk Avg|Bwd Bulk Rate Avg|Subflow Fwd Packets|Subflow Fwd Bytes|
    Subflow Bwd Packets|Subflow Bwd Bytes|FWD Init Win Bytes|Bwd Init Win Bytes|Fwd Act Data Pkts|Fwd Seg Size Min|
    Active Mean|Active Std|Active Max|Active Min|Idle Mean|Idle Std|Idle Max|Idle Min|ICMP Code|ICMP Type|
    Total TCP Flow Time""".replace("\n    ", "").split("|")
)


def _read_2017(local: Found, request: Request) -> Reading:
    reading = cicflow.read(local, request)
    if local.variant.name != "improved-sample":
        return reading
    note = "The sample holds at most 5,000 flows of each class, so its share of attacks is not natural."
    return replace(reading, split=replace(reading.split, notes=(*reading.split.notes, note)))


def _recipe(
    read: Callable[[Found, Request], Reading], features: tuple[str, ...], rows: dict[str, int], split: str
) -> Recipe:
    return Recipe(
        read=read,
        synthesise=partial(cicflow.synthesise, features, rows),
        options={**cicflow.OPTIONS, "split": cicflow.split_option(split)},
        published=cicflow.PUBLISHED,
    )


# MachineLearningCSV as published (79 columns) and the improved release of CNS 2022 (91 columns). Three of four are
# benign flows, as in the improved release (1,582,566 of 2.10 million).
CICIDS2017 = _recipe(_read_2017, FEATURES, {
    "BENIGN": 15_000, "Portscan": 1_500, "DoS Hulk": 1_500, "DDoS": 1_000, "Infiltration - Portscan": 300,
    "DoS GoldenEye": 300, "DoS Slowloris": 200, "FTP-Patator": 200, "SSH-Patator": 200, "DoS Slowhttptest": 150,
    "Botnet": 100, "Web Attack - Brute Force": 50, "Web Attack - XSS": 30, "Infiltration": 20,
    "Web Attack - SQL Injection": 20, "Heartbleed": 10,
}, "time-within-class")  # fmt: skip
# Ten days of flows, 80 or 84 columns, a header repeated among the rows of some days.
CIC_IDS2018 = _recipe(cicflow.read, FEATURES[:78], {
    "Benign": 16_000, "DDOS attack-HOIC": 900, "DDoS attacks-LOIC-HTTP": 700, "DoS attacks-Hulk": 600, "Bot": 400,
    "FTP-BruteForce": 300, "SSH-Bruteforce": 300, "Infilteration": 200, "DoS attacks-GoldenEye": 60,
}, "time-within-class")  # fmt: skip
# A trans-Pacific link, labelled by MAWILab v1.1; as its samples do, only clear labels are kept. Its authors show that
# detectors age from one year to the next, which only a split by time can show.
MAWIFLOW = _recipe(partial(cicflow.read, dropped=frozenset({"suspicious", "notice"})), FEATURES, {
    "benign": 15_000, "Port scan": 2_000, "Network scan TCP": 1_500, "Multi. points": 800, "HTTP": 400, "DoS": 300,
}, "time")  # fmt: skip

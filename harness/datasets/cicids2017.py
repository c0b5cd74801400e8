"""CICIDS2017: MachineLearningCSV as published (79 columns) and the improved release of CNS 2022 (91 columns)."""

from __future__ import annotations

from dataclasses import replace

from harness.datasets import cicflow
from harness.datasets.recipe import Reading, Recipe, Request
from harness.datasets.store import Found
from harness.datasets.table import Split

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
# Three flows of four are benign, as in the improved release (1,582,566 of 2.10 million).
_ROWS = {
    "BENIGN": 15_000, "Portscan": 1_500, "DoS Hulk": 1_500, "DDoS": 1_000, "Infiltration - Portscan": 300,
    "DoS GoldenEye": 300, "DoS Slowloris": 200, "FTP-Patator": 200, "SSH-Patator": 200, "DoS Slowhttptest": 150,
    "Botnet": 100, "Web Attack - Brute Force": 50, "Web Attack - XSS": 30, "Infiltration": 20,
    "Web Attack - SQL Injection": 20, "Heartbleed": 10,
}  # fmt: skip


def _read(local: Found, request: Request) -> Reading:
    reading = cicflow.read(local, request)
    if local.variant.name != "improved-sample":
        return reading
    note = "The sample holds at most 5,000 flows of each class, so its share of attacks is not natural."
    return replace(reading, split=replace(reading.split, notes=(*reading.split.notes, note)))


def _synthesise(request: Request) -> Split:
    return cicflow.synthesise(FEATURES, _ROWS, request)


RECIPE = Recipe(read=_read, synthesise=_synthesise, options=cicflow.OPTIONS, published=cicflow.PUBLISHED)

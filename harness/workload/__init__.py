"""Workload files: what is trained on which data, and with which hyper-parameters."""

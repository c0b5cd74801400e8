"""LPARBench: benchmarking of anomaly detectors on IBM Power LPARs (and, as a fallback, x86-64)."""

__version__ = "0.1.0"

"""Anomaly detectors, scikit-learn and PyOD shaped."""

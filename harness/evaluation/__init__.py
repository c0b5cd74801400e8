"""Accuracy of scores: metrics, thresholds, operating points, bootstrap intervals."""

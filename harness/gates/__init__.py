"""Comparison and gating of run records."""

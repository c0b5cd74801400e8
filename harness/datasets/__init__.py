"""Loaders, splits, encoders, checksums, synthetic stand-ins."""

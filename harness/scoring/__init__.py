"""Fitted detectors as programs and files, and the backends that score rows with them."""

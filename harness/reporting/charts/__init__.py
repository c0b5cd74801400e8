"""Charts: pure functions from data to deterministic SVG text, one family per file."""

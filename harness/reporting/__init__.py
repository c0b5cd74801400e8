"""One exporter per file: HTML, terminal, CSV, pytest-benchmark JSON."""

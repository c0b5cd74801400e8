"""The server of the http scenario: ``python -m harness.workers.http_server DIR``; it does not outlive its worker."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.serving.process import main, read_job
from harness.workers.process import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(*read_job(Path(sys.argv[1]))))

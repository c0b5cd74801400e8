"""The host's end of a fleet that trains: all is the product's own, but that two hosts are on one system.

`LPARBENCH_TEST_HOST` is the identity that the host says it has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.fleet import host

if __name__ == "__main__":
    from harness.cli.main import main

    host._machine_id = lambda: os.environ["LPARBENCH_TEST_HOST"]
    main()

"""Starts a program under a plan: ``python -m harness.placement.launch --plan FILE -- PROGRAM ARGUMENT...``.

With ``--parent PID`` the program is killed when that process, which started it, dies.

Affinity, memory policy and the settings of threads and allocator are in force before the program's first instruction,
so before any library can start threads or touch memory; the launcher then becomes the program.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InputError, one_line
from harness.placement.apply import become
from harness.placement.model import Placement
from harness.process_tree import die_with_parent

_USAGE = "usage: python -m harness.placement.launch --plan FILE [--parent PID] -- PROGRAM [ARGUMENT...]"


def main(arguments: Sequence[str]) -> None:
    """Apply the plan and execute the program; does not return.

    Raises:
        InputError: wrong arguments, a broken plan, CPUs that cannot be used, or a program that cannot be started.
    """
    match list(arguments):
        case ["--plan", path, "--parent", parent, "--", *command] if parent.isdecimal() and command:
            die_with_parent(int(parent))
            main(["--plan", path, "--", *command])
        case ["--plan", path, "--", program, *rest]:
            become([program, *rest], Placement.read(Path(path)))
        case _:
            raise InputError(_USAGE)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as problem:
        print(f"lparbench: error: {one_line(str(problem))}", file=sys.stderr)
        sys.exit(problem.exit_code)

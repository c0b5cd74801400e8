"""``lparbench probe``: what is known of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Sysroot


def probe(
    sysroot: Sysroot = Path("/"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, every fact with its source.")] = False,
) -> None:
    """Show the facts of this machine: processor, cores and SMT, NUMA nodes, LPAR, memory, limits, software.

    What cannot be read is "not known", never assumed.

    Example: `lparbench probe --json`
    """
    from harness.decode import encode
    from harness.platform.dump import opened
    from harness.platform.probe import probe as collect
    from harness.reporting.factsheet import print_facts, say_origin

    facts = collect(opened(sysroot))
    if as_json:
        typer.echo(json.dumps({"facts": encode(facts)}, indent=2))
    else:
        say_origin(facts, sysroot)
        print_facts(facts)

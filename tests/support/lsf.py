"""A stand-in for LSF of one node: ``bsub`` and ``bkill``, which take what LSF's own do and start jobs at once.

It is not LSF. What it refuses follows IBM's reference of ``bsub``: a run limit is ``[hour:]minute``, limits are whole
numbers. A job gets what LSF puts into its environment, and of the user's what ``bsub`` passes on, which is all.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

_BSUB = r"""
import os, re, subprocess, sys
from pathlib import Path

jobs = Path(os.environ["LSF_STANDIN_JOBS"])
script = Path(sys.argv[1]) if len(sys.argv) > 1 else None
text = sys.stdin.read() if script is None else script.read_text()
forms = {"J": ".+", "e": ".+", "o": ".+", "q": ".+", "P": ".+", "R": ".+", "n": r"\d+", "M": r"\d+", "x": "",
         "W": r"(\d+:)?\d+(/\S+)?", "m": ".+"}
limits = {}
for line in text.splitlines():
    if line.startswith("#BSUB"):
        option, _, value = line.removeprefix("#BSUB").strip().removeprefix("-").partition(" ")
        if option not in forms or not re.fullmatch(forms[option], value.strip()):
            sys.exit(f"-{option} {value}: Bad argument. Job not submitted.")
        limits[option] = value.strip()
number = 101 + len(list(jobs.iterdir()))
environment = {**os.environ, "LSB_JOBID": str(number), "LSB_HOSTS": os.uname().nodename, "LSB_DJOB_NUMPROC": "1"}
with (jobs / f"{number}.log").open("wb") as log:
    job = subprocess.Popen(["/bin/sh", "-c", text], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                           start_new_session=True)
(jobs / str(number)).write_text(str(job.pid) + "\n" + "\n".join(f"{name}={value}" for name, value in limits.items()))
print(f"Job <{number}> is submitted to default queue <normal>.")
"""
_BKILL = r"""
import os, signal, sys
from pathlib import Path

for number in sys.argv[1:]:
    job = Path(os.environ["LSF_STANDIN_JOBS"]) / number
    if not job.exists():
        sys.exit(f"Job <{number}>: No matching job found")
    try:
        os.killpg(int(job.read_text().splitlines()[0]), signal.SIGTERM)
    except ProcessLookupError:
        sys.exit(f"Job <{number}>: Job has already finished")
    print(f"Job <{number}> is being terminated")
"""


def lsf(folder: Path) -> dict[str, str]:
    """Environment of a user of it; a job is a file of its number in ``folder``/jobs, with its process and limits."""
    programs, jobs = folder / "bin", folder / "jobs"
    programs.mkdir()
    jobs.mkdir()
    for name, text in (("bsub", _BSUB), ("bkill", _BKILL)):
        program = programs / name
        program.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{programs}:{os.environ.get('PATH', '')}", "LSF_STANDIN_JOBS": str(jobs)}

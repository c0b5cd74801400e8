"""The check job: what only a worker can see of a user's class and files, before anything is surveyed or fitted."""

from __future__ import annotations

from pathlib import Path

from harness.datasets.registry import is_own_table
from harness.detectors.foreign import Foreign
from harness.detectors.registry import resolve
from harness.errors import InputError
from harness.trust import names_code
from harness.workers.jobs import CheckJob
from harness.workers.outcomes import CheckOutcome
from harness.workload.model import Workload


def check(job: CheckJob) -> CheckOutcome:
    """Build the detectors and read the data.

    Raises:
        InputError: a class cannot be imported or built, or gives no score; a file or a column is not usable; or a
            detector cannot learn from the rows of the user's file.
    """
    for workload in job.workloads:
        if names_code(workload.detector):
            built = resolve(workload.detector, workload.parameters_for(job.protocol, 0))
            if job.save and isinstance(built, Foreign):
                name = workload.detector
                raise InputError(
                    f"--save: {name} cannot be saved as a bundle: what its class fits could only be pickled.",
                    remedy="Leave --save out (--scores keeps the scores of the test rows), save a built-in detector, "
                    "or derive the class from harness.detectors.base.Detector and give it a program().",
                )
    return CheckOutcome({each.name: _test_rows(each, job) for each in job.workloads if each.name in job.read})


def _test_rows(workload: Workload, job: CheckJob) -> int:
    from harness.datasets.base import count_test_rows, load  # with pandas, which a check of classes does not need

    directory = None if job.data_dir is None else Path(job.data_dir)
    options = workload.options_for(job.protocol)
    options = options if job.rows is None else {**options, "rows": job.rows}
    if not is_own_table(workload.dataset):
        return count_test_rows(
            workload.dataset, protocol=job.protocol, directory=directory, options=options, synthetic=job.synthetic
        )
    from harness.workers.readiness import check_ready

    data = load(  # encoded too, which shows what is wrong in its columns
        workload.dataset, protocol=job.protocol, directory=directory, options=options, synthetic=job.synthetic
    )
    check_ready(resolve(workload.detector, workload.parameters_for(job.protocol, 0)), data, options)
    return len(data.test_x)

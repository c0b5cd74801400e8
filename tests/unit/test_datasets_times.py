"""Times in the forms people write them, and files in the order of their days."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.datasets import times
from harness.datasets.file_days import by_day


def _iso(written: list[str]) -> list[str | None]:
    stamps = times.parse(written).stamps
    return [None if stamp == times.UNKNOWN else str(np.datetime64(int(stamp), "us"))[:19] for stamp in stamps]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["28/12/2015 10:00:00 AM", "28/12/2015 12:20:00 PM"], ["2015-12-28T10:00:00", "2015-12-28T12:20:00"]),
        (["14/02/2018 12:05 am", "14/02/2018 1:05 pm"], ["2018-02-14T00:05:00", "2018-02-14T13:05:00"]),
        (["6/7/2017 9:00", "13/7/2017 9:00:12"], ["2017-07-06T09:00:00", "2017-07-13T09:00:12"]),
        (["1/31/2020", "2/1/2020"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
        (["31.01.2020 23:59", "01.02.2020 00:01"], ["2020-01-31T23:59:00", "2020-02-01T00:01:00"]),
        (
            ["2024-01-01 00:00:00", " 2024-01-01T00:01:01Z ", "n/a"],
            ["2024-01-01T00:00:00", "2024-01-01T00:01:01", None],
        ),
        (["03-Jan-17", "04-Feb-17"], ["2017-01-03T00:00:00", "2017-02-04T00:00:00"]),
        (["Jan 3, 2017"], ["2017-01-03T00:00:00"]),
        (["Fri, 01 Mar 2024 12:00:05 +0100"], ["2024-03-01T11:00:05"]),
        (
            ["[01/Mar/2024:12:00:05 +0000]", "02/Mar/2024:00:00:00 +0000"],
            ["2024-03-01T12:00:05", "2024-03-02T00:00:00"],
        ),
        (["Fri Mar  1 12:00:05 2024", "3/1/2024 1:05:00PM"], ["2024-03-01T12:00:05", None]),
        (["13/1/2024 1:05:00PM"], ["2024-01-13T13:05:00"]),
        (["Mar  3 12:00:01"], [None]),  # of no known year
        (["flow", "12"], [None, None]),
    ],
)
def test_times_are_read_as_they_are_written(written: list[str], read: list[str | None]) -> None:
    assert _iso(written) == read


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (["1/2/2017", "2/2/2017", "1/3/2017"], "day, month, year"),
        (["1/2/2017", "1/3/2017", "2/1/2017"], "month, day, year"),
    ],
)
def test_where_day_and_month_can_be_exchanged_rows_go_forward_and_that_is_said(written: list[str], form: str) -> None:
    parsed = times.parse(written, np.arange(len(written)))
    assert (parsed.form, parsed.ambiguous) == (form, True)
    assert (np.diff(parsed.stamps) > 0).all()
    assert not times.parse([*written, "2017-01-01 10:00"]).form.startswith("year")


def test_many_times_equal_those_of_pandas() -> None:
    moments = pd.date_range("2015-12-28 10:00", periods=3_000, freq="37min")
    written = [str(text) for text in moments.strftime("%d/%m/%Y %I:%M:%S %p")]
    expected = moments.to_numpy().astype("datetime64[us]").astype(np.int64)
    np.testing.assert_array_equal(times.parse(written).stamps, expected)


def test_a_clock_of_twelve_hours_without_am_and_pm() -> None:
    stamps = times.parse(["7/7/2017 8:59", "7/7/2017 12:30", "7/7/2017 1:30", "oops"]).stamps
    assert times.twelve_hour_clock(stamps).tolist() == [False, False, True, False]
    whole_day = times.parse(["7/7/2017 8:59", "7/7/2017 13:30", "7/7/2017 1:30"]).stamps
    assert not times.twelve_hour_clock(whole_day).any()


@pytest.mark.parametrize(
    "names",
    [
        ["Monday-WorkingHours.csv", "Tuesday-WorkingHours.csv", "Wednesday-workingHours.csv"],
        ["Thursday-Morning-WebAttacks.csv", "Thursday-Afternoon-Infilteration.csv", "Friday-Morning.csv",
         "Friday-Afternoon-PortScan.csv", "Friday-Afternoon-DDos.csv"],
        ["02-14-2018.csv", "02-28-2018.csv", "03-02-2018.csv"],
        ["Wednesday-14-02-2018_T.csv", "Thursday-15-02-2018_T.csv", "Friday-02-03-2018_T.csv"],
        ["Friday-02-03-2018.csv", "Friday-06-04-2018.csv"],
        ["flows_20171231.csv", "flows_20180101.csv"],
        ["UNSW-NB15_2.csv", "UNSW-NB15_10.csv"],
    ],
)  # fmt: skip
def test_files_are_ordered_by_their_days(names: list[str]) -> None:
    for shuffled in (sorted(names), sorted(names, reverse=True)):
        assert [shuffled[position] for position in by_day(shuffled)] == names

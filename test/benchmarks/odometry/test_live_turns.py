"""Which runs at the pace of the camera keep to the limits."""

from dataclasses import replace

import pytest

from benchmarks.odometry.fast_turns import RunFigures
from benchmarks.odometry.live_turns import row_of

REPEATABLE = RunFigures(200, 196, 1, 0.020, 0.3)


@pytest.mark.parametrize(
    ("changes", "dropped", "verdict"),
    [
        ({}, 2, "yes"),
        ({}, 3, "no"),
        ({"num_poses": 193}, 0, "no"),
        ({"num_segments": 2}, 0, "no"),
        ({"ate_m": 0.025}, 0, "no"),
    ],
)
def test_a_run_keeps_to_all_limits_or_not(changes, dropped, verdict):
    row = row_of("turn", replace(REPEATABLE, **changes), 200, dropped, REPEATABLE)
    assert row[-1] == verdict
    assert row[1] == f"{dropped} of 200"

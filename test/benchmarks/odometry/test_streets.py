import numpy as np
import pytest

from benchmarks.odometry.streets import DRIVES, Drive


@pytest.mark.parametrize("name", DRIVES)
def test_a_drive_goes_on_steadily_through_its_corners_and_looks_where_it_goes(name):
    drive = Drive(DRIVES[name])
    poses = [drive.pose(seconds) for seconds in np.arange(0.0, drive.duration_s, 0.1)]
    steps = np.diff([pose.translation[:2] for pose in poses], axis=0)
    speeds = np.linalg.norm(steps, axis=1) / 0.1
    assert speeds == pytest.approx(np.full(len(steps), speeds[0]), rel=1e-3)
    ahead = np.array([pose.rotation[:2, 2] for pose in poses[1:]])
    assert np.min(np.sum(ahead * steps, axis=1) / np.linalg.norm(steps, axis=1)) > np.cos(np.radians(4.0))


def test_a_drive_around_the_block_comes_back_turned_by_three_corners():
    drive = Drive(DRIVES["around the block"])
    begin, end = drive.pose(0.0), drive.pose(drive.duration_s)
    assert end.translation[:2] == pytest.approx(begin.translation[:2], abs=1e-6)
    assert begin.rotation[:2, 2] @ [0.0, 1.0] == pytest.approx(0.0, abs=0.02)
    assert end.rotation[:2, 2] @ [0.0, -1.0] == pytest.approx(1.0, abs=0.02)

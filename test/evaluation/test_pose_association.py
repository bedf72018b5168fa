"""Estimates find their truth by stamp: the nearest within the tolerance, as in evo."""

import numpy as np
import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.evaluation.association import associate, truth_at

MS = 1_000_000


def along_x(stamps_ms, speed=1.0):
    """Poses on the x axis at ``speed`` metres a second."""
    poses = tuple(SE3(np.eye(3), [speed * ms / 1e3, 0.0, 0.0]) for ms in stamps_ms)
    return Trajectory(np.array(stamps_ms) * MS, poses)


def test_pairs_the_nearest_stamps_and_leaves_the_rest():
    pairs = associate(along_x([0, 33, 70, 400]), along_x([1, 35, 66, 99, 132]), tolerance_s=0.005)
    assert pairs.stamps_ns.tolist() == [0, 33 * MS, 70 * MS]
    assert len(pairs) == len(pairs.estimates) == len(pairs.truths) == 3


def test_truth_is_taken_as_it_is():
    pairs = associate(along_x([40]), along_x([0, 30, 60]), tolerance_s=0.02)
    assert pairs.true_positions[0, 0] == pytest.approx(0.030)


def test_the_truth_chooses_where_it_has_fewer_poses():
    pairs = associate(along_x(range(0, 100, 5)), along_x([0, 51]), tolerance_s=0.02)
    assert pairs.stamps_ns.tolist() == [0, 50 * MS]
    assert pairs.true_positions[:, 0] == pytest.approx([0.0, 0.051])


def test_a_truth_may_be_that_of_several_estimates_where_it_has_more_poses():
    pairs = associate(along_x([98, 102]), along_x([100, 200, 300]), tolerance_s=0.02)
    assert pairs.true_positions[:, 0] == pytest.approx([0.1, 0.1])


def test_of_two_equally_near_estimates_only_one_is_paired():
    pairs = associate(along_x([95, 105]), along_x([100]), tolerance_s=0.02)
    assert pairs.stamps_ns.tolist() == [95 * MS]


def test_tolerance_is_inclusive():
    truth = along_x([0, 1000])
    assert len(associate(along_x([20]), truth, tolerance_s=0.02)) == 1
    with pytest.raises(SourceError):
        associate(along_x([21]), truth, tolerance_s=0.02)


def test_nothing_in_common_names_both_time_spans():
    with pytest.raises(SourceError, match=r"100\.000 to 100\.100 s.*0\.000 to 0\.050 s.*clock"):
        associate(along_x([100_000, 100_100]), along_x([0, 50]))


@pytest.mark.parametrize(("estimate", "truth", "who"), [([], [0], "estimate"), ([0], [], "ground truth")])
def test_empty_trajectories_are_refused(estimate, truth, who):
    with pytest.raises(SourceError, match=f"the {who} holds no poses"):
        associate(along_x(estimate), along_x(truth))


def test_truth_is_not_interpolated_across_a_long_gap():
    truth = along_x([0, 100, 5000])
    assert truth_at(truth, 50 * MS).translation[0] == pytest.approx(0.050)
    assert truth_at(truth, 2500 * MS) is None
    assert truth_at(truth, 110 * MS).translation[0] == pytest.approx(0.100)  # the nearest one, as it is


def test_truth_before_and_after_its_span_is_taken_only_within_the_tolerance():
    truth = along_x([1000, 1030])
    assert truth_at(truth, 992 * MS).translation[0] == pytest.approx(1.0)
    assert truth_at(truth, 989 * MS) is None
    assert truth_at(truth, 1041 * MS) is None


def test_stamps_of_years_keep_their_nanoseconds():
    base = 1_700_000_000 * 1_000_000_000
    poses = tuple(SE3(np.eye(3), [float(i), 0.0, 0.0]) for i in range(3))
    trajectory = Trajectory(base + np.array([1, 40_000_002, 80_000_003]), poses)
    assert np.allclose(associate(trajectory, trajectory, tolerance_s=0.0).true_positions, trajectory.positions)


def test_frame_numbers_meet_no_times_by_chance():
    seconds = along_x(range(0, 5000, 1000))
    numbers = Trajectory(seconds.stamps_ns, seconds.poses, is_numbered=True)
    for estimate, truth, name in ((numbers, seconds, "estimate"), (seconds, numbers, "truth")):
        with pytest.raises(SourceError, match=f"the {name} has frame numbers, not times"):
            associate(estimate, truth)
    assert len(associate(numbers, numbers)) == 5

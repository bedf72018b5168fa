"""Relative errors by hand: which poses are compared, what is drift and what is not, KITTI's own measure."""

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.evaluation import PairSelection
from visloc_ros.evaluation.association import PosePairs
from visloc_ros.evaluation.relative_drift import kitti_errors
from visloc_ros.evaluation.relative_pairs import choose_pairs
from visloc_ros.evaluation.trajectories import relative_errors

NO_PAIRS = PosePairs(np.empty(0, dtype=np.int64), (), ())


def straight_pairs(drift, count=9):
    """A camera 0.5 m further each half second; the estimate walks ``drift`` times as far."""
    truths = tuple(SE3(np.eye(3), [0.5 * i, 0.0, 0.0]) for i in range(count))
    estimates = tuple(SE3(np.eye(3), [0.5 * i * drift + 7.0, 0.0, 0.0]) for i in range(count))
    return PosePairs(np.arange(count) * 500_000_000, estimates, truths)


@pytest.mark.parametrize(
    ("delta", "unit", "all_pairs", "rows"),
    [
        (1.0, "s", True, [(i, i + 2) for i in range(6)]),  # none to the last pose, as in the TUM benchmark
        (0.7, "s", True, [(i, i + 1) for i in range(7)]),
        (1.0, "s", False, [(0, 2), (2, 4), (4, 6), (6, 8)]),
        (3, "f", False, [(0, 3), (3, 6)]),
        (3, "f", True, [(i, i + 3) for i in range(6)]),
        (1.2, "m", False, [(0, 3), (3, 6)]),
        (1.2, "m", True, []),  # 1.0 m and 1.5 m are both more than a tenth off
        (1.05, "m", True, [(i, i + 2) for i in range(7)]),
        (100.0, "m", False, []),
        (10.0, "d", False, []),
    ],
)
def test_poses_that_are_compared(delta, unit, all_pairs, rows):
    pairs = straight_pairs(1.0)
    begins, ends = choose_pairs(PairSelection(delta, unit, all_pairs), pairs.stamps_ns, pairs.estimates)
    assert list(zip(begins.tolist(), ends.tolist(), strict=True)) == rows


def test_they_measure_drift_not_offset():
    errors = relative_errors(straight_pairs(1.1), PairSelection(2, "f"))
    np.testing.assert_allclose(errors, np.tile([0.1, 0.0], (4, 1)), atol=1e-12)


def test_they_see_a_turn_in_the_estimate():
    pairs = straight_pairs(1.0)
    bent = tuple(
        SE3(rotation_matrix([0.0, 0.0, np.radians(3.0 * i)]), one.translation) for i, one in enumerate(pairs.estimates)
    )
    errors = relative_errors(PosePairs(pairs.stamps_ns, bent, pairs.truths), PairSelection(2, "f", all_pairs=True))
    np.testing.assert_allclose(errors[:, 1], 6.0)


@pytest.mark.parametrize("unit", ["f", "m", "d", "r", "s"])
def test_of_an_empty_run_there_are_none(unit):
    assert relative_errors(NO_PAIRS, PairSelection(1.0, unit)).shape == (0, 2)


@pytest.mark.parametrize(
    ("delta", "unit", "words"),
    [
        (1.0, "frames", "unknown unit 'frames'"),
        (0.0, "m", "over 0 m"),
        (1.5, "f", "1.5 frames"),
        (np.nan, "s", "nan s"),
    ],
)
def test_what_cannot_be_compared_is_reported(delta, unit, words):
    with pytest.raises(ConfigError, match=words):
        PairSelection(delta, unit)


def test_kitti_s_measure_of_a_scale_that_is_2_percent_off():
    errors = kitti_errors(straight_pairs(1.02, count=521))  # 260 m
    assert errors.count == len(range(0, 521 - 201, 10)) + len(range(0, 521 - 401, 10))
    # Each stretch ends 0.5 m behind its length, which is divided by the length alone.
    stretches = [100.0] * len(range(0, 320, 10)) + [200.0] * len(range(0, 120, 10))
    expected = np.mean([2.0 * (length + 0.5) / length for length in stretches])
    assert errors.translation_percent == pytest.approx(expected)
    assert errors.rotation_deg_per_m == 0.0


def test_kitti_s_measure_needs_100_metres():
    assert kitti_errors(straight_pairs(1.0, count=201)) is None
    assert kitti_errors(straight_pairs(1.0, count=202)).count == 1
    assert kitti_errors(NO_PAIRS) is None

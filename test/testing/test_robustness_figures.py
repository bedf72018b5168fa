"""What an incident did to a run, every figure by hand."""

import dataclasses

import numpy as np
import pytest
from synthetic_run import perturbed, walk

from testing.robustness import LARGEST_NEES, Incident, judge_run
from visloc_ros.core.types import State
from visloc_ros.evaluation.records import FrameRecord, RunRecord

STEP_NS = 100_000_000
TRUTH = walk(100, STEP_NS)
SIGMA = 0.01
L, D, X = State.LOCALIZED, State.DEGRADED, State.LOST


def run(states, errors_in_sigmas, truth=TRUTH):
    """Ten frames a second; None is a frame without a pose, a number the error along x in standard deviations."""
    covariance = np.diag([SIGMA**2] * 3 + [1e-4] * 3)
    frames = []
    for row, (state, error) in enumerate(zip(states, errors_in_sigmas, strict=True)):
        pose = None if error is None else perturbed(TRUTH.poses[row], np.array([error * SIGMA, 0, 0, 0, 0, 0]))
        frames.append(FrameRecord(row * STEP_NS, state, map_from_camera=pose, covariance=covariance))
    return RunRecord("by hand", tuple(frames), ground_truth=truth)


def test_times_run_from_the_incident():
    judged = judge_run(run([L, L, D, X, X, L, L], [0, 0, 0, None, None, 9, 1]), Incident(0.1, 0.3))
    assert judged.detected_after_s == pytest.approx(0.1)
    assert judged.lost_after_s == pytest.approx(0.2)
    assert judged.recovered_after_s == pytest.approx(0.3)  # the first LOCALIZED pose after it is not right yet
    assert (judged.frames, judged.poses, judged.localized, judged.overconfident) == (7, 5, 4, 1)
    assert judged.largest_error == pytest.approx(9 * SIGMA)
    assert judged.largest_sigmas == pytest.approx(9.0)


def test_frames_that_were_dropped_show_nothing():
    dropped = State.UNINITIALIZED
    judged = judge_run(run([L, dropped, L, D, L], [0, None, 0, 0, 0]), Incident(0.1, 0.1))
    assert judged.detected_after_s == pytest.approx(0.2)


def test_only_localized_poses_can_be_confidently_wrong():
    assert judge_run(run([D, L, X], [50, 1, 50])).overconfident == 0


def test_the_longest_time_of_a_wrong_pose_is_reported():
    judged = judge_run(run([L] * 7, [0, 9, 9, 9, 0, 9, 9]))
    assert judged.longest_overconfident_s == pytest.approx(0.2)
    np.testing.assert_allclose(judged.overconfident_spans_s, [(0.1, 0.3), (0.5, 0.6)])
    assert judge_run(run([L] * 3, [0, 9, 0])).longest_overconfident_s == 0.0


def test_three_sigma_of_six_numbers_leave_as_much_outside_as_of_one():
    assert pytest.approx(20.06, abs=0.01) == LARGEST_NEES
    judged = judge_run(run([L, L], [np.sqrt(LARGEST_NEES) - 0.01, np.sqrt(LARGEST_NEES) + 0.01]))
    assert judged.overconfident == 1


def test_any_pose_of_a_camera_that_is_not_in_the_map_is_wrong():
    elsewhere = dataclasses.replace(TRUTH, stamps_ns=TRUTH.stamps_ns[:2], poses=TRUTH.poses[:2])
    judged = judge_run(run([L, L, L, D, X], [0, 0, 0, 0, None], elsewhere))
    assert (judged.overconfident, judged.poses_outside_map) == (1, 2)


def test_poses_without_a_covariance_are_not_believed():
    record = run([L], [0])
    bare = dataclasses.replace(record.frames[0], covariance=None)
    assert judge_run(dataclasses.replace(record, frames=(bare,))).overconfident == 1


def test_what_never_happened_is_unknown():
    judged = judge_run(run([State.INITIALIZING] * 3, [None] * 3), Incident(0.1, 0.1))
    assert (judged.detected_after_s, judged.lost_after_s, judged.recovered_after_s) == (pytest.approx(0.0), None, None)
    assert (judged.largest_error, judged.largest_error_deg, judged.largest_sigmas) == (None, None, None)
    assert judge_run(RunRecord("nothing", ())).frames == 0


def test_without_an_incident_the_first_right_pose_is_timed():
    judged = judge_run(run([State.INITIALIZING, L, L], [None, 0, 0]))
    assert judged.recovered_after_s == pytest.approx(0.1)
    assert judged.detected_after_s is None

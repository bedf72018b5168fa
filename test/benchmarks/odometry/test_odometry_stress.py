from dataclasses import replace

import numpy as np
import pytest

from benchmarks.odometry.fast_turns import there_and_back
from benchmarks.odometry.scenarios import SCENARIOS, Scenario, ScenarioRenderer, dropped, with_passer_by
from benchmarks.odometry.stress import Verdict, judge, run_stress
from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.simulation.path import Choreography, Span, Turn

STEP_NS = 50_000_000
NUM_FRAMES = 120
PATH = [
    SE3(rotation_matrix([0, 0.01 * i, 0]), np.array([0.03 * i, 0.4 * np.sin(0.1 * i), 0.3 * np.cos(0.07 * i)]))
    for i in range(NUM_FRAMES)
]
TRUTH = {index * STEP_NS: pose for index, pose in enumerate(PATH)}
ODOM_FROM_MAP = Sim3(0.4, rotation_matrix([0.3, -0.2, 0.1]), np.array([1.0, 2.0, 3.0]))


def results_of(lost=(), wrong=(), new_segment_from=NUM_FRAMES):
    """True poses in another frame and scale; some are lost, some half a metre off."""
    results = []
    for index, pose in enumerate(PATH):
        shifted = SE3(pose.rotation, pose.translation + (0.5 if index in wrong else 0.0))
        if index in lost:
            results.append(Rejection(index * STEP_NS, Reason.FEW_FEATURES))
        else:
            estimate = ODOM_FROM_MAP.apply_to_pose(shifted)
            results.append(OdometryPose(index * STEP_NS, estimate, int(index >= new_segment_from), 100))
    return results


SCENARIO = Scenario("test", path=None, incident=Span(2.0, 1.0))  # frames 40 to 59


def test_true_poses_in_any_frame_and_scale_count_as_tracked():
    result = judge(SCENARIO, results_of(lost=range(6)), TRUTH)
    assert result.verdict is Verdict.TRACKED
    assert (result.num_tracked, result.start_s, result.flagged_after, result.restart_s) == (114, 0.3, None, 0.0)
    assert result.ate_m == pytest.approx(0.0, abs=1e-9)
    assert result.drift_mm_s == pytest.approx(0.0, abs=1e-6)
    assert result.losses == {"FEW_FEATURES": 6}


def test_a_loss_is_counted_from_the_first_wrong_pose_and_the_restart_from_the_end_of_the_incident():
    result = judge(SCENARIO, results_of(lost=range(42, 70), new_segment_from=70), TRUTH)
    assert result.verdict is Verdict.FLAGGED
    assert (result.flagged_after, result.num_segments) == (0, 2)
    assert result.restart_s == pytest.approx(0.5)


@pytest.mark.parametrize(("num_wrong", "verdict"), [(3, Verdict.FLAGGED), (4, Verdict.WRONG)])
def test_wrong_poses_before_a_loss_are_counted_however_few_follow(num_wrong, verdict):
    lost = range(47 + num_wrong, 70)
    result = judge(SCENARIO, results_of(lost=lost, wrong=range(47, lost[0]), new_segment_from=70), TRUTH)
    assert (result.flagged_after, result.wrong_frames, result.verdict) == (num_wrong, num_wrong, verdict)


def test_wrong_poses_that_later_ones_make_good_are_not_what_a_loss_tells():
    result = judge(SCENARIO, results_of(lost=range(50, 55), wrong=range(45, 48)), TRUTH)
    assert (result.flagged_after, result.wrong_frames) == (0, 3)


def test_errors_of_the_incident_are_not_spread_over_the_poses_before_it():
    results = results_of()
    last_right = results[40].odom_from_camera.translation
    for index in range(41, NUM_FRAMES):  # half the way from the incident's first frame on is not seen
        pose = results[index].odom_from_camera
        halved = SE3(pose.rotation, 0.5 * (last_right + pose.translation))
        results[index] = replace(results[index], odom_from_camera=halved)
    result = judge(SCENARIO, results, TRUTH)
    assert result.verdict is Verdict.WRONG
    assert result.wrong_frames > 65


def test_a_restart_after_more_than_a_second_or_never_is_too_late():
    assert judge(SCENARIO, results_of(lost=range(42, 90)), TRUTH).verdict is Verdict.SLOW
    never = judge(SCENARIO, results_of(lost=range(42, NUM_FRAMES)), TRUTH)
    assert never.verdict is Verdict.SLOW
    assert never.restart_s is None


def test_more_than_three_wrong_poses_are_wrong():
    assert judge(SCENARIO, results_of(wrong=range(45, 48)), TRUTH).verdict is Verdict.TRACKED
    wrong = judge(SCENARIO, results_of(wrong=range(45, 50)), TRUTH)
    assert (wrong.verdict, wrong.wrong_frames) == (Verdict.WRONG, 5)


def test_no_pose_at_all_is_waiting():
    result = judge(SCENARIO, results_of(lost=range(NUM_FRAMES)), TRUTH)
    assert result.verdict is Verdict.WAITED
    assert (result.ate_m, result.turn_error_deg, result.start_s) == (None, None, None)


@pytest.fixture(scope="module")
def renderer():
    return ScenarioRenderer(320, 240, rate_hz=15.0)


WALK = SCENARIOS[0].path
TURN, QUICK_TURN, HALT = Span(1.8, 2.5), Span(1.5, 0.8), Span(1.5, 1.5)
SHORT = (
    Scenario("turn", Choreography(WALK, (TURN,), (Turn(TURN, 40.0),)), TURN, changes={"duration_s": 6.0, "samples": 4}),
    Scenario("quick turn", Choreography(WALK, turns=(Turn(QUICK_TURN, 180.0),)), QUICK_TURN),
    Scenario("halt", Choreography(WALK, (HALT,)), Span(1.8, 0.9)),
    Scenario("dark", WALK, Span(1.5, 0.5), changes={"blackout_start_s": 1.5, "blackout_s": 0.5}),
    Scenario("passer-by", WALK, Span(1.0, 1.5), with_passer_by),
    Scenario("dropped", WALK, corrupt=dropped),
)


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_klt_tracks_on_or_says_that_it_is_lost(renderer, scenario):
    short = replace(scenario, changes={"duration_s": 3.2, "samples": 1} | scenario.changes)
    (result,) = run_stress(lambda: make_odometry(OdometryConfig()), renderer, [short])
    assert result.verdict in (Verdict.TRACKED, Verdict.FLAGGED)
    assert result.start_s < 0.5
    assert result.ate_m < 0.04
    if scenario.name == "halt":
        assert result.drift_mm_s < 2.0


def test_frames_are_dropped_and_corrupted_only_during_the_incident(renderer):
    scenario = Scenario("dark", SCENARIOS[0].path, Span(0.1, 0.1), lambda frame, share, _rng: None if share else frame)
    stamps = [frame.stamp_ns for frame, _ in zip(renderer.frames(scenario), range(6), strict=False)]
    assert (np.diff(stamps) * 15e-9).round().astype(int).tolist() == [1, 2, 1, 1, 1]


def test_klt_comes_back_from_a_fast_turn_in_the_same_segment(renderer):
    path = there_and_back(200.0, {1.5: "vertical"})
    turn = Scenario("fast turn", path, Span(1.5, 1.2), changes={"rate_hz": 30.0, "duration_s": 4.0, "samples": 1})
    (result,) = run_stress(lambda: make_odometry(OdometryConfig()), renderer, [turn])
    assert result.num_segments == 1
    assert result.ate_m < 0.03

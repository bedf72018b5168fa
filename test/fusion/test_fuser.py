"""The fused pose, and what comes with it: how measurements met their predictions, and what the pose rests on."""

from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from incidents import ELSEWHERE
from scipy.stats import chi2

from testing.fusion_replay import (
    FollowedPoints,
    play,
    position_errors,
    rotation_errors_deg,
    squared_errors,
)
from testing.fusion_runs import make_anchor, simulate_run
from testing.fusion_scenario import EXACT, FusionScenario
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS as SECOND
from visloc_ros.core.types import PENDING, UNCONFIRMED_S, OdometryPose, Reason, Rejection, State, Support
from visloc_ros.evaluation.consistency import Consistency
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import MAX_INNOVATIONS, Fuser

CONFIG = FusionConfig()
PERFECT = replace(EXACT, duration_s=12.0, rate_hz=10.0)
QUICK = FusionScenario(duration_s=30.0, rate_hz=5.0)


def fused(scenario, seed=0, config=CONFIG):
    run = simulate_run(scenario, seed)
    fuser = Fuser(config, metric=True)
    return run, play(fuser, run), fuser


def posed(estimates):
    return [e for e in estimates if e.map_from_camera is not None]


def test_perfect_data_is_recovered_exactly():
    run, estimates, _ = fused(PERFECT)
    assert len(posed(estimates)) > 80
    assert position_errors(run, estimates).max() < 1e-9
    assert rotation_errors_deg(run, estimates).max() < 1e-6
    assert posed(estimates)[-1].state is State.LOCALIZED


def test_nothing_is_given_before_a_true_fix():
    run = simulate_run(PERFECT, 1)
    fuser = Fuser(CONFIG, metric=True)
    assert fuser.estimate(0).state is State.UNINITIALIZED
    estimates = play(fuser, run)
    first, _, third = sorted(arrival for arrival, _ in run.anchors)[:3]
    for estimate in estimates:
        if estimate.stamp_ns < third:
            assert estimate.state is State.INITIALIZING
            assert estimate.reason is (Reason.NO_ANCHOR if estimate.stamp_ns < first else Reason.SCALE_UNSET)
            assert (estimate.map_from_odom, estimate.odom_from_camera, estimate.scale) == (None, None, None)
            assert not estimate.metric
        else:
            assert estimate.state is State.LOCALIZED
            assert estimate.metric


def test_a_standing_camera_never_invents_a_scale():
    _, estimates, _ = fused(FusionScenario(path="still", duration_s=15.0, rate_hz=5.0))
    assert not posed(estimates)
    assert {e.state for e in estimates} == {State.INITIALIZING}
    assert estimates[-1].reason in (Reason.DEGENERATE_MOTION, Reason.SCALE_UNSET)


def test_camera_never_moves_faster_than_odometry_and_slew_allow():
    run, fuser = simulate_run(replace(QUICK, anchor_sigma=0.1), 0), Fuser(CONFIG, metric=False)
    estimates, seconds = play(fuser, run), 1.0 / QUICK.rate_hz
    assert fuser.raw_map_from_odom is not None
    assert not any(estimate.metric for estimate in estimates)
    for before, after in pairwise(estimates):
        if before.map_from_camera is None:
            continue
        moved = before.map_from_odom @ after.odom_from_camera
        jump = after.map_from_camera.translation - moved.translation
        if np.linalg.norm(jump) < CONFIG.slew.step_distance:
            assert np.linalg.norm(jump) <= CONFIG.slew.speed * seconds + 1e-9
            turned = rotation_angle_deg(after.map_from_camera.rotation, moved.rotation)
            assert turned <= CONFIG.slew.turn_rate_deg * seconds + 1e-6
    assert len(run.anchors) > 20


def last_estimate(run, anchors, settle_s=5.0):
    """Estimate after all anchors have come in this order at the end, and the output has come to rest."""
    fuser = Fuser(CONFIG, metric=True)
    for odometry in run.odometry:
        fuser.add_odometry(odometry)
    for anchor in anchors:
        fuser.add_anchor(anchor)
    end, last = run.stamps_ns[-1], run.odometry[-1]
    for step in range(1, 11):
        fuser.add_odometry(replace(last, stamp_ns=end + round(step * settle_s / 10 * SECOND)))
    return fuser.estimate(end + round(settle_s * SECOND))


def test_anchors_14_seconds_late_give_the_same_answer_as_prompt_ones():
    """The fix applies at its own image and is carried on by odometry."""
    scenario = replace(QUICK, duration_s=16.0)
    run = simulate_run(replace(scenario, delay_s=(0.0, 0.0)), 5)
    longer = whole(replace(run, odometry=run.odometry + rest_after(run, seconds=20)))
    prompt, late = Fuser(CONFIG, metric=True), Fuser(CONFIG, metric=True)
    delayed = [(arrival + 14 * SECOND, anchor) for arrival, anchor in run.anchors]
    first = play(prompt, longer)[-1]
    second = play(late, replace(longer, anchors=delayed))[-1]
    assert prompt.counts == late.counts
    assert second.map_from_camera.is_close(first.map_from_camera, translation=1e-3, degrees=0.05)


def rest_after(run, seconds):
    last, end = run.odometry[-1], run.stamps_ns[-1]
    return [replace(last, stamp_ns=end + step * SECOND // 5) for step in range(1, seconds * 5)]


def whole(run):
    """The run with stamps and truth for odometry that was appended: the camera rests at its last pose."""
    extra = run.odometry[len(run.stamps_ns) :]
    stamps_ns = [*run.stamps_ns, *(o.stamp_ns for o in extra)]
    return replace(run, stamps_ns=stamps_ns, truth=[*run.truth, *([run.truth[-1]] * len(extra))])


def test_output_stays_right_with_14_seconds_of_delay():
    good = replace(QUICK, position_drift=0.005, rotation_drift_deg=0.1, scale_drift=0.003, rotation_scale_error=0.01)
    errors = []
    for seed in range(3):
        run, estimates, _ = fused(replace(good, duration_s=40.0, delay_s=(14.0, 14.0)), seed)
        errors.append(position_errors(run, estimates))
        assert len(errors[-1]) > 100
    assert np.median(np.concatenate(errors)) < 0.2


def test_order_of_arrival_does_not_matter():
    run = simulate_run(replace(QUICK, duration_s=18.0), 7)
    anchors = [anchor for _, anchor in run.anchors]
    reference = last_estimate(run, anchors).map_from_camera
    for seed in range(2):
        shuffled = [anchors[i] for i in np.random.default_rng(seed).permutation(len(anchors))]
        assert last_estimate(run, shuffled).map_from_camera.is_close(reference, translation=2e-3, degrees=0.1)


def test_a_third_of_wrong_anchors_never_makes_it_diverge():
    """30 % gross outliers, 12 seeds."""
    worst, refused = 0.0, 0
    for seed in range(12):
        run, estimates, fuser = fused(replace(QUICK, duration_s=15.0, rate_hz=4.0, outlier_share=0.3), seed)
        errors = position_errors(run, estimates)
        worst = max(worst, float(errors.max(initial=0.0)))
        refused += fuser.counts.get("ODOMETRY_DISAGREES", 0)
    assert worst < 0.6
    assert refused > 24


def test_the_more_anchors_the_less_drift():
    """Drifting odometry, anchors every 0.5, 1 and 4 seconds."""
    medians = []
    for period_s in (0.5, 1.0, 4.0):
        scenario = replace(QUICK, anchor_period_s=period_s, duration_s=25.0, rotation_drift_deg=1.0)
        runs = [fused(scenario, seed)[:2] for seed in range(2)]
        medians.append(np.median(np.concatenate([position_errors(run, estimates) for run, estimates in runs])))
    assert medians[0] < medians[1] < medians[2]


def test_a_corridor_leaves_rotation_and_scale_known():
    """10 m straight on with 1 cm of noise: Umeyama's rotation is tens of degrees off there."""
    drift = {"position_drift": 0.005, "rotation_drift_deg": 0.1, "scale_drift": 0.002, "rotation_scale_error": 0.01}
    scenario = FusionScenario(
        path="line", duration_s=16.0, rate_hz=5.0, anchor_sigma=0.01, anchor_sigma_deg=0.3, **drift
    )
    for seed in range(3):
        run, estimates, _ = fused(replace(scenario, delay_s=(0.2, 0.2)), seed)
        errors_deg = rotation_errors_deg(run, estimates)
        assert np.median(errors_deg) < 1.0
        assert errors_deg[len(errors_deg) // 2 :].max() < 1.0
        assert estimates[-1].scale == pytest.approx(run.scales[-1], rel=0.015)


def test_errors_are_as_large_as_the_covariance_says():
    """NEES, 6 degrees of freedom, sampled at three seconds: inside the 95 % band for most runs.

    The drift is configured as it is simulated; the default expects twice the rotation scale error.
    """
    inside = 0
    config = replace(
        CONFIG, odometry_noise=replace(CONFIG.odometry_noise, rotation_scale_sigma=QUICK.rotation_scale_error)
    )
    for seed in range(8):
        run, estimates, _ = fused(replace(QUICK, rate_hz=4.0, duration_s=30.0), seed, config)
        samples = squared_errors(run, estimates)[::12]
        low, high = chi2.ppf([0.025, 0.975], 6 * len(samples))
        inside += low <= samples.sum() <= high
    assert inside >= 6


def test_optimistic_anchor_covariances_are_found_out():
    run, estimates, fuser = fused(replace(QUICK, reported_sigma_factor=0.2, duration_s=40.0), 1)
    honest = squared_errors(run, estimates)
    assert np.mean(honest[len(honest) // 2 :]) < 15.0
    assert fuser.estimate(run.stamps_ns[-1]).state is State.LOCALIZED


def test_state_falls_with_the_distance_since_the_last_fix():
    gap = replace(PERFECT, duration_s=80.0, speed=1.0, path="line", gaps=((6.0, 100.0),))
    _, estimates, _ = fused(gap)
    states = [e.state for e in estimates]
    order = [s for i, s in enumerate(states) if i == 0 or s is not states[i - 1]]
    assert order == [State.INITIALIZING, State.LOCALIZED, State.DEGRADED, State.LOST]
    for estimate in posed(estimates):
        assert estimate.reason is (None if estimate.state is State.LOCALIZED else Reason.STALE)
    localized = [e.distance_since_fix for e in estimates if e.state is State.LOCALIZED]
    assert max(localized) <= CONFIG.state.degraded_distance
    sigmas = [np.trace(e.covariance[:3, :3]) for e in posed(estimates)[-200:]]
    assert np.all(np.diff(sigmas) > 0)


def test_lost_odometry_gives_no_pose_and_a_new_segment_needs_a_new_fix():
    scenario = replace(PERFECT, duration_s=30.0, losses=((12.0, 3.0),))
    run, estimates, fuser = fused(scenario)
    lost = [e for e in estimates if 12.0 <= (e.stamp_ns - SECOND) / SECOND < 15.0]
    assert all(e.map_from_camera is None and e.odom_from_camera is None for e in lost)
    assert [lost[0].state, lost[-1].state] == [State.DEGRADED, State.LOST]
    assert lost[0].reason is Reason.FEW_FEATURES
    unaligned = [e for e in estimates if (e.stamp_ns - SECOND) / SECOND >= 15.0 and e.map_from_camera is None]
    assert unaligned
    assert [reason for reason, _ in groupby(e.reason for e in unaligned)] == [Reason.NO_ANCHOR, Reason.SCALE_UNSET]
    before = [e for e in posed(estimates) if (e.stamp_ns - SECOND) / SECOND < 12.0][-1]
    after = next(e for e in posed(estimates) if (e.stamp_ns - SECOND) / SECOND > 15.0)
    assert after.odom_from_camera.is_close(before.odom_from_camera)
    assert after.scale != pytest.approx(before.scale, rel=1e-3)
    assert position_errors(run, estimates).max() < 1e-9
    assert fuser.counts["NO_TRANSFORM"] >= 2


def test_short_odometry_gap_within_a_segment_changes_nothing():
    run = simulate_run(PERFECT, 0)
    gone = [Rejection(r.stamp_ns, Reason.BLURRED) if 60 <= i < 64 else r for i, r in enumerate(run.odometry)]
    run = replace(run, odometry=gone)
    estimates = play(Fuser(CONFIG, metric=True), run)
    assert estimates[61].state is State.DEGRADED
    assert estimates[61].reason is Reason.BLURRED
    assert estimates[64].state is State.LOCALIZED
    assert position_errors(run, estimates).max() < 1e-9


def test_odometry_recovered_beside_its_true_place_gives_way_to_the_next_anchor():
    lost = range(60, 80)
    run = simulate_run(replace(PERFECT, delay_s=(0.0, 0.0), speed=1.0), 0)
    moved = run.odometry[lost[0] - 1].odom_from_camera.inverse @ run.odometry[lost[-1] + 1].odom_from_camera
    beside = SE3(np.eye(3), 0.2 * np.linalg.norm(moved.translation) * np.array([0.0, 0.0, 1.0]))
    odometry = [
        Rejection(one.stamp_ns, Reason.FEW_FEATURES)
        if index in lost
        else replace(one, odom_from_camera=beside @ one.odom_from_camera, is_recovered=index == lost[-1] + 1)
        if index > lost[-1]
        else one
        for index, one in enumerate(run.odometry)
    ]
    run = replace(run, odometry=odometry)
    fuser = Fuser(CONFIG, metric=True)
    estimates = play(fuser, run)
    assert np.nanmax(squared_errors(run, estimates)) < chi2.ppf(0.999, 6)
    assert "ODOMETRY_DISAGREES" not in fuser.counts
    assert estimates[-1].state is State.LOCALIZED
    assert estimates[-1].map_from_camera.is_close(run.truth[-1], translation=1e-3, degrees=0.1)


def test_a_step_that_odometry_reports_to_be_bad_is_published_as_bad():
    """As of the first image out of focus: few points are left, and none of the map's."""
    good = {"anchor_sigma": 0.005, "anchor_sigma_deg": 0.1, "delay_s": (0.2, 0.2), "rotation_scale_error": 0.0}
    quiet = {"position_drift": 0.002, "rotation_drift_deg": 0.03, "scale_drift": 1e-3}
    scenario = replace(QUICK, rate_hz=10.0, anchor_period_s=0.5, tracked=True, **good, **quiet)
    values = []
    for seed in range(3):
        run, rng = simulate_run(scenario, seed), np.random.default_rng(seed)
        followed, summed, odometry = FollowedPoints(scenario, run, seed), np.zeros((6, 6)), []
        bad, turned = {100, 150, 200, 250}, SE3.identity()
        for index, one in enumerate(run.odometry):
            sigma_deg = 1.0 if index in bad else 0.03
            summed = summed + np.diag(np.repeat([1e-6, np.radians(sigma_deg) ** 2], 3))
            if index in bad:
                turn = rotation_matrix(np.radians(sigma_deg) * rng.normal(size=3))
                turned = turned @ one.odom_from_camera @ SE3(turn, np.zeros(3)) @ one.odom_from_camera.inverse
            odometry.append(replace(one, odom_from_camera=turned @ one.odom_from_camera, covariance=summed))
        missed = {run.stamps_ns[index] for index in bad}
        followed.track = lambda stamp_ns, track=followed.track, missed=missed: (
            Rejection(stamp_ns, Reason.FEW_MATCHES) if stamp_ns in missed else track(stamp_ns)
        )
        estimates = play(Fuser(CONFIG, metric=True), replace(run, odometry=odometry), followed=followed)
        of_bad = replace(run, truth=[run.truth[index] for index in sorted(bad)])
        values += squared_errors(of_bad, [estimates[index] for index in sorted(bad)]).tolist()
    assert len(values) == 12
    assert max(values) < 15.0


def test_kidnapped_camera_is_found_after_hysteresis():
    run = simulate_run(replace(PERFECT, duration_s=30.0, delay_s=(0.0, 0.0), risk=(0.001, 0.001)), 0)
    jump = SE3(rotation_matrix([0, 0, 1.0]), np.array([8.0, 2.0, 0.0]))
    moved = run.stamps_ns[150]
    elsewhere = [
        (t, replace(a, map_from_camera=jump @ a.map_from_camera) if a.stamp_ns >= moved else a) for t, a in run.anchors
    ]
    fuser = Fuser(CONFIG, metric=True)
    estimates = play(fuser, replace(run, anchors=elsewhere))
    refused = fuser.counts["ODOMETRY_DISAGREES"]
    assert refused == 2  # a third one that is hardly wrong suffices
    assert any(e.state is State.DEGRADED and e.reason is Reason.ODOMETRY_DISAGREES for e in estimates)
    end = estimates[-1]
    assert end.state is State.LOCALIZED
    assert end.map_from_camera.is_close(jump @ run.truth[-1], translation=1e-6, degrees=1e-4)


def test_a_first_fix_that_followed_points_refute_is_given_up_at_once():
    """Odometry that begins at twice the scale it then keeps, as by views of little parallax: two anchors fit it."""
    scenario = replace(EXACT, path="eight", duration_s=8.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run, begun = simulate_run(scenario, 0), 12
    run = replace(run, anchors=[(arrival, replace(one, probability=0.99999)) for arrival, one in run.anchors])
    there = run.odometry[begun].odom_from_camera.translation
    for index in range(begun):
        pose = run.odometry[index].odom_from_camera
        stretched = SE3(pose.rotation, there + 2.0 * (pose.translation - there))
        run.odometry[index] = replace(run.odometry[index], odom_from_camera=stretched)
    estimates = play(Fuser(CONFIG, metric=True), run, followed=FollowedPoints(scenario, run, 0))
    errors = position_errors(run, estimates)
    assert np.sum(errors > 0.1) <= 1  # the frame in which the fix was made, before any point was followed from it
    assert estimates[-1].state is State.LOCALIZED


def test_points_that_contradict_odometry_make_the_pose_as_uncertain_until_both_agree_again():
    scenario = replace(EXACT, path="eight", duration_s=8.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run, moved = simulate_run(scenario, 0), SE3(np.eye(3), np.array([0.0, 0.4, 0.0]))

    class Contradicting(FollowedPoints):
        def track(self, stamp_ns):
            tracked = super().track(stamp_ns)
            is_wrong = stamp_ns in run.stamps_ns[45:48] and not isinstance(tracked, Rejection)
            return replace(tracked, map_from_camera=moved @ tracked.map_from_camera) if is_wrong else tracked

    estimates = play(Fuser(CONFIG, metric=True), run, followed=Contradicting(scenario, run, 0))
    sigmas = [np.sqrt(np.linalg.eigvalsh(one.covariance[:3, :3])[-1]) for one in estimates[40:52]]
    assert max(sigmas[:5] + sigmas[8:]) < 0.05
    assert all(0.3 < sigma < 0.6 for sigma in sigmas[5:8])
    assert all(one.state is not State.LOCALIZED for one in estimates[45:48])


@pytest.mark.parametrize("expected", [9, 80])
def test_the_doubt_of_odometry_that_points_contradicted_last_grows_as_fast_as_the_error_has(expected):
    """Odometry may follow something that moves, which hides the points from then on, few or many."""
    scenario = replace(EXACT, path="eight", duration_s=8.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run, moved = simulate_run(scenario, 0), SE3(np.eye(3), np.array([0.0, 0.4, 0.0]))

    class Contradicting(FollowedPoints):
        def track(self, stamp_ns):
            tracked, at = super().track(stamp_ns), run.stamps_ns.index(stamp_ns)
            if at == 45:
                return replace(tracked, map_from_camera=moved @ tracked.map_from_camera)
            hidden = Rejection(stamp_ns, Reason.FEW_MATCHES, {"expected": expected, "found": 0})
            return hidden if at > 45 else tracked

    estimates = play(Fuser(CONFIG, metric=True), run, followed=Contradicting(scenario, run, 0))
    sigmas = [np.sqrt(np.linalg.eigvalsh(one.covariance[:3, :3])[-1]) for one in estimates[44:49]]
    assert sigmas[0] < 0.05
    assert sigmas[1:] == pytest.approx([0.4, 0.8, 1.2, 1.6], rel=0.1)


@pytest.mark.parametrize(("expected", "found", "is_doubted"), [(80, 0, True), (80, 12, False), (20, 0, False)])
def test_an_image_that_shows_next_to_no_map_point_contradicts_odometry(expected, found, is_doubted):
    scenario = replace(EXACT, path="eight", duration_s=8.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run = simulate_run(scenario, 0)

    class Hidden(FollowedPoints):
        def track(self, stamp_ns):
            counts = {"expected": expected, "found": found}
            is_hidden = stamp_ns in run.stamps_ns[45:48]
            return Rejection(stamp_ns, Reason.FEW_MATCHES, counts) if is_hidden else super().track(stamp_ns)

    estimates = play(Fuser(CONFIG, metric=True), run, followed=Hidden(scenario, run, 0))
    sigmas = [np.sqrt(np.linalg.eigvalsh(one.covariance[:3, :3])[-1]) for one in estimates[40:52]]
    assert max(sigmas[:5] + sigmas[8:]) < 0.05
    assert bool(min(sigmas[6:8]) > 0.05) is is_doubted


def test_points_that_are_not_found_say_nothing_of_a_pose_that_is_unsure():
    """After a long way by odometry alone they may be beside where they are searched."""
    scenario = replace(EXACT, path="eight", duration_s=30.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run = simulate_run(scenario, 0)
    last_ns, again_ns = run.stamps_ns[50], run.stamps_ns[280]
    run = replace(run, anchors=[(arrival, one) for arrival, one in run.anchors if one.stamp_ns <= last_ns])

    def estimates(expected):
        class Hidden(FollowedPoints):
            def track(self, stamp_ns):
                counts = {"expected": expected if stamp_ns > again_ns else 0, "found": 0}
                return (
                    super().track(stamp_ns) if stamp_ns <= last_ns else Rejection(stamp_ns, Reason.FEW_MATCHES, counts)
                )

        return play(Fuser(CONFIG, metric=True), run, followed=Hidden(scenario, run, 0))

    one, other = estimates(80)[-1], estimates(0)[-1]
    assert other.state is not State.LOCALIZED
    np.testing.assert_array_equal(one.covariance, other.covariance)


def test_a_camera_that_another_one_contradicts_makes_the_pose_as_uncertain_as_any_motion_since_they_agreed():
    scenario = replace(EXACT, path="eight", duration_s=8.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run = simulate_run(scenario, 0)

    class Contradicted(FollowedPoints):
        def track(self, stamp_ns):
            tracked, stamps = super().track(stamp_ns), run.stamps_ns[45:48]
            seconds = (stamp_ns - stamps[0]) / SECOND + 0.4
            return Rejection(stamp_ns, Reason.RIG_MISMATCH, {UNCONFIRMED_S: seconds}) if stamp_ns in stamps else tracked

    estimates = play(Fuser(CONFIG, metric=True), run, followed=Contradicted(scenario, run, 0))
    sigmas = [np.sqrt(np.linalg.eigvalsh(one.covariance[:3, :3])[-1]) for one in estimates[40:52]]
    assert max(sigmas[:5] + sigmas[8:]) < 0.05
    assert sigmas[5:8] == pytest.approx([0.2, 0.25, 0.3], abs=0.03)


def test_cameras_that_contradict_each_other_take_no_doubt_back():
    """Odometry has found itself in the image of another camera, as the map shows, before that contradicts it, too."""
    scenario = replace(EXACT, path="eight", duration_s=8.0, rate_hz=10.0, anchor_period_s=1.0, tracked=True)
    run = simulate_run(scenario, 0)
    turn = SE3(rotation_matrix([0.0, np.radians(89.0), 0.0]), np.zeros(3))

    class Contradicted(FollowedPoints):
        def track(self, stamp_ns):
            tracked, stamps = super().track(stamp_ns), run.stamps_ns[45:49]
            if stamp_ns == stamps[0]:
                return replace(tracked, map_from_camera=tracked.map_from_camera @ turn)
            seconds = (stamp_ns - stamps[0]) / SECOND
            return Rejection(stamp_ns, Reason.RIG_MISMATCH, {UNCONFIRMED_S: seconds}) if stamp_ns in stamps else tracked

    estimates = play(Fuser(CONFIG, metric=True), run, followed=Contradicted(scenario, run, 0))
    sigmas_deg = [np.degrees(np.sqrt(np.linalg.eigvalsh(one.covariance[3:, 3:])[-1])) for one in estimates[44:50]]
    assert max(sigmas_deg[0], sigmas_deg[5]) < 1.0
    assert min(sigmas_deg[1:5]) > 80.0
    assert State.LOCALIZED not in {one.state for one in estimates[45:49]}


def test_lookalike_places_do_not_pull_the_pose_away():
    for seed in range(3):
        run, estimates, _ = fused(replace(QUICK, alias_share=0.15), seed)
        assert position_errors(run, estimates).max() < 0.6


def test_anchor_that_is_faster_than_its_odometry_waits_for_it():
    run = simulate_run(PERFECT, 0)
    fuser = Fuser(CONFIG, metric=True)
    for _, anchor in run.anchors:
        early = [o for o in run.odometry if anchor.stamp_ns - SECOND <= o.stamp_ns < anchor.stamp_ns]
        for odometry in early:
            fuser.add_odometry(odometry)
        assert fuser.add_anchor(anchor) is PENDING
    for odometry in run.odometry:
        if odometry.stamp_ns >= run.anchors[-1][1].stamp_ns:
            fuser.add_odometry(odometry)
    assert fuser.estimate(run.stamps_ns[-1]).state is State.LOCALIZED
    assert fuser.counts == {"ACCEPTED": len(run.anchors)}


def test_anchors_of_frames_before_a_segment_make_its_fix_when_it_begins_with_their_poses():
    run = simulate_run(replace(PERFECT, delay_s=(0.0, 0.0)), 0)
    start = 40
    assert sum(anchor.stamp_ns < run.stamps_ns[start] for _, anchor in run.anchors) >= 3
    earlier = {pose.stamp_ns: pose.odom_from_camera for pose in run.odometry[:start]}
    refused = [Rejection(stamp_ns, Reason.DEGENERATE_MOTION) for stamp_ns in earlier]
    begun = replace(run.odometry[start], earlier=earlier)
    estimates = play(Fuser(CONFIG, metric=True), replace(run, odometry=[*refused, begun, *run.odometry[start + 1 :]]))
    assert {one.reason for one in estimates[:start]} == {Reason.DEGENERATE_MOTION}
    assert estimates[start].state is State.LOCALIZED
    assert position_errors(run, estimates).max() < 1e-9


def test_anchors_of_frames_that_never_get_odometry_are_refused_when_it_goes_on():
    run = simulate_run(replace(PERFECT, delay_s=(0.0, 0.0)), 0)
    missed = {anchor.stamp_ns for _, anchor in run.anchors if run.stamps_ns[30] <= anchor.stamp_ns < run.stamps_ns[60]}
    gone = [Rejection(r.stamp_ns, Reason.BLURRED) if 30 <= i < 60 else r for i, r in enumerate(run.odometry)]
    fuser = Fuser(CONFIG, metric=True)
    play(fuser, replace(run, odometry=gone))
    assert missed
    assert fuser.counts == {"ACCEPTED": len(run.anchors) - len(missed), "NO_TRANSFORM": len(missed)}


@pytest.mark.parametrize("earlier", [{2 * SECOND: SE3(np.full((3, 3), np.nan), np.zeros(3))}, {10**15: SE3.identity()}])
def test_a_segment_that_begins_with_poses_that_cannot_be_is_no_odometry(earlier):
    fuser = Fuser(CONFIG, metric=True)
    fuser.add_odometry(replace(simulate_run(PERFECT, 0).odometry[20], earlier=earlier))
    assert fuser.estimate(simulate_run(PERFECT, 0).stamps_ns[20]).reason is Reason.BAD_MESSAGE


def test_anchors_without_use_are_refused_with_their_reason():
    run, _, fuser = fused(replace(PERFECT, duration_s=30.0), config=replace(CONFIG, history_s=10.0))
    anchor = run.anchors[-1][1]
    assert fuser.add_anchor(replace(anchor, stamp_ns=run.stamps_ns[10])).reason is Reason.STALE
    assert fuser.add_anchor(replace(anchor, covariance=np.full((6, 6), np.nan))).reason is Reason.BAD_MESSAGE
    assert fuser.add_anchor(replace(anchor, covariance=-np.eye(6))).reason is Reason.BAD_MESSAGE
    crooked = SE3(np.eye(3) * 2, np.zeros(3))
    assert fuser.add_anchor(replace(anchor, map_from_camera=crooked)).reason is Reason.BAD_MESSAGE
    late = Fuser(CONFIG, metric=True)
    late.add_odometry(Rejection(run.stamps_ns[0], Reason.FEW_FEATURES))
    late.add_odometry(run.odometry[1])
    assert late.add_anchor(replace(anchor, stamp_ns=run.stamps_ns[0])).reason is Reason.NO_TRANSFORM
    missed = Rejection(run.stamps_ns[-1], Reason.FEW_INLIERS)
    assert fuser.add_anchor(missed) is missed
    assert fuser.counts["BAD_MESSAGE"] == 3
    assert fuser.counts["FEW_INLIERS"] == 1


def test_broken_odometry_pose_is_no_pose():
    run, _, fuser = fused(PERFECT)
    stamp = run.stamps_ns[-1] + SECOND // 10
    fuser.add_odometry(OdometryPose(stamp, SE3(np.eye(3), np.array([np.nan, 0, 0])), 0, 100))
    assert fuser.estimate(stamp).map_from_camera is None
    assert fuser.estimate(stamp).reason is Reason.BAD_MESSAGE


def test_unordered_frames_are_dropped_and_a_reset_starts_again():
    run, _, fuser = fused(PERFECT)
    fuser.add_odometry(run.odometry[-3])
    assert fuser.estimate(run.stamps_ns[-1]).state is State.LOCALIZED
    fuser.reset()
    fuser.add_odometry(run.odometry[0])
    assert fuser.estimate(run.stamps_ns[0]).state is State.INITIALIZING
    again = play(fuser, replace(run, odometry=run.odometry))
    assert again[-1].state is State.LOCALIZED


def test_prediction_is_a_prior_not_an_answer():
    run = simulate_run(PERFECT, 0)
    fuser = Fuser(CONFIG, metric=True)
    prior = SE3(np.eye(3), np.array([1.0, 2.0, 3.0]))
    assert fuser.predict(run.stamps_ns[0]) is None
    fuser.set_initial_pose(run.stamps_ns[0], prior, np.eye(6))
    fuser.add_odometry(run.odometry[0])
    assert fuser.predict(run.stamps_ns[0]) is prior
    assert fuser.estimate(run.stamps_ns[0]).map_from_camera is None
    play(fuser, replace(run, odometry=run.odometry))
    assert fuser.predict(run.stamps_ns[-1]).is_close(run.truth[-1], translation=1e-9, degrees=1e-6)
    assert fuser.predict(run.stamps_ns[-1] + SECOND) is None
    fuser.reset()
    assert fuser.predict(run.stamps_ns[-1]) is None


def test_wrong_start_is_left_when_anchors_agree_on_another_place():
    scenario = replace(PERFECT, duration_s=30.0, delay_s=(0.0, 0.0))
    run = simulate_run(scenario, 0)
    fuser = Fuser(CONFIG, metric=True)
    alias = SE3(rotation_matrix([0, 0, 2.0]), np.array([5.0, 0.0, 0.0]))
    truth = dict(zip(run.stamps_ns, run.truth, strict=True))
    anchors = []
    for index, (arrival, anchor) in enumerate(run.anchors):
        true = truth[anchor.stamp_ns]
        anchors.append((arrival, make_anchor(scenario, anchor.stamp_ns, alias @ true if index < 3 else true)))
    estimates = play(fuser, replace(run, anchors=anchors))
    assert position_errors(run, estimates)[-1] < 1e-6


USUAL = FusionScenario(duration_s=14.0, rate_hz=8.0)


def fused_with_innovations(scenario, seed=0, **changes):
    """Innovations and estimates of a run."""
    run = replace(simulate_run(scenario, seed), **changes)
    fuser, innovations = Fuser(FusionConfig(), metric=True), []
    followed = FollowedPoints(scenario, run, seed) if scenario.tracked else None
    estimates = play(fuser, run, lambda _: innovations.extend(fuser.take_innovations()), followed)
    return innovations, estimates


def test_innovations_are_as_large_as_the_fuser_expects():
    values = [one.squared for seed in range(2) for one in fused_with_innovations(USUAL, seed)[0]]
    assert len(values) > 10
    assert 3.0 < Consistency.of(values).mean < 9.0


def test_every_measurement_after_the_fix_is_reported_once():
    innovations, estimates = fused_with_innovations(replace(USUAL, tracked=True))
    posed = [estimate.stamp_ns for estimate in estimates if estimate.map_from_camera is not None]
    tracked = [one.stamp_ns for one in innovations if one.source == "tracked"]
    assert len(tracked) == len(set(tracked))
    assert set(tracked) <= set(posed)
    assert len(tracked) > 0.7 * len(posed)
    assert {one.source for one in innovations} == {"anchor", "tracked"}


def test_a_refused_anchor_is_reported_as_one():
    run = simulate_run(USUAL, 0)
    arrival, anchor = run.anchors[-3]
    wrong = (arrival, replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera))
    innovations, _ = fused_with_innovations(USUAL, anchors=[*run.anchors[:-3], wrong, *run.anchors[-2:]])
    refused = [one for one in innovations if not one.accepted]
    assert [one.stamp_ns for one in refused] == [anchor.stamp_ns]
    assert refused[0].squared > 100.0
    assert np.linalg.norm(refused[0].error[:3]) > 0.3


def test_innovations_that_are_never_taken_do_not_pile_up():
    run = simulate_run(replace(USUAL, tracked=True), 0)
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run, followed=FollowedPoints(replace(USUAL, tracked=True), run, 0))
    assert len(fuser.take_innovations()) == MAX_INNOVATIONS
    assert fuser.take_innovations() == ()


@pytest.mark.parametrize(("tracked", "usual"), [(True, Support.MAP_TRACKING), (False, Support.ANCHOR)])
def test_poses_state_their_support(tracked, usual):
    estimates = fused_with_innovations(replace(USUAL, tracked=tracked))[1]
    assert all((estimate.support is Support.NONE) == (estimate.map_from_camera is None) for estimate in estimates)
    posed = [estimate.support for estimate in estimates if estimate.map_from_camera is not None]
    assert posed.count(usual) > 0.9 * len(posed)


def test_far_behind_the_last_anchor_odometry_is_alone():
    scenario = replace(USUAL, speed=0.1, duration_s=38.0, gaps=((12.0, 26.0),), position_drift=0.001)
    estimates = fused_with_innovations(scenario)[1]
    assert estimates[-1].support is Support.ODOMETRY
    assert estimates[int(12.0 * scenario.rate_hz)].support is Support.ANCHOR

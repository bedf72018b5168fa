"""Poses from followed map points between anchors: what many of them are worth, and what they must not do."""

from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_replay import FollowedPoints, play, pose_errors
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.fusion.config import FusionConfig, TrackingConfig
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.odometry_model.history import OdometryHistory, RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate
from visloc_ros.fusion.smoothing.tracked_motion_filter import (
    MAX_REFUSED_FRAMES,
    TrackedMotion,
    TrackedMotionFilter,
    TrackedMotionState,
)

SCENARIO = FusionScenario(duration_s=20.0, rate_hz=10.0, tracked=True, delay_s=(1.0, 1.0))
RARE = replace(SCENARIO, anchor_period_s=4.0, anchor_sigma=0.005, anchor_sigma_deg=0.1, tracked_distance=5.0)


class Slipping(FollowedPoints):
    """Followed points that jump aside at one frame, and stay there until the next anchor."""

    def __init__(self, *args, at_s, shift):
        super().__init__(*args)
        self.slipped_ns, self.shift = round(at_s * NANOSECONDS), np.asarray(shift)

    def restart(self, anchor):
        super().restart(anchor)
        if anchor.stamp_ns > self.slipped_ns:
            self.shift = np.zeros(3)

    def track(self, stamp_ns):
        seen = super().track(stamp_ns)
        if isinstance(seen, Rejection) or stamp_ns < self.slipped_ns:
            return seen
        pose = seen.map_from_camera
        return replace(seen, map_from_camera=SE3(pose.rotation, pose.translation + self.shift))


def fused(scenario, seed, followed=None):
    run, fuser = simulate_run(scenario, seed), Fuser(FusionConfig(), metric=True)
    estimates = play(
        fuser, run, followed=followed or (FollowedPoints(scenario, run, seed) if scenario.tracked else None)
    )
    return run, fuser, estimates, np.linalg.norm(pose_errors(run, estimates)[:, :3], axis=1)


def test_followed_points_hold_the_pose_between_rare_anchors():
    """Anchors every four seconds: what odometry drifts in between is gone."""
    with_points = [np.nanmedian(fused(RARE, seed)[3]) for seed in range(2)]
    without = [np.nanmedian(fused(replace(RARE, tracked=False), seed)[3]) for seed in range(2)]
    assert np.mean(with_points) < 0.5 * np.mean(without)
    assert np.mean(with_points) < 0.03


def test_followed_points_teach_the_scale():
    """Along 2 m of followed motion a scale that was 10 % off, and known no better, becomes right."""
    history, tracked_motion, scale = OdometryHistory(10.0, 1.0), TrackedMotionFilter(), 0.5
    samples = [
        history.append(OdometryPose(index * NANOSECONDS // 10, SE3(np.eye(3), np.array([0.2 * index, 0, 0])), 0, 100))
        for index in range(21)
    ]
    covariance = np.diag([0.0] * 6 + [0.1**2])
    guess = StateEstimate(CameraState(SE3.identity(), float(np.log(1.1 * scale))), covariance)
    odometry = OdometryModel(FusionConfig().odometry_noise, rotation_scale_error=0.0)
    for sample in samples[1:]:
        seen = SE3(np.eye(3), scale * sample.odom_from_camera.translation)
        motion = TrackedMotion(sample, seen, np.diag([1e-5] * 3 + [1e-6] * 3))
        assert tracked_motion.add(motion, samples[0], guess, odometry, FusionConfig()).accepted
    found = tracked_motion.propagate(guess, samples[-1], odometry)
    assert found.state.scale == pytest.approx(scale, rel=0.02)
    assert np.sqrt(found.covariance[6, 6]) < 0.03


def test_the_anchors_error_is_not_averaged_away_by_many_tracked_frames():
    """All frames since an anchor share its error: NEES stays what it is, though ten times as many poses come in."""
    values = []
    for seed in range(4):
        run, _, estimates, _ = fused(replace(SCENARIO, anchor_period_s=2.0), seed)
        errors = pose_errors(run, estimates)
        for estimate, error in zip(estimates[::10], errors[::10], strict=True):
            if estimate.covariance is not None:
                values.append(error @ np.linalg.solve(estimate.covariance, error))
    assert 3.0 < np.mean(values) < 11.0


@pytest.mark.parametrize("shift", [[0.3, 0.0, 0.0], [0.0, 0.0, -1.0]])
def test_points_that_slip_do_not_pull_the_pose(shift):
    scenario = replace(RARE, anchor_period_s=3.0)
    run = simulate_run(scenario, 3)
    _, _, _, honest = fused(scenario, 3)
    slipping = Slipping(scenario, run, 3, at_s=15.0, shift=shift)
    _, fuser, _, errors = fused(scenario, 3, slipping)
    assert np.nanmax(errors) < np.nanmax(honest) + 0.1
    assert fuser.tracked_counts["ODOMETRY_DISAGREES"] > MAX_REFUSED_FRAMES


def test_tracked_poses_without_use_are_refused_with_their_reason():
    run, fuser, _, _ = fused(SCENARIO, 0)
    followed = FollowedPoints(SCENARIO, run, 0)
    newest = run.anchors[-2][1]
    fuser.add_anchor(newest)
    followed.restart(newest)
    tracked, after_ns = followed.track(run.stamps_ns[-1]), run.stamps_ns[-1] + NANOSECONDS
    assert fuser.add_tracked(replace(tracked, anchor_stamp_ns=5)).reason is Reason.STALE
    assert fuser.add_tracked(replace(tracked, stamp_ns=newest.stamp_ns)).reason is Reason.STALE
    assert fuser.add_tracked(replace(tracked, stamp_ns=after_ns)).reason is Reason.NO_TRANSFORM
    assert fuser.add_tracked(replace(tracked, covariance_since_anchor=-np.eye(6))).reason is Reason.BAD_MESSAGE
    crooked = SE3(2.0 * np.eye(3), np.zeros(3))
    assert fuser.add_tracked(replace(tracked, map_from_camera=crooked)).reason is Reason.BAD_MESSAGE
    lost = Rejection(run.stamps_ns[-1], Reason.FEW_INLIERS)
    assert fuser.add_tracked(lost) is lost
    early = Fuser(FusionConfig(), metric=True)
    early.add_odometry(run.odometry[-1])
    assert early.add_tracked(tracked).reason is Reason.STALE


def test_a_turned_anchor_turns_the_motion_that_follows_it():
    """The tracked pose is taken relative to its anchor: a rigid motion of both gives the same tracked_motion."""
    run = simulate_run(SCENARIO, 1)
    followed = FollowedPoints(SCENARIO, run, 1)
    anchor = run.anchors[-1][1]
    moved = SE3(rotation_matrix([0.0, 0.0, 2.0]), np.array([5.0, 1.0, 0.0]))
    followed.restart(anchor)
    seen = followed.track(run.stamps_ns[-1])
    sample = OdometryHistory(1.0, 1.0).append(run.odometry[-1])
    straight = TrackedMotion.of(seen, anchor, sample)
    turned_anchor = replace(anchor, map_from_camera=moved @ anchor.map_from_camera)
    turned = TrackedMotion.of(replace(seen, map_from_camera=moved @ seen.map_from_camera), turned_anchor, sample)
    assert turned.anchor_from_camera.is_close(straight.anchor_from_camera)


CONFIG, RATE_HZ, FRAMES = TrackingConfig(), 10, 200
ODOMETRY = OdometryModel(FusionConfig().odometry_noise, rotation_scale_error=0.0)
SIGMAS = np.repeat([0.01, 0.004], 3)


def begin() -> TrackedMotionState:
    return TrackedMotionState.begin(StateEstimate(CameraState(SE3.identity(), 0.0), np.diag([1e-12] * 6 + [0.01**2])))


def forward(metres: float = 0.0) -> RelativeMotion:
    """Odometry of one frame, of a camera that moves along x."""
    history = OdometryHistory(10.0, 1.0)
    poses = [SE3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, metres)]
    start, end = (
        history.append(OdometryPose(i * NANOSECONDS // RATE_HZ, pose, 0, 100)) for i, pose in enumerate(poses)
    )
    return start.motion_to(end)


def stand(seed: int, config: TrackingConfig) -> float:
    """NEES after 20 seconds; odometry stands still and the camera drifts from it, points err as ``CONFIG`` says."""
    rng, standing, motion = np.random.default_rng(seed), forward(), begin()
    odometry_noise = ODOMETRY.noise
    distance = odometry_noise.distance_per_second / RATE_HZ
    steps = np.repeat([odometry_noise.position, np.deg2rad(odometry_noise.rotation_deg)], 3) * np.sqrt(distance)
    kept, correlated, truth = np.exp(-1.0 / RATE_HZ / CONFIG.correlation_s), rng.normal(size=6), np.zeros(6)
    for _ in range(FRAMES):
        truth += steps * rng.normal(size=6)
        correlated = kept * correlated + np.sqrt(1.0 - kept**2) * rng.normal(size=6)
        noise = np.sqrt(CONFIG.correlated_share) * correlated + np.sqrt(1.0 - CONFIG.correlated_share) * rng.normal(
            size=6
        )
        seen = truth + SIGMAS * noise
        predicted = motion.predicted(standing, ODOMETRY, config)
        innovation = predicted.innovation_of(SE3(rotation_matrix(seen[3:]), seen[:3]), np.diag(SIGMAS**2), config)
        motion = innovation.updated(odometry_noise_factor=1.0)
    error = pose_difference(motion.state.map_from_camera, SE3(rotation_matrix(truth[3:]), truth[:3]))
    return float(error @ np.linalg.solve(motion.estimate.covariance[:6, :6], error))


def test_many_frames_are_no_surer_than_what_their_errors_have_in_common():
    forgetful = replace(CONFIG, correlated_share=0.0)
    assert 5.0 < np.mean([stand(seed, CONFIG) for seed in range(40)]) < 7.2
    assert np.mean([stand(seed, forgetful) for seed in range(10)]) > 30.0


def test_without_a_correlated_error_it_is_a_filter_of_independent_frames():
    """Two looks of one spot, odometry certain: half the variance is left."""
    config = replace(CONFIG, correlation_s=0.0, correlated_share=0.0)
    vague = np.diag([1.0] * 6 + [0.01**2])
    motion = TrackedMotionState.begin(StateEstimate(CameraState(SE3.identity(), 0.0), vague))
    for _ in range(2):
        motion = motion.innovation_of(SE3.identity(), np.diag(SIGMAS**2), config).updated(odometry_noise_factor=1.0)
    np.testing.assert_allclose(np.sqrt(2.0 * np.diag(motion.estimate.covariance)[:6]), SIGMAS, rtol=1e-3)


def test_points_without_any_error_are_believed():
    """A covariance may be of less than full rank: the directions it leaves out are known exactly."""
    flat = np.diag(SIGMAS**2 * [1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    seen = SE3(np.eye(3), np.array([0.0, 0.0, 0.003]))
    motion = (
        begin()
        .predicted(forward(0.1), ODOMETRY, CONFIG)
        .innovation_of(seen, flat, CONFIG)
        .updated(odometry_noise_factor=1.0)
    )
    assert motion.state.map_from_camera.translation[2] == pytest.approx(0.003)
    assert np.isfinite(motion.covariance).all()


def test_an_error_that_odometry_cannot_explain_makes_the_pose_less_certain():
    """A slip of 3 cm in a step of 10 cm: with slack the points are followed farther, and less is promised."""
    seen, covariance = SE3(np.eye(3), np.array([0.1, 0.03, 0.0])), np.diag((0.3 * SIGMAS) ** 2)
    innovation = begin().predicted(forward(0.1), ODOMETRY, CONFIG).innovation_of(seen, covariance, CONFIG)
    strict, lenient = innovation.updated(odometry_noise_factor=1.0), innovation.updated(odometry_noise_factor=3.0)
    sides = [motion.state.map_from_camera.translation[1] for motion in (strict, lenient)]
    assert sides[0] < sides[1] < 0.03
    assert np.trace(lenient.covariance[:3, :3]) > np.trace(strict.covariance[:3, :3])


def test_an_expected_error_is_no_slip():
    innovation = (
        begin()
        .predicted(forward(0.1), ODOMETRY, CONFIG)
        .innovation_of(SE3(np.eye(3), np.array([0.1, 0, 0])), np.diag(SIGMAS**2), CONFIG)
    )
    np.testing.assert_allclose(innovation.updated(3.0).covariance, innovation.updated(1.0).covariance)

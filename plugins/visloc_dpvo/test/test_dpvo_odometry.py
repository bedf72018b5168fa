from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest
import torch
from dpvo_matching_network import MatchingNetwork

from visloc_dpvo import DpvoConfig
from visloc_dpvo.bundle import BundleFailure, BundleReport
from visloc_dpvo.network import PatchNetwork
from visloc_dpvo.odometry import DpvoOdometry
from visloc_ros.core.camera import rescale
from visloc_ros.core.geometry import SE3, rotation_matrix, umeyama
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection

STEP_NS = 33_000_000
FRAMES = 30


class TexturedBox:
    """Two textured walls that meet before the camera, filmed by a pinhole camera."""

    def __init__(self, camera):
        self.camera = camera
        self._walls = [texture(600, 800, seed) for seed in (0, 1)]

    def frame(self, stamp_ns, world_from_camera):
        size = (self.camera.width, self.camera.height)
        pictures = [self._picture(side, world_from_camera.inverse, size) for side in (0, 1)]
        return Frame(stamp_ns, np.maximum(*pictures), self.camera)

    def _picture(self, side, camera_from_world, size):
        """One wall, from the corner at x = 0, z = 3 to the left or to the right and nearer by half of it."""
        along = np.array([-1.0 if side == 0 else 1.0, 0.0, -0.5])
        plane = np.column_stack((along / 150, [0, 1 / 150, 0], [0.0, -2.0, 3.0]))
        moved = camera_from_world.rotation @ plane + np.outer(camera_from_world.translation, [0, 0, 1])
        k = self.camera.calibration_matrix()
        k[:2, 2] -= 0.5  # OpenCV's pixel centres
        return cv2.warpPerspective(self._walls[side], k @ moved, size)


def texture(height, width, seed):
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigma) for sigma in (3.0, 6.0, 14.0)]
    image = sum(layer / layer.std() for layer in layers)
    return np.clip(128.0 + 35.0 * image, 1, 255).astype(np.uint8)


def make_camera(width=320, height=240):
    focal = 0.8 * width
    return pycolmap.Camera(model="PINHOLE", width=width, height=height, params=[focal, focal, width / 2, height / 2])


def pose_at(index):
    t = 0.12 * index
    return SE3(rotation_matrix([0.02 * t, -0.05 * t, 0.0]), np.array([np.sin(1.3 * t), 0.15 * t, 0.1 * t]))


@pytest.fixture(scope="module")
def frames():
    scene = TexturedBox(make_camera())
    return [scene.frame(index * STEP_NS, pose_at(index)) for index in range(FRAMES)]


@pytest.fixture(scope="module")
def tracked(frames):
    """A run over all frames; the odometry is left as it then is."""
    odometry = dpvo(patches_per_frame=32)
    return odometry, [odometry.track(frame) for frame in frames]


def dpvo(network=None, **options):
    usual = {"preset": "cpu", "patches_per_frame": 12, "device": "cpu", "mixed_precision": False}
    config = DpvoConfig(**usual | options)
    return DpvoOdometry(config, network or MatchingNetwork())


def started(frames, **options):
    """An odometry that has just given its first pose, and the frames that are left."""
    odometry = dpvo(**options)
    for index, frame in enumerate(frames):
        if isinstance(odometry.track(frame), OdometryPose):
            return odometry, frames[index + 1 :]
    raise AssertionError("never started")


def error_and_length(truth, poses):
    target = np.array([pose.translation for pose in truth])
    source = np.array([pose.translation for pose in poses])
    error = np.sqrt(np.mean(np.square(umeyama(target, source) @ source - target).sum(axis=1)))
    return float(error), float(np.linalg.norm(np.diff(target, axis=0), axis=1).sum())


def test_images_are_tracked_from_end_to_end(tracked):
    """Hand-made features in place of the published network: the rest is what is used with it."""
    _, results = tracked
    found = [index for index, result in enumerate(results) if isinstance(result, OdometryPose)]
    assert found == list(range(found[0], FRAMES))
    assert found[0] <= 12
    poses = [results[index].odom_from_camera for index in found]
    error, length = error_and_length([pose_at(index) for index in found], poses)
    assert error < 0.06 * length
    assert {results[index].segment for index in found} == {0}


def test_poses_say_what_they_rest_on_and_what_took_the_time(tracked):
    last = tracked[1][-1]
    assert last.stamp_ns == (FRAMES - 1) * STEP_NS
    assert 20 < last.num_tracked <= 6 * 32
    assert {"prepare", "encode", "correlate", "update", "adjust"} <= set(last.stage_ms)


def test_frames_before_the_start_are_flagged(frames):
    """Before the warm-up there are no poses."""
    odometry = dpvo()
    first, still = (odometry.track(replace(frames[0], stamp_ns=stamp_ns)) for stamp_ns in (0, STEP_NS))
    assert (first.reason, first.counts) == (Reason.DEGENERATE_MOTION, {"frames": 1, "frames_needed": 8})
    assert (still.reason, still.counts["frames"]) == (Reason.DEGENERATE_MOTION, 1)
    assert 0 <= still.counts["motion_px"] < 8


def segments_of(results):
    """Segments of the poses after a new start."""
    assert results[0].reason is Reason.DEGENERATE_MOTION
    return {result.segment for result in results if isinstance(result, OdometryPose)}


def test_the_end_gives_every_frame_and_another_segment_follows_as_after_a_reset(frames):
    odometry, left = started(frames)
    before = FRAMES - len(left)
    trajectory = odometry.finish()
    assert trajectory.stamps_ns.tolist() == [index * STEP_NS for index in range(before)]
    assert segments_of([odometry.track(frame) for frame in left]) == {1}
    odometry.reset()
    assert segments_of([odometry.track(frame) for frame in frames[: before + 1]]) == {2}, "stamps may start again"


def test_an_end_without_a_start_gives_no_pose(frames):
    odometry = dpvo()
    assert odometry.finish() is None
    odometry.track(frames[0])
    assert odometry.finish() is None


def test_old_stamps_are_refused(frames):
    odometry = dpvo()
    odometry.track(frames[1])
    assert [odometry.track(frames[index]).reason for index in (1, 0)] == [Reason.STALE] * 2


def test_a_calibration_of_another_size_is_refused(frames):
    frame = replace(frames[0], camera=rescale(frames[0].camera, 160, 120))
    assert dpvo().track(frame).reason is Reason.INTRINSICS_MISMATCH


@pytest.mark.parametrize("size", [(160, 120), (320, 240)])
def test_another_camera_is_reported_as_new(frames, size):
    odometry, left = started(frames)
    camera = rescale(left[0].camera, *size)
    camera.focal_length_x *= 1.01
    result = odometry.track(replace(left[0], image=cv2.resize(left[0].image, size), camera=camera))
    assert (result.reason, result.counts["frames"]) == (Reason.DEGENERATE_MOTION, 1)


def test_images_too_small_for_patches_are_flagged():
    camera = make_camera(60, 40)
    result = dpvo().track(Frame(0, texture(40, 60, 0), camera))
    assert result.reason is Reason.FEW_FEATURES
    assert (result.counts["width"], result.counts["height"]) == (48, 32)


def test_black_images_are_flagged_and_not_taken_in_and_after_a_second_of_them_a_new_segment_starts(frames):
    odometry, left = started(frames)
    black = np.zeros_like(left[0].image)
    count = odometry._session.front_end.state.num_frames
    result = odometry.track(replace(left[0], image=black))
    assert result.reason is Reason.FEW_FEATURES
    assert result.counts["contrast"] < 1
    assert odometry._session.front_end.state.num_frames == count
    assert isinstance(odometry.track(left.pop(1)), OdometryPose)
    for index in range(2, 33):
        odometry.track(replace(left[0], stamp_ns=left[0].stamp_ns + index * STEP_NS, image=black))
    late, again = left[0].stamp_ns + 33 * STEP_NS, frames[: FRAMES - len(left)]
    results = [odometry.track(replace(frame, stamp_ns=late + index * STEP_NS)) for index, frame in enumerate(again)]
    assert segments_of(results) == {1}


class Blind(MatchingNetwork):
    """Matches until it is set to see nothing."""

    blind = False

    def update(self, *inputs):
        net, delta, weight = super().update(*inputs)
        return (net, delta, weight * 0.01) if self.blind else (net, delta, weight)


def test_measurements_that_are_not_sure_are_no_pose(frames):
    network = Blind()
    odometry, left = started(frames, network=network)
    network.blind = True
    result = odometry.track(left[0])
    assert (result.reason, result.counts["fitting"]) == (Reason.FEW_INLIERS, 0)
    assert result.counts["mean_weight"] < 0.1


class Confused(MatchingNetwork):
    """Sure of flows that no motion explains, once it is set to be."""

    confused = False

    def update(self, *inputs):
        net, delta, weight = super().update(*inputs)
        if not self.confused:
            return net, delta, weight
        noise = torch.randn(delta.shape, generator=torch.Generator().manual_seed(len(delta)))
        return net, 40.0 * noise, torch.ones_like(weight)


def test_measurements_that_contradict_each_other_are_no_pose(frames):
    network = Confused()
    odometry, left = started(frames, network=network, min_support=0.3)
    network.confused = True
    results = [odometry.track(frame) for frame in left[:3]]
    assert {result.reason for result in results} == {Reason.FEW_INLIERS}


def test_an_adjustment_that_failed_is_no_pose(frames, monkeypatch):
    odometry, left = started(frames)
    failed = BundleReport(0, 100, 100, BundleFailure.NOT_FINITE)
    monkeypatch.setattr("visloc_dpvo.loops.adjust", lambda *_: failed)
    result = odometry.track(left[0])
    assert (result.reason, result.counts["adjustment_failed"]) == (Reason.FEW_INLIERS, 1.0)


def test_a_network_that_has_learnt_nothing_gives_finite_poses_or_says_why_not(frames):
    torch.manual_seed(3)
    network = PatchNetwork().eval().requires_grad_(False)
    network.update.d[1].weight.mul_(30.0)  # else it never sees enough motion to start
    odometry = dpvo(network, patches_per_frame=8, max_width=128, mixed_precision=True)
    results = [odometry.track(frame) for frame in frames[:12]]
    for result in results:
        assert isinstance(result, Rejection) or np.all(np.isfinite(result.odom_from_camera.matrix))
    assert odometry._session is None or odometry._session.front_end.started

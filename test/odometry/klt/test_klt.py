import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from odometry_scenes import TwoPlanes, make_camera

from visloc_ros.core.camera import camera_from_calibration, rescale
from visloc_ros.core.geometry import SE3, rotation_matrix, umeyama
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.odometry.klt import KltConfig, KltOdometry

STEP_NS = 33_000_000


def klt(**options):
    return KltOdometry(KltConfig(**options))


@pytest.fixture(scope="module")
def scene():
    return TwoPlanes(make_camera())


@pytest.fixture(scope="module")
def sweep(scene):
    """A camera that moves sideways on a slight curve: true poses and frames."""
    times = np.arange(30) * 0.05
    poses = [SE3(rotation_matrix([0, -0.05 * t, 0]), np.array([0.6 * t, 0.1 * np.sin(3 * t), 0.2 * t])) for t in times]
    return poses, [scene.frame(index * STEP_NS, pose) for index, pose in enumerate(poses)]


def track_all(odometry, frames):
    results = [odometry.track(frame) for frame in frames]
    odometry.close()
    return results


def poses_of(results):
    return [result for result in results if isinstance(result, OdometryPose)]


@pytest.fixture(scope="module")
def usual(sweep):
    """Results for the frames of the sweep with default options."""
    return track_all(klt(), sweep[1])


def assert_same_poses(found, expected):
    for pose, other in zip(poses_of(found), poses_of(expected), strict=True):
        np.testing.assert_array_equal(pose.odom_from_camera.matrix, other.odom_from_camera.matrix)
        assert (pose.num_tracked, pose.is_keyframe) == (other.num_tracked, other.is_keyframe)


def sim3_error(truth, estimated):
    """Root mean square distance after a similarity, in the truth's unit."""
    target = np.array([pose.translation for pose in truth])
    source = np.array([result.odom_from_camera.translation for result in estimated])
    return float(np.sqrt(np.mean(np.square(umeyama(target, source) @ source - target).sum(axis=1))))


def test_every_frame_after_the_start_has_its_true_pose(sweep, usual):
    truth, found = sweep[0], poses_of(usual)
    assert len(found) >= 22
    assert all(isinstance(result, OdometryPose) for result in usual[-len(found) :])
    assert sim3_error(truth[-len(found) :], found) < 0.003
    turn = truth[-len(found)].rotation.T @ truth[-1].rotation
    seen = found[0].odom_from_camera.rotation.T @ found[-1].odom_from_camera.rotation
    np.testing.assert_allclose(seen, turn, atol=2e-3)


def test_frames_before_the_start_say_what_is_missing(sweep):
    first = klt().track(sweep[1][0])
    second = klt().track(sweep[1][0])
    assert isinstance(first, Rejection)
    assert first.reason is Reason.DEGENERATE_MOTION
    assert first.counts == second.counts


def test_the_same_frames_give_the_same_result_also_where_it_settles_between_them(sweep, usual):
    settled, results = klt(), []
    for frame in sweep[1]:
        results.append(settled.track(frame))
        settled.settle()
        assert settled.settle() == {}
    assert any(pose.is_keyframe for pose in poses_of(usual)[1:])
    assert_same_poses(results, usual)


def test_adjustment_in_the_background_is_as_good(sweep):
    found = poses_of(track_all(make_odometry(OdometryConfig(), live=True), sweep[1]))
    assert sim3_error(sweep[0][-len(found) :], found) < 0.01


def test_odometry_goes_on_when_the_process_of_its_adjustment_is_killed(sweep):
    odometry = make_odometry(OdometryConfig(), live=True)
    truth, frames = sweep
    before = [odometry.track(frame) for frame in frames[:15]]
    for child in multiprocessing.active_children():
        child.kill()
    found = poses_of(before + [odometry.track(frame) for frame in frames[15:]])
    wait_until_restarted(odometry, frames[-1])
    odometry.close()
    assert len(found) >= 22
    assert sim3_error(truth[-len(found) :], found) < 0.02


def wait_until_restarted(odometry, frame):
    deadline = time.monotonic() + 60.0
    while odometry.counts.get("bundle adjustment started again", 0) == 0:
        assert time.monotonic() < deadline
        frame = replace(frame, stamp_ns=frame.stamp_ns + STEP_NS)
        assert isinstance(odometry.track(frame), OdometryPose)


class ForgetfulAdjuster:
    """An adjuster that takes everything and gives nothing back."""

    restarts = 0

    def __init__(self, busy=False):
        self.busy, self.submitted = busy, []

    def submit(self, snapshot):
        self.submitted.append(snapshot)

    def finished(self):
        return None

    def close(self):
        pass


def adjusted_by(adjuster, frames):
    odometry = klt()
    odometry._adjuster = adjuster
    return track_all(odometry, frames)


def test_the_first_keyframes_are_adjusted_at_once_wherever_later_ones_are(sweep, usual, monkeypatch):
    elsewhere = ForgetfulAdjuster()
    assert_same_poses(adjusted_by(elsewhere, sweep[1]), usual)
    assert elsewhere.submitted == []
    monkeypatch.setattr("visloc_ros.odometry.klt.segment._YOUNG", 2)
    adjusted_by(elsewhere, sweep[1])
    assert len(elsewhere.submitted) > 0


def test_keyframes_are_put_off_while_the_map_is_being_adjusted(sweep, usual):
    hurried, expected = poses_of(adjusted_by(ForgetfulAdjuster(busy=True), sweep[1])), poses_of(usual)
    assert len(hurried) == len(expected)
    assert sum(pose.is_keyframe for pose in hurried) < sum(pose.is_keyframe for pose in expected)


def test_a_turning_camera_waits(scene):
    poses = [SE3(rotation_matrix([0, 0.02 * index, 0]), np.zeros(3)) for index in range(12)]
    results = track_all(klt(), [scene.frame(index * STEP_NS, pose) for index, pose in enumerate(poses)])
    assert {result.reason for result in results} == {Reason.DEGENERATE_MOTION}


def test_a_single_wall_waits(scene):
    wall = TwoPlanes(scene.camera)
    wall._board = np.zeros((2, 2), np.uint8)
    poses = [SE3(np.eye(3), np.array([0.05 * index, 0, 0])) for index in range(12)]
    results = track_all(klt(), [wall.frame(index * STEP_NS, pose) for index, pose in enumerate(poses)])
    assert {result.reason for result in results} == {Reason.DEGENERATE_MOTION}


def test_a_camera_that_stops_keeps_exactly_its_pose(sweep):
    rng = np.random.default_rng(0)
    stop = sweep[1][-1]
    noisy = [
        replace(stop, stamp_ns=stop.stamp_ns + index * STEP_NS, image=noise(stop.image, rng)) for index in range(1, 21)
    ]
    results = track_all(klt(), [*sweep[1], *noisy])
    held = [result.odom_from_camera for result in results[-18:]]
    assert all(pose.is_close(held[0]) for pose in held)


def noise(image, rng):
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def test_black_frames_are_refused_and_the_segment_goes_on(sweep):
    truth, frames = sweep
    dark = [replace(frame, image=np.zeros_like(frame.image)) for frame in frames[18:23]]
    results = track_all(klt(), [*frames[:18], *dark, *frames[23:]])
    assert {(result.reason, result.counts["contrast"]) for result in results[18:23]} == {(Reason.FEW_FEATURES, 0.0)}
    after = poses_of(results[23:])
    assert len(after) == len(frames) - 23
    assert {pose.segment for pose in poses_of(results)} == {0}
    assert [index for index, pose in enumerate(after) if pose.is_recovered] == [0]
    assert not any(pose.is_recovered for pose in poses_of(results[:18]))
    assert sim3_error(truth[-7:], after) < 0.01


def test_a_view_found_by_keyframes_alone_is_marked_as_recovered_without_a_miss(scene, sweep):
    """As after a gap between images: fusion then waits for what the map points say of it."""
    truth, frames = sweep
    rolled = truth[18] @ SE3(rotation_matrix([0, 0, 1.0]), np.zeros(3))
    results = poses_of(track_all(klt(), [*frames[:18], scene.frame(18 * STEP_NS, rolled)]))
    assert [pose.is_recovered for pose in results] == [False] * (len(results) - 1) + [True]
    assert {pose.segment for pose in results} == {0}


def test_blurred_frames_say_so(sweep):
    frames = sweep[1]
    smeared = replace(frames[20], image=cv2.blur(frames[28].image, (151, 15)))
    results = track_all(klt(), [*frames[:20], smeared])
    assert isinstance(results[-1], Rejection)
    assert results[-1].reason is Reason.BLURRED


def test_a_cut_to_another_place_starts_a_new_segment(sweep):
    other = TwoPlanes(make_camera(), seed=77)
    offset = len(sweep[1])
    elsewhere = [other.frame((offset + i) * STEP_NS, sweep[0][i % offset]) for i in range(offset)]
    results = track_all(klt(recovery_s=0.2), [*sweep[1], *elsewhere])
    assert isinstance(results[offset], Rejection)
    last = results[-1]
    assert isinstance(last, OdometryPose)
    assert last.segment == 1
    second = [pose for pose in poses_of(results) if pose.segment == 1]
    assert sim3_error(sweep[0][-len(second) :], second) < 0.005


def test_an_exposure_step_is_survived(sweep):
    frames = [replace(frame, image=frame.image // 3) if index >= 18 else frame for index, frame in enumerate(sweep[1])]
    results = track_all(klt(), frames)
    assert len(poses_of(results[18:])) == 12
    assert sim3_error(sweep[0][18:], poses_of(results[18:])) < 0.01


def test_reset_allows_older_stamps_and_counts_a_new_segment(sweep):
    odometry, frames = klt(), sweep[1][:20]
    first = [odometry.track(frame) for frame in frames]
    assert odometry.track(frames[3]).reason is Reason.STALE
    odometry.reset()
    second = track_all(odometry, frames)
    assert {pose.segment for pose in poses_of(first)} == {0}
    assert {pose.segment for pose in poses_of(second)} == {1}


def test_an_image_of_another_size_is_refused(sweep):
    frame, odometry = sweep[1][0], klt()
    result = odometry.track(replace(frame, image=frame.image[:240, :320]))
    assert odometry.settle() == {}
    assert isinstance(result, Rejection)
    assert result.reason is Reason.INTRINSICS_MISMATCH


def smaller(frame):
    camera = rescale(frame.camera, frame.camera.width // 2, frame.camera.height // 2)
    return replace(frame, image=frame.image[::2, ::2].copy(), camera=camera)


def recalibrated(frame):
    camera = rescale(frame.camera, frame.camera.width, frame.camera.height)
    camera.focal_length_x *= 1.01
    return replace(frame, camera=camera)


@pytest.mark.parametrize("changed", [smaller, recalibrated])
def test_frames_of_another_camera_begin_a_segment_of_their_own(sweep, changed):
    odometry = klt()
    frames = sweep[1]
    half = len(frames) // 2
    before = poses_of([odometry.track(frame) for frame in frames[:half]])
    after = poses_of([odometry.track(changed(frame)) for frame in frames[half:]])
    odometry.close()
    assert {pose.segment for pose in before} == {0}
    assert {pose.segment for pose in after} == {1}


@pytest.mark.parametrize("size", [(320, 240), (1280, 800)])
def test_other_image_sizes_work(size):
    scene = TwoPlanes(make_camera(*size))
    poses = [SE3(np.eye(3), np.array([0.04 * index, 0.01 * index, 0])) for index in range(16)]
    found = poses_of(track_all(klt(), [scene.frame(i * STEP_NS, pose) for i, pose in enumerate(poses)]))
    assert len(found) >= 5
    assert sim3_error(poses[-len(found) :], found) < 0.005


def euroc_frames(folder: Path, count: int):
    matrix = [458.654, 0, 367.215, 0, 457.296, 248.375, 0, 0, 1]
    distortion = [-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05]
    camera = camera_from_calibration(752, 480, matrix, "radtan", distortion)
    for path in sorted((folder / "cam0").glob("*.jpg"))[:count]:
        yield Frame(int(path.stem), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), camera, path.name)


def test_a_flying_camera_is_tracked_from_take_off(shared_data):
    folder = shared_data / "euroc_mh05"
    results = track_all(klt(), euroc_frames(folder, 120))
    found = poses_of(results)
    assert len(found) >= 110
    assert {pose.segment for pose in found} == {0}
    truth = read_tum(folder / "groundtruth_cam0_tum.txt")
    expected = [truth.nearest(pose.stamp_ns, 5_000_000) for pose in found]
    assert sim3_error(expected, found) < 0.04


def test_a_hand_held_camera_starts_within_a_second(shared_data):
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525, 525, 320, 240])
    paths = sorted((shared_data / "7scenes_redkitchen" / "rgb").glob("*.jpg"))[:36]
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    results = track_all(klt(), [Frame(index * STEP_NS, image, camera) for index, image in enumerate(images)])
    assert len(poses_of(results)) >= 4
    assert isinstance(results[-1], OdometryPose)


def test_a_real_camera_standing_still_invents_no_motion(shared_data):
    results = track_all(klt(), euroc_frames(shared_data / "euroc_v101_still", 40))
    assert {result.reason for result in results} == {Reason.DEGENERATE_MOTION}


def kitchen_frames(folder: Path, count: int):
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525.0, 525.0, 320.0, 240.0])
    for index, path in enumerate(sorted((folder / "rgb").glob("*.jpg"))[:count]):
        yield Frame(round(index * 1e9 / 30), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), camera, path.name)


def test_a_lens_of_a_nominal_calibration_is_learnt_on_the_way(shared_data, caplog):
    folder = shared_data / "7scenes_redkitchen"
    caplog.set_level("INFO", logger="visloc_ros.odometry")
    found = poses_of(track_all(klt(), kitchen_frames(folder, 250)))
    assert "calibrate the camera" in caplog.text
    assert len(found) >= 200
    truth = read_tum(folder / "groundtruth_tum.txt")
    assert sim3_error([truth.nearest(pose.stamp_ns, 5_000_000) for pose in found], found) < 0.055

import numpy as np
import pytest
from odometry_scenes import TwoPlanes, make_camera, texture

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import ImagePreparation
from visloc_ros.odometry.klt.initialization import Initialization, Initializer, locate_followed
from visloc_ros.odometry.klt.odometry import KltOdometry

STEP_NS = 33_000_000
CAMERA = make_camera(320, 240)
CONFIG = KltConfig().fitted_to(320, 240)


@pytest.fixture(scope="module")
def scene():
    return TwoPlanes(CAMERA)


def follow(frames):
    """What the starter says to each frame, until it starts."""
    initializer, prepare = Initializer(CONFIG), ImagePreparation(CONFIG)
    results = []
    for frame in frames:
        results.append(initializer.follow(prepare.prepare(frame)))
        if isinstance(results[-1], Initialization):
            break
    return results


def film(scene, poses):
    return [scene.frame(index * STEP_NS, pose) for index, pose in enumerate(poses)]


def test_a_start_is_true_to_the_motion(scene):
    poses = [SE3(rotation_matrix([0, 0.01 * i, 0]), np.array([0.03 * i, 0.01 * i, 0.0])) for i in range(20)]
    results = follow(film(scene, poses))
    initialization = results[-1]
    assert isinstance(initialization, Initialization)
    first = round(initialization.reference.stamp_ns / STEP_NS)
    truth = poses[len(results) - 1].inverse @ poses[first]
    found = initialization.geometry.second_from_first
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=4e-3)
    direction = truth.translation / np.linalg.norm(truth.translation)
    assert found.translation @ direction / np.linalg.norm(found.translation) > 0.99
    np.testing.assert_array_equal(initialization.first.ids, initialization.second.ids)


def test_a_camera_that_turned_away_from_its_first_view_starts_from_a_later_one(scene):
    turning = [SE3(rotation_matrix([0, 0.06 * i, 0]), np.zeros(3)) for i in range(12)]
    walking = [SE3(turning[-1].rotation, np.array([0.04 * i, 0.0, 0.0])) for i in range(1, 12)]
    results = follow(film(scene, turning + walking))
    assert len(results) > len(turning)
    assert isinstance(results[-1], Initialization)
    assert results[-1].reference.stamp_ns > 0


def test_turns_of_ten_degrees_a_frame_are_followed(scene):
    poses = [SE3(rotation_matrix([0, 0.18 * (i % 2), 0]), np.array([0.04 * i, 0.0, 0.0])) for i in range(12)]
    results = follow(film(scene, poses))
    assert isinstance(results[-1], Initialization)
    assert results[-1].reference.stamp_ns == 0


def test_an_image_with_too_few_corners_says_so():
    image = np.full((240, 320), 90, np.uint8)
    image[100:130, 100:130] = 200
    results = follow([Frame(index, image, CAMERA) for index in range(3)])
    assert {result.reason for result in results} == {Reason.FEW_FEATURES}
    assert 0 < results[-1].counts["features"] < CONFIG.start_min_points


def test_a_camera_without_motion_waits_for_motion(scene):
    results = follow(film(scene, [SE3.identity()] * 5))
    assert {result.reason for result in results} == {Reason.DEGENERATE_MOTION}


def passing_by(still, share, step_px=4):
    """A film of a still image that something passes, a share of it wide, with the noise of a camera."""
    rng, width = np.random.default_rng(0), still.shape[1]
    passing = texture(still.shape[0], round(share * width), seed=7)
    for left in range(-passing.shape[1], width, step_px):
        image = still.astype(float)
        image[:, max(left, 0) : left + passing.shape[1]] = passing[:, max(-left, 0) : width - left]
        yield np.clip(image + rng.normal(0.0, 2.0, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("share", [0.18, 0.3, 0.5, 0.7])
def test_a_camera_that_stands_does_not_follow_what_passes(scene, share):
    still = scene.frame(0, SE3.identity()).image
    odometry = KltOdometry(KltConfig())
    images = [*passing_by(still, share), *passing_by(still, share)]
    results = [odometry.track(Frame(index * STEP_NS, image, CAMERA)) for index, image in enumerate(images)]
    assert not any(isinstance(result, OdometryPose) for result in results)
    waits = results[len(images) // 4 :]
    assert {result.reason for result in waits} == {Reason.DEGENERATE_MOTION}
    walking = [SE3(rotation_matrix([0, 0.005 * i, 0]), np.array([0.03 * i, 0.0, 0.0])) for i in range(20)]
    later = [odometry.track(scene.frame((len(images) + i) * STEP_NS, pose)) for i, pose in enumerate(walking)]
    assert isinstance(later[-1], OdometryPose)  # once it moves, it starts


def check_path(camera_from_odom, poses, first, last):
    """Compare poses by the number of their view with the truth, the scale taken from the last."""

    def truth(view):
        return poses[view].inverse @ poses[first]

    unit = np.linalg.norm(camera_from_odom[last].translation) / np.linalg.norm(truth(last).translation)
    for view, found in camera_from_odom.items():
        np.testing.assert_allclose(found.rotation, truth(view).rotation, atol=4e-3)
        baseline = np.linalg.norm(truth(last).translation)
        np.testing.assert_allclose(found.translation / unit, truth(view).translation, atol=0.1 * baseline)


def test_views_before_the_start_are_located_once_its_points_are_known(scene):
    turning = [SE3(rotation_matrix([0, 0.06 * i, 0]), np.zeros(3)) for i in range(4)]
    walking = [SE3(turning[-1].rotation, np.array([0.04 * i, 0.0, 0.0])) for i in range(1, 20)]
    poses = turning + walking
    results = follow(film(scene, poses))
    initialization = results[-1]
    located = {round(stamp_ns / STEP_NS): pose for stamp_ns, pose in locate_followed(initialization, CONFIG).items()}
    assert set(located) == set(range(len(results)))
    check_path(located, poses, round(initialization.reference.stamp_ns / STEP_NS), len(results) - 1)


@pytest.mark.parametrize("live", [False, True])
def test_a_segment_begins_with_the_poses_of_the_frames_that_were_refused_before(scene, live):
    poses = [SE3(rotation_matrix([0, 0.01 * i, 0]), np.array([0.03 * i, 0.01 * i, 0.0])) for i in range(20)]
    odometry, results = KltOdometry(KltConfig(), live=live), []
    for frame in film(scene, poses):
        results.append(odometry.track(frame))
        odometry.settle()
        if isinstance(results[-1], OdometryPose):
            break
    odometry.close()
    start, refused = results[-1], results[:-1]
    assert refused
    assert all(isinstance(result, Rejection) for result in refused)
    assert list(start.earlier) == [result.stamp_ns for result in refused]
    known = {**start.earlier, start.stamp_ns: start.odom_from_camera}
    views = {round(stamp_ns / STEP_NS): pose.inverse for stamp_ns, pose in known.items()}
    check_path(views, poses, min(views, key=lambda view: np.linalg.norm(views[view].translation)), len(views) - 1)

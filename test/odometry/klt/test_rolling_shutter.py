from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import FOCAL_PX, TwoPlanes, make_camera, random_points, rays_of

from visloc_ros.core.camera import rays as rays_of_pixels
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.types import OdometryPose
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.odometry.klt import KltConfig
from visloc_ros.odometry.klt.rolling_shutter import (
    ExpectedTurn,
    expect_turn,
    fitted_turn,
    pixels_while_read,
    rays_at_middle_row,
)
from visloc_ros.tracking.robust_pose import SeenPoints, fit_pose

CAMERA = make_camera()
TURN = np.array([0.03, -0.06, 0.02])  # while an image is read
POSE = SE3(rotation_matrix([0.02, 0.03, -0.01]), np.array([0.1, 0.0, 0.2]))


def seen_while_read(points, turn):
    """Pixels (N, 2) of points (N, 3) of the world, exact: rows and times are brought together by iteration."""
    local, rows = POSE @ points, np.full(len(points), 240.0)
    for _ in range(20):
        turned = np.einsum("nij,nj->ni", rotation_matrix((rows / 480.0 - 0.5)[:, None] * turn), local)
        pixels = turned[:, :2] / turned[:, 2:] * FOCAL_PX + [320.0, 240.0]
        rows = pixels[:, 1]
    return (pixels - 0.5).astype(np.float32)


def test_rays_are_turned_to_the_instant_of_the_middle_row():
    points = random_points(200)
    pixels = seen_while_read(points, TURN)
    bent = rays_of_pixels(CAMERA, pixels.astype(np.float64) + 0.5)
    truth = rays_of(POSE, points)
    assert FOCAL_PX * np.abs(bent - truth).max() > 8.0
    np.testing.assert_allclose(rays_at_middle_row(CAMERA, pixels, bent, TURN), truth, atol=1e-3 / FOCAL_PX)


def test_points_are_expected_about_where_they_are_seen():
    points = random_points(200)
    seen = seen_while_read(points, TURN)
    assert np.abs(pixels_while_read(CAMERA, POSE @ points, None) - seen).max() > 8.0
    assert np.abs(pixels_while_read(CAMERA, POSE @ points, TURN) - seen).max() < 1.0


def test_the_turn_is_found_from_how_the_image_is_bent():
    points = random_points(200)
    pixels, pose, turn = seen_while_read(points, TURN), POSE, np.zeros(3)
    bent = rays_of_pixels(CAMERA, pixels.astype(np.float64) + 0.5)
    for _ in range(4):
        straight = rays_at_middle_row(CAMERA, pixels, bent, turn)
        seen = SeenPoints(points, straight, np.full(200, FOCAL_PX), 0.3)
        pose = fit_pose(pose, seen, 2.0).camera_from_world
        turn = fitted_turn(turn, ExpectedTurn(np.zeros(3), 0.1), CAMERA, pixels, seen, pose)
    np.testing.assert_allclose(turn, TURN, atol=1e-3)
    np.testing.assert_allclose(pose.matrix, POSE.matrix, atol=1e-3)


def test_a_turn_that_is_sure_is_kept():
    points = random_points(200)
    seen = SeenPoints(points, rays_of(POSE, points), np.full(200, FOCAL_PX), 0.3)
    pixels = seen_while_read(points, np.zeros(3))
    kept = fitted_turn(TURN, ExpectedTurn(TURN, 1e-7), CAMERA, pixels, seen, POSE)
    np.testing.assert_allclose(kept, TURN, atol=1e-6)


def test_a_turn_that_gets_faster_is_expected_to_go_on_so_and_is_less_sure():
    steady = expect_turn(0.02, np.array([0.0, 2.0, 0.0]), np.array([0.0, 2.0, 0.0]))
    faster = expect_turn(0.02, np.array([0.0, 2.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(steady.mean, [0.0, 0.04, 0.0])
    np.testing.assert_allclose(faster.mean, [0.0, 0.05, 0.0])
    assert faster.sigma == pytest.approx(0.01 + steady.sigma)


def rolling_frames(scene, camera, readout_s, num_frames=45, rate_hz=30.0):
    """A walk to the right, on which the camera nods faster and faster, read band by band of 8 rows."""

    def pose(seconds):
        nod = 0.12 * np.sin(9.0 * max(seconds - 0.5, 0.0))
        return SE3(rotation_matrix([nod, 0.05 * np.sin(3.0 * seconds), 0.0]), np.array([0.4 * seconds, 0.0, 0.0]))

    for index in range(num_frames):
        seconds = index / rate_hz
        frame = scene.frame(round(seconds * 1e9), pose(seconds))
        image = frame.image.copy()
        for top in range(0, camera.height, 8):
            read_at = seconds + readout_s * ((top + 4) / camera.height - 0.5)
            image[top : top + 8] = scene.frame(0, pose(read_at)).image[top : top + 8]
        yield replace(frame, image=image), pose(seconds)


def worst_turn_deg(recording, readout_ms):
    """Largest error of the rotation since the first pose."""
    odometry = make_odometry(OdometryConfig(backends={"klt": KltConfig(readout_ms=readout_ms)}))
    found = [(odometry.track(frame), truth) for frame, truth in recording]
    odometry.close()
    pairs = [(result.odom_from_camera, truth) for result, truth in found if isinstance(result, OdometryPose)]
    assert len(pairs) > 0.7 * len(recording)  # the walk begins with some that have no parallax
    (first, true_first), rest = pairs[0], pairs[1:]
    turns = [(first.rotation.T @ pose.rotation, true_first.rotation.T @ truth.rotation) for pose, truth in rest]
    return max(rotation_angle_deg(*pair) for pair in turns)


def test_a_rolling_shutter_that_is_known_no_longer_bends_the_path():
    camera = make_camera(320, 240)
    recording = list(rolling_frames(TwoPlanes(camera), camera, readout_s=0.03))
    corrected, uncorrected = (worst_turn_deg(recording, readout_ms) for readout_ms in (30.0, 0.0))
    assert corrected < 0.7 * uncorrected
    assert corrected < 1.0

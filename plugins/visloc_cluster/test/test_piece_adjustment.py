"""Adjusting an exactly known scene, of which one image stands in a wrong place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_cluster.mapping.adjustment import adjust
from visloc_cluster.mapping.model import Model, pose_values
from visloc_cluster.mapping.pieces import taken
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg, rotation_matrix
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera

CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
CAMERAS = {0: MapCamera(CAMERA, True)}
WRONG = 5
CONFIG = ReconstructionConfig(threads=1)


@pytest.fixture(scope="module")
def wall() -> Model:
    """Twelve cameras that pass a wall at four metres, with half a pixel of noise."""
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-2.0, 4.0, 300), rng.uniform(-1.5, 1.5, 300), rng.uniform(3.9, 4.1, 300)])
    poses = [SE3(np.eye(3), np.array([0.15 * number, 0.02 * number, 0.0])) for number in range(12)]
    seen_by, seen, pixels = [], [], []
    for number, pose in enumerate(poses):
        at = project(pose, points)
        inside = np.flatnonzero(((at > 0.0) & (at < [640.0, 480.0])).all(axis=1))
        seen_by.append(np.full(len(inside), number))
        seen.append(inside)
        pixels.append(at[inside] + rng.normal(0.0, 0.5, (len(inside), 2)))
    return Model(
        np.arange(12), np.array([pose_values(pose) for pose in poses]), np.zeros(12, int),
        np.tile(CAMERA.params, (12, 1)), points, np.concatenate(seen_by), np.concatenate(seen), np.concatenate(seen),
        np.concatenate(pixels).astype(np.float32),
    )  # fmt: skip


def project(pose: SE3, points: Array) -> Array:
    return np.asarray(CAMERA.img_from_cam(pose.inverse @ points))


def with_match_right_before(model: Model, pose: SE3, next_pose: SE3) -> Model:
    """The model with one more point, two centimetres before ``pose``, that it and the next image see there."""
    point = pose @ np.array([0.005, 0.0, 0.02])
    at = np.array([project(one, point[None])[0] for one in (pose, next_pose)])
    seen_by = np.concatenate([model.seen_by, [WRONG, WRONG + 1]])
    keypoints = np.concatenate([model.keypoints, [1000, 1000]])
    order = np.lexsort((keypoints, seen_by))
    return replace(
        model,
        points=np.vstack([model.points, point]),
        seen_by=seen_by[order],
        keypoints=keypoints[order],
        seen=np.concatenate([model.seen, [len(model.points)] * 2])[order],
        pixels=np.concatenate([model.pixels, at.astype(np.float32)])[order],
    )


def test_a_wrong_match_right_before_a_camera_does_not_hold_it_in_a_wrong_place(wall: Model) -> None:
    true = wall.map_from_cameras
    wrong = true[WRONG] @ SE3(rotation_matrix([0.0, -0.035, 0.0]), np.array([0.12, 0.0, 0.0]))
    poses = wall.poses.copy()
    poses[WRONG] = pose_values(wrong)
    model = with_match_right_before(replace(wall, poses=poses), wrong, true[WRONG + 1])
    adjusted = adjust(model, CAMERAS, CONFIG, range(1, 11))
    pose = adjusted.map_from_cameras[WRONG]
    assert np.linalg.norm(pose.translation - true[WRONG].translation) < 0.01
    assert rotation_angle_deg(pose.rotation, true[WRONG].rotation) < 0.15
    assert len(adjusted.points) == len(wall.points)


def test_only_the_moving_images_move_and_without_any_the_points_alone(wall: Model) -> None:
    rng = np.random.default_rng(1)
    poses = wall.poses.copy()
    poses[4:7, 4:] += 0.03
    model = replace(wall, poses=poses, points=wall.points + rng.normal(0.0, 0.02, wall.points.shape))
    adjusted = adjust(model, CAMERAS, CONFIG, (4, 5, 6))
    assert np.allclose(adjusted.poses[[*range(4), *range(7, 12)]], wall.poses[[*range(4), *range(7, 12)]], atol=1e-9)
    assert np.abs(adjusted.poses[4:7, 4:] - wall.poses[4:7, 4:]).max() < 0.012
    still = adjust(replace(model, poses=wall.poses), CAMERAS, CONFIG, ())
    assert np.allclose(still.poses, wall.poses, atol=1e-9)
    assert np.median(np.linalg.norm(still.points - wall.points, axis=1)) < 0.02


def test_a_piece_of_which_nothing_fits_is_left_empty(wall: Model) -> None:
    behind = replace(wall, points=wall.points * [1.0, 1.0, -1.0])
    adjusted = adjust(behind, CAMERAS, CONFIG, (4, 5, 6))
    assert len(adjusted.points) == len(adjusted.seen) == 0
    assert len(adjust(taken(adjusted, adjusted.seen_by > 0), CAMERAS, CONFIG, ()).images) == 0

"""Reconstruction of an exactly known scene: poses and points come back, wrong input is refused or survived."""

import logging
from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.reconstruction import (
    epipolar_residuals,
    reconstruct,
    triangulate_at_known_poses,
)
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import SfmImage, registered_poses

CONFIG = ReconstructionConfig(threads=1)


def point_errors(scene, reconstruction):
    """Distance of every reconstructed point from the true point that its first observation belongs to."""
    rows = {view.name: rows for view, rows in zip(scene.views, scene.point_rows, strict=True)}
    errors = []
    for point in reconstruction.points3D.values():
        element = point.track.elements[0]
        row = rows[reconstruction.images[element.image_id].name][element.point2D_idx]
        errors.append(np.linalg.norm(point.xyz - scene.points[row]) if row >= 0 else np.inf)
    return np.array(errors)


def disturbed(pose, centimetres, degrees, rng):
    turn = rng.normal(size=3)
    shift = rng.normal(size=3)
    return SE3(
        pose.rotation @ rotation_matrix(np.radians(degrees) * turn / np.linalg.norm(turn)),
        pose.translation + 0.01 * centimetres * shift / np.linalg.norm(shift),
    )


class TestKnownPoses:
    def test_exact_poses_give_exact_points_and_stay_as_they_are(self, scene):
        result = triangulate_at_known_poses(scene.views, scene.poses, scene.matches(), CONFIG)
        assert result.num_points3D() == len(scene.points)
        assert result.num_reg_images() == len(scene.views)
        assert point_errors(scene, result).max() < 1e-4
        poses = registered_poses(result)
        assert all(poses[view.name].is_close(pose) for view, pose in zip(scene.views, scene.poses, strict=True))
        assert list(result.cameras[1].params) == list(scene.camera.params)

    def test_keypoints_keep_their_rows(self, scene):
        result = triangulate_at_known_poses(scene.views, scene.poses, scene.matches(), CONFIG)
        for view, rows in zip(scene.views, scene.point_rows, strict=True):
            image = result.find_image_with_name(view.name)
            assert image.num_points2D() == len(view.keypoints)
            assert set(image.get_observation_point2D_idxs()) == set(np.flatnonzero(rows >= 0))

    def test_wrong_matches_make_no_points(self, scene):
        matches = scene.matches(wrong=60)
        result = triangulate_at_known_poses(scene.views, scene.poses, matches, CONFIG)
        errors = point_errors(scene, result)
        assert np.mean(errors < 0.01) > 0.95
        assert result.num_points3D() > 0.9 * len(scene.points)

    def test_inexact_poses_raise_the_tolerance_and_keep_most_points(self, scene, caplog):
        rng = np.random.default_rng(5)
        poses = [disturbed(pose, 2.0, 0.4, rng) for pose in scene.poses]
        with caplog.at_level(logging.INFO):
            result = triangulate_at_known_poses(scene.views, poses, scene.matches(), CONFIG)
        assert "inexact" in caplog.text
        assert np.mean(point_errors(scene, result) < 0.06) > 0.9
        assert result.compute_mean_track_length() > 8
        strict = triangulate_at_known_poses(scene.views, poses, scene.matches(), replace(CONFIG, max_pose_error_px=4.0))
        assert strict.compute_mean_track_length() < result.compute_mean_track_length()

    def test_an_image_that_sees_nothing_is_left_out(self, scene):
        pairs = [(i, j) for i in range(9) for j in range(i + 1, 9)]
        result = triangulate_at_known_poses(scene.views, scene.poses, scene.matches(pairs), CONFIG)
        assert result.num_reg_images() == 9
        assert "image09.jpg" not in registered_poses(result)

    def test_poses_of_something_else_are_refused(self, scene):
        rng = np.random.default_rng(2)
        poses = [disturbed(pose, 300.0, 90.0, rng) for pose in scene.poses]
        with pytest.raises(MapError, match="do not fit the images"):
            triangulate_at_known_poses(scene.views, poses, scene.matches(), CONFIG)

    def test_a_camera_that_does_not_move_is_refused(self, scene):
        poses = [scene.poses[0]] * len(scene.poses)
        with pytest.raises(MapError, match="do not fit the images"):
            triangulate_at_known_poses(scene.views, poses, scene.matches(), CONFIG)

    def test_residuals_are_distances_from_the_epipolar_line(self, scene):
        shifted = replace(scene.views[9], keypoints=scene.views[9].keypoints + np.float32([0.0, 3.0]))
        views = [*scene.views[:9], shifted]
        residuals = epipolar_residuals(views, scene.poses, scene.matches([(0, 8), (0, 9)]))
        assert residuals[0, 8].max() < 1e-3
        # The shift of 3 px across a nearly horizontal line is shared between both images (first order: 3 / sqrt 2).
        assert np.median(residuals[0, 9]) == pytest.approx(3.0 / np.sqrt(2.0), rel=0.1)


class TestUnknownPoses:
    def aligned_errors(self, scene, result):
        poses = registered_poses(result)
        true = {view.name: pose for view, pose in zip(scene.views, scene.poses, strict=True)}
        transform(result, align_to_references(poses, true))
        return [
            (
                np.linalg.norm(pose.translation - true[name].translation),
                rotation_angle_deg(pose.rotation, true[name].rotation),
            )
            for name, pose in registered_poses(result).items()
        ]

    @pytest.mark.parametrize("mapper", ["incremental", "global"])
    def test_exact_matches_give_the_scene_up_to_a_similarity(self, scene, mapper):
        seen = []
        result = reconstruct(
            scene.views,
            scene.matches(wrong=20),
            replace(CONFIG, mapper=mapper),
            on_image=lambda: seen.append(1),
        )
        errors = np.array(self.aligned_errors(scene, result))
        assert len(errors) == len(scene.views)
        assert errors[:, 0].max() < 0.005
        assert errors[:, 1].max() < 0.1
        assert len(seen) >= len(scene.views) - 2
        assert np.median(point_errors(scene, result)) < 0.005

    def test_a_guessed_camera_is_refined(self, scene):
        guess = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[560.0, 320.0, 240.0, 0.0])
        guessed = MapCamera(guess, calibrated=False)
        views = [replace(view, camera=guessed) for view in scene.views]
        result = reconstruct(views, scene.matches(), CONFIG)
        assert next(iter(result.cameras.values())).mean_focal_length() == pytest.approx(500.0, rel=0.01)

    def test_a_calibrated_camera_is_kept(self, scene):
        result = reconstruct(scene.views, scene.matches(), CONFIG)
        assert list(next(iter(result.cameras.values())).params) == list(scene.camera.params)

    @pytest.mark.parametrize("mapper", ["incremental", "global"])
    def test_of_two_cameras_only_the_guessed_one_is_refined(self, scene, mapper):
        guess = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[530.0, 320.0, 240.0, 0.0])
        guessed = MapCamera(guess, calibrated=False)
        views = [replace(view, camera=guessed) if row % 2 else view for row, view in enumerate(scene.views)]
        result = reconstruct(views, scene.matches(), replace(CONFIG, mapper=mapper))
        cameras = {image.name: result.cameras[image.camera_id] for image in result.images.values()}
        assert list(cameras[views[0].name].params) == list(scene.camera.params)
        assert cameras[views[1].name].params[0] == pytest.approx(500.0, rel=0.01)
        assert max(error for error, _ in self.aligned_errors(scene, result)) < 0.01

    def test_the_largest_model_is_kept(self, scene):
        apart = [(i, j) for i in range(7) for j in range(i + 1, 7)] + [(7, 8), (8, 9), (7, 9)]
        result = reconstruct(scene.views, scene.matches(apart), CONFIG)
        assert set(registered_poses(result)) == {f"image{index:02d}.jpg" for index in range(7)}

    def test_names_with_spaces_are_taken(self, scene):
        views = [replace(view, name=f"my holiday/{view.name}") for view in scene.views]
        result = reconstruct(views, scene.matches(), CONFIG)
        assert result.num_reg_images() == len(views)

    def test_images_that_have_nothing_in_common_are_refused(self, scene):
        nothing = {pair: pairs[:0] for pair, pairs in scene.matches().items()}
        with pytest.raises(MapError, match="no two images"):
            reconstruct(scene.views, nothing, CONFIG)

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
    def test_it_can_be_interrupted(self, scene, failure):
        def interrupt():
            raise failure

        with pytest.raises(failure):
            reconstruct(scene.views, scene.matches(), CONFIG, on_image=interrupt)

    def test_colmap_is_as_talkative_afterwards_as_before(self, scene):
        before = pycolmap.logging.minloglevel
        reconstruct(scene.views, scene.matches(), CONFIG)
        assert pycolmap.logging.minloglevel == before


@pytest.fixture
def mappers(monkeypatch):
    """Names of the mappers that COLMAP was asked for, in order."""
    asked = []
    for name in ("incremental_mapping", "global_mapping"):
        original = getattr(pycolmap, name)

        def record(*args, _name=name, _original=original, **kwargs):
            asked.append(_name.removesuffix("_mapping"))
            return _original(*args, **kwargs)

        monkeypatch.setattr(pycolmap, name, record)
    return asked


@pytest.mark.parametrize(("limit", "expected"), [(10, "global"), (11, "incremental")])
def test_auto_goes_by_the_number_of_images(scene, mappers, limit, expected):
    result = reconstruct(scene.views, scene.matches(), replace(CONFIG, global_from=limit))
    assert mappers == [expected]
    assert result.num_reg_images() == len(scene.views)


def test_images_that_the_global_mapper_leaves_out_are_mapped_incrementally(scene, mappers, caplog):
    apart = [(i, j) for i in range(7) for j in range(i + 1, 7)] + [(7, 8), (8, 9), (7, 9)]
    with caplog.at_level(logging.WARNING):
        result = reconstruct(scene.views, scene.matches(apart), replace(CONFIG, global_from=2))
    assert mappers == ["global", "incremental"]
    assert "hold 7 of 10 images together" in caplog.text
    assert result.num_reg_images() == 7


def test_who_asks_for_the_global_mapper_gets_it(scene, mappers):
    apart = [(i, j) for i in range(7) for j in range(i + 1, 7)] + [(7, 8), (8, 9), (7, 9)]
    reconstruct(scene.views, scene.matches(apart), replace(CONFIG, mapper="global"))
    assert mappers == ["global"]


@pytest.fixture(scope="module")
def straight_drive(scene):
    """Eight images of a street in steps of 1.7 m straight ahead, keypoints good to half a pixel."""
    rng = np.random.default_rng(1)
    camera = pycolmap.Camera(model="PINHOLE", width=1226, height=370, params=[707.0, 707.0, 601.0, 183.0])
    points = rng.uniform([0.0, -4.0, 0.0], [4.0, 1.5, 80.0], (800, 3))
    points[:, 0] += np.where(rng.random(len(points)) < 0.5, -10.0, 6.0)
    poses = [SE3(np.eye(3), np.array([0.0, 0.0, 1.7 * step])) for step in range(8)]
    views, rows = [], []
    for step, pose in enumerate(poses):
        in_camera = points - pose.translation
        pixels = np.full((len(points), 2), -1.0)
        ahead = (in_camera[:, 2] > 3.0) & (in_camera[:, 2] < 60.0)
        pixels[ahead] = camera.img_from_cam(in_camera[ahead])
        seen = np.flatnonzero(((pixels > 0.0) & (pixels < [1226.0, 370.0])).all(axis=1))
        noisy = pixels[seen] + rng.normal(0.0, 0.5, (len(seen), 2))
        views.append(SfmImage(f"image{step:02d}.jpg", noisy.astype(np.float32), MapCamera(camera, calibrated=True)))
        rows.append(seen)
    return type(scene)(camera, views, poses, points, rows)


def test_a_straight_drive_is_mapped_globally_where_no_two_images_make_a_beginning(straight_drive, mappers):
    near = [(i, j) for i in range(8) for j in range(i + 1, min(8, i + 4))]
    poses = registered_poses(reconstruct(straight_drive.views, straight_drive.matches(near), CONFIG))
    assert mappers == ["incremental", "global"]
    centres = np.array([poses[view.name].translation for view in straight_drive.views])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert steps / steps.mean() == pytest.approx(1.0, abs=0.02)
    turns = [
        rotation_angle_deg(poses[one.name].rotation, poses["image00.jpg"].rotation) for one in straight_drive.views
    ]
    assert max(turns) < 0.2

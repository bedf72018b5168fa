"""The figures of the map card, on a scene that is known exactly."""

import re
from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.colmap_model import read_colmap_model
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.mapping.card import ImageCoverage, image_coverage, reprojection_errors, weakest
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.top_view import draw_top_view, fit_canvas, ground_rotation, nice_step


@pytest.fixture(scope="module")
def model(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sfm")
    config = ReconstructionConfig(threads=1)
    triangulate_at_known_poses(scene.views, scene.poses, scene.matches(), config).write_binary(folder)
    return read_colmap_model(folder)


def test_coverage_counts_what_each_image_sees(scene, model):
    for image in image_coverage(model):
        assert image.observations == len(scene.points)
        assert image.share == pytest.approx(len(scene.points) / len(scene.views[0].keypoints))
        assert image.reprojection_error_px < 1e-3
        assert image.track_length == len(scene.views)


def test_the_weakest_images_see_little_or_reproject_badly():
    coverage = [ImageCoverage(f"{row}", 100 + 10 * (row % 10), 0.5, 0.1 * row, 3.0) for row in range(20)]
    assert [image.name for image in weakest(coverage, 4)] == ["0", "10", "19", "18"]
    assert len(weakest(coverage[:3], 8)) == 3


def test_a_second_film_is_not_joined_to_the_first(scene):
    elsewhere = [SE3(pose.rotation, pose.translation + np.array([30.0, 0.0, 0.0])) for pose in scene.poses]
    drawing = draw_top_view(scene.points, [*scene.poses, *elsewhere], gravity_aligned=True, unit="m")
    assert drawing.count('class="path"') == 2


def test_errors_are_those_of_the_projection(model):
    image = model.images[0]
    moved = replace(image, keypoints=image.keypoints + np.array([3.0, 4.0]))
    assert np.allclose(reprojection_errors(model, moved), 5.0, atol=1e-3)


@pytest.mark.parametrize(("rough", "nice"), [(0.9, 1.0), (1.0, 1.0), (1.3, 2.0), (0.021, 0.05), (70.0, 100.0)])
def test_grid_steps_are_round(rough, nice):
    assert nice_step(rough) == pytest.approx(nice)


def test_every_camera_is_on_the_canvas(scene):
    centres = np.array([pose.translation[:2] for pose in scene.poses])
    far = np.concatenate([scene.points[:, :2], [[500.0, 500.0]]])
    canvas = fit_canvas(centres, far)
    placed = canvas.to_svg(centres)
    assert placed.min() > 0
    assert np.all(placed < [1000.0, canvas.height])
    assert canvas.scale > 50


def test_the_top_view_shows_points_and_cameras(scene):
    drawing = draw_top_view(scene.points, scene.poses, gravity_aligned=True, unit="m")
    assert drawing.count('class="camera"') == len(scene.poses)
    dots = sum(len(re.findall("M", path)) for path in re.findall(r'<path d="([^"]*)" stroke', drawing))
    assert dots >= 0.95 * len(scene.points)
    assert " m</text>" in drawing


def test_a_tilted_map_is_turned_before_it_is_seen_from_above(scene):
    tilt = rotation_matrix([0.9, -0.4, 0.2])
    tilted = [SE3(tilt @ pose.rotation, tilt @ pose.translation) for pose in scene.poses]
    assert np.allclose(ground_rotation(tilted, gravity_aligned=False) @ tilt @ [0, 0, 1], [0, 0, 1], atol=1e-6)
    assert np.array_equal(ground_rotation(tilted, gravity_aligned=True), np.eye(3))

"""Structure from motion where geometry is poor: flat places, repeated images, things fixed to the camera."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from visloc_ros.core.geometry import umeyama
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import reconstruct
from visloc_ros.mapping.sfm_database import SfmImage, registered_poses

CONFIG = ReconstructionConfig(threads=1)
NOISE_PX = 0.5


def views_of(scene, points, overlay=0):
    """Images of points, with noise, and of as many things that are at the same place in all of them."""
    rng = np.random.default_rng(0)
    fixed = rng.uniform([0.0, 300.0], [640.0, 480.0], (overlay, 2))
    views = []
    for view, pose in zip(scene.views, scene.poses, strict=True):
        pixels = scene.camera.img_from_cam(pose.inverse @ points) + rng.normal(0.0, NOISE_PX, (len(points), 2))
        still = fixed + rng.normal(0.0, 0.1, fixed.shape)
        views.append(SfmImage(view.name, np.concatenate([pixels, still]).astype(np.float32), view.camera))
    return views


def all_matches(views):
    rows = np.repeat(np.arange(len(views[0].keypoints), dtype=np.int32)[:, None], 2, axis=1)
    return dict.fromkeys(combinations(range(len(views)), 2), rows)


def position_errors(scene, poses):
    names = [view.name for view in scene.views if view.name in poses]
    true = np.array(
        [pose.translation for view, pose in zip(scene.views, scene.poses, strict=True) if view.name in poses]
    )
    found = np.array([poses[name].translation for name in names])
    return np.linalg.norm(umeyama(true, found) @ found - true, axis=1)


@pytest.mark.parametrize("mapper", ["incremental", "global"])
@pytest.mark.parametrize("overlay", [60, 400])
def test_what_is_fixed_to_the_camera_does_not_count(scene, mapper, overlay):
    views = views_of(scene, scene.points, overlay)
    result = reconstruct(views, all_matches(views), replace(CONFIG, mapper=mapper))
    assert result.num_reg_images() == len(scene.views)
    assert position_errors(scene, registered_poses(result)).max() < 0.01
    assert result.num_points3D() <= len(scene.points)


def test_it_would_count_without_the_option(scene):
    views = views_of(scene, scene.points, 60)
    result = reconstruct(views, all_matches(views), replace(CONFIG, min_match_motion_px=0.0))
    assert result.num_points3D() > len(scene.points)


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_a_flat_place_is_mapped(scene, mapper):
    views = views_of(scene, scene.points * [0.0, 1.0, 1.0])
    result = reconstruct(views, all_matches(views), replace(CONFIG, mapper=mapper))
    assert result.num_reg_images() == len(scene.views)
    assert position_errors(scene, registered_poses(result)).max() < 0.03


def test_the_same_image_twice_does_no_harm(scene):
    originals = views_of(scene, scene.points)
    views = [*originals, *(replace(view, name=f"again_{view.name}") for view in originals)]
    poses = registered_poses(reconstruct(views, all_matches(views), CONFIG))
    assert len(poses) == len(views)
    assert position_errors(scene, poses).max() < 0.01
    for view in originals:
        assert np.linalg.norm(poses[view.name].translation - poses[f"again_{view.name}"].translation) < 0.01

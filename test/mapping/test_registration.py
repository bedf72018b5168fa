"""New images of an exactly known scene: they come where they were, and what was there stays to the last bit."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.matching import renumber
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.registration import register_views
from visloc_ros.mapping.sfm_database import registered_poses

CONFIG = ReconstructionConfig(threads=1)
OLD = 5


def known_part(scene, poses=None):
    matches = renumber(scene.matches(), range(OLD))
    return triangulate_at_known_poses(scene.views[:OLD], (poses or scene.poses)[:OLD], matches, CONFIG)


def new_matches(scene, wrong=20, without=()):
    """Matches that concern new images, not those among images ``without`` and the others."""
    apart = [(i, j) for i in range(10) for j in range(i + 1, 10) if j >= OLD and not {i, j} & set(without)]
    return scene.matches(apart, wrong=wrong)


def register(scene, reconstruction, views=None, matches=None):
    names = [view.name for view in scene.views[:OLD]]
    matches = new_matches(scene) if matches is None else matches
    return register_views(reconstruction, names, views or scene.views[OLD:], matches, CONFIG)


def state(reconstruction):
    return (
        {name: pose.matrix for name, pose in registered_poses(reconstruction).items()},
        {key: point.xyz.copy() for key, point in reconstruction.points3D.items()},
        {key: camera.params.copy() for key, camera in reconstruction.cameras.items()},
    )


def assert_still_there(before, after):
    for old, new in zip(before, after, strict=True):
        for key, value in old.items():
            np.testing.assert_array_equal(new[key], value)


def test_new_images_come_where_they_were(scene):
    reconstruction = known_part(scene)
    assert register(scene, reconstruction) == []
    poses = registered_poses(reconstruction)
    for view, pose in zip(scene.views, scene.poses, strict=True):
        assert np.linalg.norm(poses[view.name].translation - pose.translation) < 1e-4
        assert rotation_angle_deg(poses[view.name].rotation, pose.rotation) < 1e-2
    assert reconstruction.compute_mean_track_length() > 9


def test_what_was_there_stays_to_the_last_bit(scene):
    rng = np.random.default_rng(3)
    inexact = [
        SE3(pose.rotation @ rotation_matrix(rng.normal(0, 0.004, 3)), pose.translation + rng.normal(0, 0.01, 3))
        for pose in scene.poses
    ]
    reconstruction = known_part(scene, inexact)
    before = state(reconstruction)
    assert register(scene, reconstruction) == []
    assert_still_there(before, state(reconstruction))
    errors = [
        np.linalg.norm(registered_poses(reconstruction)[view.name].translation - pose.translation)
        for view, pose in zip(scene.views[OLD:], scene.poses[OLD:], strict=True)
    ]
    assert max(errors) < 0.05


def test_keypoints_keep_their_rows(scene):
    reconstruction = known_part(scene)
    register(scene, reconstruction, matches=new_matches(scene, wrong=0))
    for view, rows in zip(scene.views[OLD:], scene.point_rows[OLD:], strict=True):
        image = reconstruction.find_image_with_name(view.name)
        np.testing.assert_allclose([point.xy for point in image.points2D], view.keypoints, atol=1e-4)
        assert set(image.get_observation_point2D_idxs()) == set(np.flatnonzero(rows >= 0))


def test_images_find_their_place_one_beside_the_other(scene):
    """Only the first new image shows anything of the map, each further one something of that before it."""
    chain = {(i, j): pairs for (i, j), pairs in new_matches(scene).items() if j == OLD or (i >= OLD and j == i + 1)}
    reconstruction = known_part(scene)
    assert register(scene, reconstruction, matches=chain) == []
    error = registered_poses(reconstruction)[scene.views[9].name].translation - scene.poses[9].translation
    assert np.linalg.norm(error) < 1e-3


def test_images_that_no_new_one_is_matched_with_stay_too(scene):
    reconstruction = known_part(scene)
    before = state(reconstruction)
    matches = {pair: pairs for pair, pairs in new_matches(scene).items() if pair[0] >= 2}
    names = [view.name for view in scene.views[2:OLD]]
    matches = renumber(matches, range(2, 10))
    assert register_views(reconstruction, names, scene.views[OLD:], matches, CONFIG) == []
    assert reconstruction.num_reg_images() == 10
    assert_still_there(before, state(reconstruction))


def test_an_image_without_a_place_is_named_and_left_out(scene):
    reconstruction = known_part(scene)
    assert register(scene, reconstruction, matches=new_matches(scene, without=[7])) == [scene.views[7].name]
    assert reconstruction.num_reg_images() == 9
    assert set(registered_poses(reconstruction)) == {view.name for view in scene.views} - {scene.views[7].name}


def test_images_that_many_matches_contradict_are_left_out(scene):
    """Forty false points put the first new image elsewhere, and it those after it, which 25 true ones cannot place."""
    reconstruction = known_part(scene)
    before = state(reconstruction)
    matches = {(i, j): rows for (i, j), rows in new_matches(scene, wrong=0).items() if i >= OLD}
    elsewhere = SE3(scene.poses[2].rotation, scene.poses[2].translation + np.array([0.0, 0.3, 0.2]))
    falsely_seen = scene.camera.img_from_cam(elsewhere.inverse @ scene.points[:40]).astype(np.float32)
    first = scene.views[OLD]
    with_false = replace(first, keypoints=np.concatenate([first.keypoints, falsely_seen]))
    for i in range(OLD):
        seen = np.array([int(np.flatnonzero(scene.point_rows[i] == row)[0]) for row in range(40)])
        matches[i, OLD] = np.column_stack([seen, len(first.keypoints) + np.arange(40)]).astype(np.int32)
        for j in range(OLD + 1, 10):
            true = scene.matches([(i, j)])[i, j]
            matches[i, j] = true[np.isin(scene.point_rows[i][true[:, 0]], range(100, 125))]
    left_out = register(scene, reconstruction, [with_false, *scene.views[OLD + 1 :]], matches)
    assert left_out == [view.name for view in scene.views[OLD + 1 :]]
    assert_still_there(before, state(reconstruction))


def test_nothing_in_common_leaves_everything_as_it_was(scene):
    reconstruction = known_part(scene)
    before = state(reconstruction)
    nothing = {pair: pairs[:0] for pair, pairs in new_matches(scene).items()}
    assert register(scene, reconstruction, matches=nothing) == [view.name for view in scene.views[OLD:]]
    assert_still_there(before, state(reconstruction))


def test_a_new_camera_is_refined_where_it_is_guessed_and_kept_where_it_is_known(scene):
    guess = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[540.0, 320.0, 240.0, 0.0])
    for calibrated in (False, True):
        camera = MapCamera(guess, calibrated)
        reconstruction = known_part(scene)
        before = state(reconstruction)
        register(scene, reconstruction, [replace(view, camera=camera) for view in scene.views[OLD:]])
        assert_still_there(before, state(reconstruction))
        (added,) = set(reconstruction.cameras) - set(before[2])
        expected = 540.0 if calibrated else pytest.approx(500.0, rel=1e-3)
        assert reconstruction.cameras[added].params[0] == expected


def test_it_can_be_interrupted(scene):
    def interrupt():
        raise KeyboardInterrupt

    names = [view.name for view in scene.views[:OLD]]
    with pytest.raises(KeyboardInterrupt):
        register_views(known_part(scene), names, scene.views[OLD:], new_matches(scene), CONFIG, interrupt)

"""Models that share images become one, in the right place or not at all."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Sim3, rotation_angle_deg, rotation_matrix
from visloc_ros.mapping.components import join_components, merge_components, place_component
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import registered_poses

CONFIG = ReconstructionConfig(threads=1)
B_FROM_SCENE = Sim3(0.4, rotation_matrix(np.array([0.3, -1.0, 0.5])), np.array([3.0, 1.0, -2.0]))


def model_of(scene, rows, map_from_scene=None, poses=None):
    """The true model of some images, in a frame of its own."""
    views, known = [scene.views[row] for row in rows], [(poses or scene.poses)[row] for row in rows]
    pairs = [(i, j) for i in rows for j in rows if i < j]
    places = {row: place for place, row in enumerate(rows)}
    matches = {(places[i], places[j]): found for (i, j), found in scene.matches(pairs).items()}
    model = triangulate_at_known_poses(views, known, matches, CONFIG)
    if map_from_scene is not None:
        transform(model, map_from_scene)
    return model


def errors_of(scene, model):
    """Errors of the poses in metres and degrees, after alignment to the truth."""
    true = {view.name: pose for view, pose in zip(scene.views, scene.poses, strict=True)}
    transform(model, align_to_references(registered_poses(model), true))
    found = registered_poses(model)
    distances = [np.linalg.norm(pose.translation - true[name].translation) for name, pose in found.items()]
    turns = [rotation_angle_deg(pose.rotation, true[name].rotation) for name, pose in found.items()]
    return max(distances), max(turns)


def test_models_that_share_images_become_one_at_their_places(scene):
    a, b = model_of(scene, range(7)), model_of(scene, range(4, 10), B_FROM_SCENE)
    (one,) = merge_components([b, a], scene.views, CONFIG)
    assert one.reason == ""
    assert set(registered_poses(one.model)) == {view.name for view in scene.views}
    distance, turn = errors_of(scene, one.model)
    assert distance < 1e-3
    assert turn < 0.02
    assert one.model.num_points3D() <= 1.02 * len(scene.points)  # each is there once
    assert one.model.compute_mean_track_length() > 9.5


def test_a_third_model_joins_where_only_the_second_connects_it(scene):
    parts = [model_of(scene, range(6)), model_of(scene, range(3, 8), B_FROM_SCENE), model_of(scene, range(5, 10))]
    with pytest.raises(MapError, match="1 images are in both"):
        place_component(parts[0], parts[2])
    (one,) = merge_components(parts, scene.views, CONFIG)
    assert one.model.num_reg_images() == len(scene.views)
    assert errors_of(scene, one.model)[0] < 1e-3


def test_the_similarity_is_that_of_their_frames(scene):
    a, b = model_of(scene, range(7)), model_of(scene, range(4, 10), B_FROM_SCENE)
    a_from_b = place_component(a, b).a_from_b
    expected = B_FROM_SCENE.inverse
    assert a_from_b.scale == pytest.approx(expected.scale, rel=1e-3)
    assert np.allclose(a_from_b.rotation, expected.rotation, atol=1e-3)
    assert np.allclose(a_from_b.translation, expected.translation, atol=1e-2)


def test_too_few_shared_images_keep_models_apart_with_the_reason(scene):
    models = [model_of(scene, range(6)), model_of(scene, range(4, 9))]
    first, second = merge_components(models, scene.views, CONFIG)
    assert (first.size[0], second.size[0]) == (6, 5)
    assert first.reason == ""
    assert "2 images are in both models, 2 of them with points of both" in second.reason


def test_models_that_contradict_each_other_stay_apart(scene):
    """The second model mistook the middle of the arc for its end: its shared images lie elsewhere among themselves."""
    rows = [4, 5, 6, 7, 8, 9]
    swapped = list(scene.poses)
    swapped[4:7] = [scene.poses[row] for row in (9, 8, 7)]
    swapped[7:10] = [scene.poses[row] for row in (6, 5, 4)]
    a, b = model_of(scene, range(7)), model_of(scene, rows)
    for image in b.images.values():
        row = int(image.name[5:7])
        b.frames[image.frame_id].rig_from_world = swapped[row].inverse.to_rigid3d()
    components = merge_components([a, b], scene.views, CONFIG)
    assert len(components) == 2
    assert components[1].reason


def test_joining_keeps_the_first_models_poses_and_numbers_the_images_as_the_views(scene):
    a, b = model_of(scene, range(7)), model_of(scene, range(4, 9), B_FROM_SCENE)
    joined = join_components([(a, Sim3.identity()), (b, place_component(a, b).a_from_b)], scene.views)
    before, after = registered_poses(a), registered_poses(joined)
    assert all(after[name].is_close(pose) for name, pose in before.items())
    assert len(after) == 9
    assert [joined.images[image_id].name for image_id in sorted(joined.images)] == [view.name for view in scene.views]


def test_a_camera_that_only_one_model_refined_keeps_its_values(scene):
    other = replace(scene.views[0].camera, intrinsics=pycolmap.Camera(scene.camera.todict()))
    views = [replace(view, camera=other) if row > 6 else view for row, view in enumerate(scene.views)]
    a, b = model_of(scene, range(7)), model_of(replace(scene, views=views), range(4, 10))
    camera = b.cameras[b.find_image_with_name("image09.jpg").camera_id]
    camera.params = [501.0, 501.0, 320.0, 240.0]
    joined = join_components([(a, Sim3.identity()), (b, Sim3.identity())], views)
    of = {name: joined.cameras[joined.find_image_with_name(name).camera_id] for name in ("image00.jpg", "image09.jpg")}
    assert of["image00.jpg"].params[0] == 500.0
    assert of["image09.jpg"].params[0] == 501.0

"""Points right before a camera go, right ones stay."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.mapping.near_points import are_near, delete_near_points

IMAGES = 8


@pytest.fixture
def model():
    """Exact images around exact points; the first keypoint of each sees none."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 1, 1, IMAGES
    options.num_points3D = 120
    model = pycolmap.synthesize_dataset(options)
    for image_id in model.reg_image_ids():
        if model.images[image_id].point2D(0).has_point3D():
            model.delete_observation(image_id, 0)
    return model


def add_point(model, place, image_ids):
    """A wrong point, which the first keypoints of these images see, wherever they are."""
    track = pycolmap.Track()
    for image_id in image_ids:
        track.add_element(image_id, 0)
    return model.add_point3D(np.asarray(place), track)


def before(model, image_id, distance):
    """A place so far before an image, along its viewing direction."""
    world_from_camera = model.images[image_id].cam_from_world().inverse()
    return world_from_camera * np.array([0.0, 0.0, distance])


def test_right_points_stay(model):
    count = model.num_points3D()
    assert delete_near_points(model) == 0
    assert model.num_points3D() == count


@pytest.mark.parametrize("images", [2, 3, 4, 5])
def test_a_point_at_a_camera_goes_however_many_images_see_it(model, images):
    ids = sorted(model.reg_image_ids())
    wrong = add_point(model, before(model, ids[0], 1e-8), ids[:images])
    right = set(model.points3D) - {wrong}
    assert delete_near_points(model) == 1
    assert set(model.points3D) == right


@pytest.mark.parametrize(("images", "is_wrong"), [(3, True), (4, False)])
def test_a_point_near_a_camera_goes_where_few_images_see_it(images, is_wrong):
    """Ten points an image at distance 1, one that so many images see at 0.08 of the first one."""
    seen_by = np.concatenate([np.repeat(np.arange(IMAGES), 10), np.arange(images)])
    seen = np.concatenate([np.tile(np.arange(10), IMAGES), np.full(images, 10)])
    distances = np.concatenate([np.ones(10 * IMAGES), [0.08], np.ones(images - 1)])
    assert are_near(distances, seen_by, seen).tolist() == [False] * 10 + [is_wrong]

"""Maps whose poses were estimated from noisy keypoints say by how much these poses are off."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.bundle_adjustment import whole_problem
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, LocalFeatures, Manifest, Map, MapImage
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import pose_difference, turn_covariance
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.leave_one_out import LeaveOneOut
from visloc_ros.localization.map_adjustment import adjustment_covariances
from visloc_ros.localization.map_uncertainty import MapUncertainty, measure_map_uncertainty
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import registered_poses

SIZE, NOISE_PX, CELLS = (640, 480), 0.7, 4
NOTHING = np.zeros((6, 6))
OF_POSE = np.diag([1e-4, 2e-4, 3e-4, 1e-5, 2e-5, 3e-5])


def scene(seed, images=12):
    """A scene seen without noise."""
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1,
        num_cameras_per_rig=1,
        num_frames_per_rig=images,
        num_points3D=300,
        num_points2D_without_point3D=0,
        camera_width=SIZE[0],
        camera_height=SIZE[1],
        camera_model_id=pycolmap.CameraModelId.SIMPLE_PINHOLE,
        camera_params=[500.0, 320.0, 240.0],
    )
    pycolmap.set_random_seed(seed)
    return pycolmap.synthesize_dataset(options)


def independent(rng, pixels):
    return rng.normal(0.0, NOISE_PX, pixels.shape)


def shared_by_cells(rng, pixels):
    """Noise that all keypoints have in common which are in one cell of an image."""
    cells = np.clip(pixels / SIZE * CELLS, 0, CELLS - 1).astype(int)
    return rng.normal(0.0, NOISE_PX, (CELLS, CELLS, 2))[cells[:, 0], cells[:, 1]]


def adjusted(seed, noise):
    """A map of a scene by keypoints with noise, aligned with the truth, and the true poses of its images."""
    model, rng = scene(seed), np.random.default_rng(seed)
    truth = registered_poses(model)
    for image in model.images.values():
        pixels = np.array([point.xy for point in image.points2D])
        for row, pixel in enumerate(pixels + noise(rng, pixels)):
            image.point2D(row).xy = pixel
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, whole_problem(model, model.cameras), model).solve()
    transform(model, align_to_references(registered_poses(model), truth))
    return map_of(model), truth


def map_of(model, **manifest):
    """A map in memory, of features without descriptors."""
    row_of = {point_id: row for row, point_id in enumerate(sorted(model.points3D))}
    points = np.array([model.points3D[point_id].xyz for point_id in row_of])
    images = []
    for image in model.images.values():
        keypoints = np.array([point.xy for point in image.points2D], np.float32)
        nothing = np.zeros((len(keypoints), 8), np.float16)
        features = LocalFeatures(keypoints, np.ones(len(keypoints), np.float32), nothing, SIZE)
        rows = [row_of[point.point3D_id] if point.has_point3D() else NO_POINT for point in image.points2D]
        pose = SE3.from_rigid3d(image.cam_from_world()).inverse
        images.append(MapImage(image.name, pose, model.cameras[1], features, np.array(rows, np.int32)))
    described = Manifest("scene", "synthesized", {}, metric=True, gravity_aligned=False, **manifest)
    return Map("scene", described, tuple(images), points, np.zeros((len(images), 4)), np.empty((0, 0), np.float32))


def nees(map_, truth, covariance):
    """Mean squared error over covariance (6, 6) in camera axes, by degree of freedom."""
    found = []
    for image in map_.images:
        pose = image.map_from_camera
        error = pose_difference(pose, truth[image.name])
        found.append(error @ np.linalg.solve(turn_covariance(covariance, pose.rotation), error) / 6.0)
    return np.mean(found)


def errors_of_left_out(map_):
    """Mean square (6, 6) of the errors of images found by the others, in camera axes."""
    errors = np.array([pair.error for pair in LeaveOneOut(map_, PoseConfig()).pairs()])
    return errors.T @ errors / len(errors)


@pytest.fixture(scope="module")
def noisy():
    """Maps whose keypoints err as ``PoseConfig.shared_error`` supposes, the truth, and their uncertainty."""
    maps = [adjusted(seed, shared_by_cells) for seed in range(5)]
    return [(map_, truth, measure_map_uncertainty(map_)) for map_, truth in maps]


def test_the_errors_of_estimated_poses_are_those_that_the_map_states(noisy):
    """What leaving images out shows is far too little: the others share their errors."""
    left_out = [nees(map_, truth, errors_of_left_out(map_)) for map_, truth, _ in noisy]
    stated = [nees(map_, truth, np.array(info.adjustment_covariance)) for map_, truth, info in noisy]
    assert np.mean(left_out) > 5.0
    assert {info.shared_error for _, _, info in noisy} == {1.0}
    assert 0.4 < np.mean(stated) < 1.6


def test_keypoints_that_err_apart_give_smaller_errors_than_stated():
    maps = [adjusted(seed, independent) for seed in range(2)]
    stated = [nees(*one, np.mean(list(adjustment_covariances(one[0], 1.0)), axis=0)) for one in maps]
    exact = [nees(*one, np.mean(list(adjustment_covariances(one[0], 0.0)), axis=0)) for one in maps]
    assert np.mean(stated) < 0.2
    assert 0.4 < np.mean(exact) < 1.6


def test_exact_keypoints_leave_no_error():
    found = list(adjustment_covariances(map_of(scene(0)), 1.0))
    assert found
    assert np.max(np.abs(found)) < 1e-8


def test_a_pose_has_the_error_of_the_map_around_it(noisy):
    map_, _, info = noisy[0]
    uncertainty, pose = MapUncertainty(info, map_), map_.images[0].map_from_camera
    of_map = uncertainty.of_pose(pose, OF_POSE, NOTHING, map_.points)
    np.testing.assert_allclose(of_map, turn_covariance(np.array(info.adjustment_covariance), pose.rotation))
    assert np.trace(uncertainty.of_image(pose.rotation)) >= np.trace(of_map)


def test_given_poses_are_not_moved_by_noise(noisy):
    map_, _, _ = noisy[0]
    given = replace(map_, manifest=replace(map_.manifest, scale_source="reference poses"))
    info = measure_map_uncertainty(given)
    assert len(info.adjustment_covariance) == 0
    assert not MapUncertainty(info, given).of_pose(map_.images[0].map_from_camera, OF_POSE, NOTHING, map_.points).any()


def test_poses_that_were_only_aligned_with_given_ones_are_estimates(noisy):
    manifest = replace(noisy[0][0].manifest, scale_source="reference poses")
    assert manifest.has_given_poses
    assert not replace(manifest, config={"reconstruction": {"reference": "aligned"}}).has_given_poses


@pytest.mark.parametrize("count", [1, 4])
def test_a_few_images_state_nothing(noisy, count):
    map_ = noisy[0][0]
    assert not list(adjustment_covariances(replace(map_, images=map_.images[:count]), 1.0))


@pytest.mark.parametrize("apart", [0.0, 1e-9, 1e-6])
def test_images_of_one_place_state_nothing_or_what_a_manifest_may_hold(noisy, apart):
    """Without parallax neither depths nor scale are known."""
    map_ = noisy[0][0]
    first, pose = map_.images[0], map_.images[0].map_from_camera
    moved = (SE3(pose.rotation, pose.translation + apart * np.array([row, row % 2, 0.0])) for row in range(6))
    same = tuple(replace(first, name=str(row), map_from_camera=one) for row, one in enumerate(moved))
    found = list(adjustment_covariances(replace(map_, images=same), 1.0))
    assert all(covariance_fault(one, is_part=True) is None for one in found)

"""Each view moved by the noise of its keypoints while all others stay: the errors are those that are expected."""

import numpy as np
import pycolmap

from visloc_geo.view_precision import view_precisions
from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import pose_difference

NOISE_PX, TRIALS = 1.5, 25


def synthesized():
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_frames_per_rig=5, num_points3D=120)
    pycolmap.set_random_seed(3)
    return pycolmap.synthesize_dataset(options)


def pose_of(reconstruction, image_id):
    return SE3.from_rigid3d(reconstruction.images[image_id].cam_from_world()).inverse


def with_noise(reconstruction, rng):
    noisy = pycolmap.Reconstruction(reconstruction)
    for image in noisy.images.values():
        for point in image.points2D:
            point.xy = point.xy + rng.normal(0.0, NOISE_PX, 2)
    return noisy


def adjust(reconstruction, free_id):
    """Adjust all points, and the pose of one image."""
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id, image in reconstruction.images.items():
        problem.add_image(image_id)
        problem.set_constant_cam_intrinsics(image.camera_id)
        if image_id != free_id:
            problem.set_constant_rig_from_world_pose(image.frame_id)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, problem, reconstruction).solve()


def test_the_noise_of_keypoints_moves_views_as_far_as_is_expected():
    truth, rng = synthesized(), np.random.default_rng(5)
    ratios = []
    for _ in range(TRIALS):
        for image_id in truth.images:
            noisy = with_noise(truth, rng)
            adjust(noisy, image_id)
            precision = view_precisions(noisy)[noisy.images[image_id].name]
            error = pose_difference(pose_of(truth, image_id), pose_of(noisy, image_id))
            sigmas = np.repeat([precision.position_sigma, precision.rotation_sigma_rad], 3)
            ratios.append(np.square(error / sigmas))
    # Along the least certain axis; those of keypoints that err alone are a part of those that their neighbours share.
    assert 0.02 < np.mean(ratios) < 1.0
    assert np.sqrt(np.max(ratios)) < 3.0


def test_twice_the_size_has_twice_the_uncertainty_of_positions_alone():
    reconstruction = with_noise(synthesized(), np.random.default_rng(1))
    before = view_precisions(reconstruction)
    reconstruction.transform(pycolmap.Sim3d(2.0, pycolmap.Rotation3d(), np.zeros(3)))
    for name, precision in view_precisions(reconstruction).items():
        assert np.isclose(precision.position_sigma, 2.0 * before[name].position_sigma)
        assert np.isclose(precision.rotation_sigma_rad, before[name].rotation_sigma_rad)


def test_a_view_that_too_few_points_determine_has_none():
    reconstruction = synthesized()
    name = reconstruction.images[1].name
    for row, point in list(enumerate(reconstruction.images[1].points2D)):
        if point.has_point3D() and row > 2 and sum(one.has_point3D() for one in reconstruction.images[1].points2D) > 2:
            reconstruction.delete_observation(1, row)
    found = view_precisions(reconstruction)
    assert name not in found
    assert len(found) == 4

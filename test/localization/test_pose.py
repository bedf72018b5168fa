import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project, rays, with_focal_length
from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import (
    can_focal_length_be_wrong,
    estimate_pose,
    is_by_chance,
    solve_pose,
    solve_pose_and_focal_length,
)
from visloc_ros.localization.uncertainty import (
    focal_length_step,
    pixel_by_point,
    projection_jacobian,
    reprojection_residuals,
)

PINHOLE = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525, 525, 320, 240])
DISTORTED = pycolmap.Camera(
    model="OPENCV", width=640, height=480, params=[400, 410, 315, 245, -0.28, 0.07, 0.0002, 0.00002]
)
MAP_FROM_CAMERA = SE3(rotation_matrix([0.3, -0.8, 0.2]), [1.0, -2.0, 0.5])


def visible_points(rng, camera, count):
    """Points in the map that ``MAP_FROM_CAMERA`` sees at uniform pixels, 2-8 m away, and those pixels."""
    pixels = rng.uniform([5, 5], [camera.width - 5, camera.height - 5], (count, 2))
    lines = np.column_stack((rays(camera, pixels), np.ones(count)))
    points = MAP_FROM_CAMERA @ (lines * rng.uniform(2.0, 8.0, (count, 1)))
    return project(camera, MAP_FROM_CAMERA.inverse @ points), points


def pose_error(estimate):
    """Error in the tangent of core.types: t = t_hat + d[:3], R = exp(d[3:]) R_hat."""
    rotation = rotation_vector(MAP_FROM_CAMERA.rotation @ estimate.rotation.T)
    return np.concatenate((MAP_FROM_CAMERA.translation - estimate.translation, rotation))


@pytest.mark.parametrize("camera", [PINHOLE, DISTORTED], ids=["pinhole", "distorted"])
def test_exact_points_give_the_exact_pose(camera):
    pixels, points = visible_points(np.random.default_rng(0), camera, 60)
    solution = solve_pose(pixels, points, camera)
    assert solution.map_from_camera.is_close(MAP_FROM_CAMERA, 1e-6, 1e-5)
    assert solution.num_inliers == 60


EVERY_MODEL = sorted(set(pycolmap.CameraModelId.__members__) - {"INVALID", "EQUIRECTANGULAR"})


@pytest.mark.parametrize("model", EVERY_MODEL)
@pytest.mark.parametrize("prior", [None, MAP_FROM_CAMERA], ids=["alone", "predicted"])
def test_every_camera_model_gives_a_pose_among_outliers(model, prior):
    camera = pycolmap.Camera.create_from_model_name(1, model, 400.0, 640, 480)
    rng = np.random.default_rng(0)
    pixels, points = visible_points(rng, camera, 200)
    pixels += rng.normal(0.0, 0.5, pixels.shape)
    pixels[:80] = rng.uniform([0, 0], [640, 480], (80, 2))
    solution = solve_pose(pixels, points, camera, prior=prior)
    assert solution.num_inliers >= 120
    assert np.linalg.norm(pose_error(solution.map_from_camera)[:3]) < 0.01


def test_pixels_beyond_90_degrees_do_not_keep_a_fisheye_from_being_found():
    camera = pycolmap.Camera(model="SIMPLE_RADIAL_FISHEYE", width=640, height=480, params=[150, 320, 240, 0.02])
    rng = np.random.default_rng(0)
    pixels, points = visible_points(rng, camera, 200)
    is_seen = np.isfinite(pixels).all(axis=1)
    assert 100 < is_seen.sum() < 190
    pixels[~is_seen] = rng.uniform([0, 0], [20, 480], (200 - int(is_seen.sum()), 2))
    points[~is_seen] = rng.uniform(-5.0, 5.0, (200 - int(is_seen.sum()), 3))
    solution = solve_pose(pixels, points, camera)
    assert solution.inliers[is_seen].mean() > 0.98
    assert solution.map_from_camera.is_close(MAP_FROM_CAMERA, 1e-4, 1e-2)


def test_half_outliers_leave_less_than_a_centimetre():
    """50 % outliers, below 1 cm and 0.1 deg."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pixels, points = visible_points(rng, PINHOLE, 300)
        pixels += rng.normal(0.0, 0.5, pixels.shape)
        pixels[:150] = rng.uniform([0, 0], [640, 480], (150, 2))
        solution = solve_pose(pixels, points, PINHOLE)
        error = pose_error(solution.map_from_camera)
        assert np.linalg.norm(error[:3]) < 0.01
        assert np.degrees(np.linalg.norm(error[3:])) < 0.1
        assert solution.inliers[150:].mean() > 0.99
        assert solution.inliers[:150].mean() < 0.05


@pytest.mark.parametrize("size", [(640, 480), (416, 128)])
@pytest.mark.parametrize("count", [12, 40, 300])
def test_poses_of_wrong_matches_alone_are_by_chance(count, size):
    """A hundredth of such a pose is expected for an image: of 30 images hardly one has it."""
    camera = pycolmap.Camera(
        model="PINHOLE", width=size[0], height=size[1], params=[525, 525, size[0] / 2, size[1] / 2]
    )
    solutions = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        pixels, points = visible_points(rng, camera, count)
        solutions.append(solve_pose(rng.permutation(pixels), points, camera))
    found = [solution for solution in solutions if solution is not None]
    assert len(found) >= 10  # few matches often give no pose at all
    assert sum(not solution.is_by_chance for solution in found) <= 1


@pytest.mark.parametrize(("right", "count"), [(6, 6), (7, 12), (10, 40), (25, 300)])
def test_a_right_pose_among_wrong_matches_is_not_by_chance(right, count):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pixels, points = visible_points(rng, PINHOLE, count)
        pixels[right:] = rng.permutation(pixels[right:])
        solution = solve_pose(pixels, points, PINHOLE)
        assert np.linalg.norm(pose_error(solution.map_from_camera)[:3]) < 0.1
        assert not solution.is_by_chance


def test_what_is_by_chance_depends_on_the_image():
    """As many agree in a small image by chance; a pose always agrees with the three matches that it was made of."""
    assert not is_by_chance(7, 20, PINHOLE, 8.0)
    assert is_by_chance(7, 20, pycolmap.Camera(model="PINHOLE", width=160, height=120, params=[131, 131, 80, 60]), 8.0)
    assert is_by_chance(7, 200, PINHOLE, 8.0)
    assert is_by_chance(3, 3, PINHOLE, 8.0)


def test_the_same_input_gives_the_same_pose():
    rng = np.random.default_rng(1)
    pixels, points = visible_points(rng, PINHOLE, 100)
    pixels[:60] += rng.normal(0.0, 40.0, (60, 2))
    a, b = (solve_pose(pixels, points, PINHOLE) for _ in range(2))
    np.testing.assert_array_equal(a.map_from_camera.matrix, b.map_from_camera.matrix)
    np.testing.assert_array_equal(a.covariance, b.covariance)


@pytest.mark.parametrize("camera", [PINHOLE, DISTORTED], ids=["pinhole", "distorted"])
@pytest.mark.parametrize("sigma_px", [0.5, 1.0, 2.0])
def test_the_covariance_predicts_the_errors(camera, sigma_px):
    """Mean NEES of 200 trials is chi-square with 1200 degrees of freedom over 200: 6 +- 0.5 at two sigma."""
    rng = np.random.default_rng(7)
    config = PoseConfig(min_sigma_px=0.01, max_error_px=20.0, shared_error=0.0)
    nees, raw = [], []
    for _ in range(200):
        pixels, points = visible_points(rng, camera, 80)
        solution = solve_pose(pixels + rng.normal(0.0, sigma_px, pixels.shape), points, camera, config)
        error = pose_error(solution.map_from_camera)
        nees.append(error @ np.linalg.solve(solution.covariance, error))
        raw.append(np.square(error) / np.diag(solution.covariance))
    assert 4.8 < np.mean(nees) < 7.2
    assert np.all((np.mean(raw, axis=0) > 0.7) & (np.mean(raw, axis=0) < 1.4))  # every direction by itself


def test_the_covariance_predicts_errors_that_neighbours_share():
    """Every cell of a 4x4 grid errs as one; without the correlation the errors would seem far too large."""
    rng = np.random.default_rng(5)
    nees = {0.0: [], 1.0: []}
    for _ in range(100):
        pixels, points = visible_points(rng, PINHOLE, 300)
        cell = (pixels / [160, 120]).astype(int) @ [4, 1]
        shifted = pixels + rng.normal(0.0, 1.0, (16, 2))[cell]
        for shared_error, values in nees.items():
            solution = solve_pose(shifted, points, PINHOLE, PoseConfig(min_sigma_px=0.01, shared_error=shared_error))
            error = pose_error(solution.map_from_camera)
            values.append(error @ np.linalg.solve(solution.covariance, error))
    assert 4.0 < np.mean(nees[1.0]) < 12.0
    assert np.mean(nees[0.0]) > 60.0


def test_errors_that_neighbours_share_are_kept_apart():
    pixels, points = visible_points(np.random.default_rng(2), PINHOLE, 300)
    alone, shared = (solve_pose(pixels, points, PINHOLE, PoseConfig(shared_error=share)) for share in (0.0, 1.0))
    assert not alone.shared_covariance.any()
    np.testing.assert_allclose(shared.covariance - shared.shared_covariance, alone.covariance, rtol=1e-6, atol=1e-12)


def test_the_covariance_has_a_floor():
    pixels, points = visible_points(np.random.default_rng(2), PINHOLE, 50)
    low, high = (solve_pose(pixels, points, PINHOLE, PoseConfig(min_sigma_px=sigma)).covariance for sigma in (0.5, 1.0))
    np.testing.assert_allclose(high, 4.0 * low, rtol=1e-6)
    assert np.linalg.eigvalsh(low)[0] > 0.0


@pytest.mark.parametrize("camera", [PINHOLE, DISTORTED], ids=["pinhole", "distorted"])
def test_the_jacobian_is_the_derivative_in_the_tangent_of_core_types(camera):
    _, points = visible_points(np.random.default_rng(3), camera, 5)
    jacobian = projection_jacobian(MAP_FROM_CAMERA, points, camera)
    for column in range(6):
        step = np.zeros(6)
        step[column] = 1e-6

        def moved(sign, step=step):
            d = sign * step
            pose = SE3(rotation_matrix(d[3:]) @ MAP_FROM_CAMERA.rotation, MAP_FROM_CAMERA.translation + d[:3])
            return project(camera, pose.inverse @ points).ravel()

        np.testing.assert_allclose(jacobian[:, column], (moved(1) - moved(-1)) / 2e-6, rtol=1e-4, atol=1e-3)


def test_a_wrong_focal_length_is_found():
    pixels, points = visible_points(np.random.default_rng(4), PINHOLE, 200)
    wrong = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[800, 800, 320, 240])
    solution = solve_pose_and_focal_length(pixels, points, wrong, PoseConfig())
    assert solution.focal_length == pytest.approx(525, rel=0.01)
    assert solution.num_inliers == 200
    assert wrong.mean_focal_length() == 800


@pytest.mark.parametrize("points", [np.zeros((3, 3)), np.zeros((20, 3)), np.outer(np.arange(20), [0.1, 0.0, 0.0])])
def test_degenerate_points_have_no_pose(points):
    pixels = np.random.default_rng(0).uniform([0, 0], [640, 480], (len(points), 2))
    assert solve_pose(pixels, points + np.array([0.0, 0.0, 3.0]), PINHOLE) is None


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_a_wrong_focal_length_is_doubted_before_it_is_freed(factor):
    rng = np.random.default_rng(5)
    pixels, points = visible_points(rng, PINHOLE, 300)
    pixels += rng.normal(0.0, 1.0, pixels.shape)
    wrong = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525 * factor, 525 * factor, 320, 240])
    fixed = solve_pose(pixels, points, wrong)
    assert can_focal_length_be_wrong(fixed, pixels, points, PoseConfig()) == (factor != 1.0)


@pytest.mark.parametrize("camera", [PINHOLE, DISTORTED], ids=["pinhole", "distorted"])
def test_one_step_finds_a_focal_length_that_is_little_off(camera):
    pixels, points = visible_points(np.random.default_rng(6), camera, 200)
    off = with_focal_length(camera, 1.01 * camera.mean_focal_length())
    residuals = reprojection_residuals(MAP_FROM_CAMERA, pixels, points, off)
    step = focal_length_step(MAP_FROM_CAMERA, residuals, points, off, PoseConfig())
    assert step == pytest.approx(-np.log(1.01), rel=0.02)


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_RADIAL_FISHEYE"])
def test_the_pose_alone_is_that_of_the_solution(model):
    camera = pycolmap.Camera.create_from_model_name(1, model, 400.0, 640, 480)
    rng = np.random.default_rng(0)
    pixels, points = visible_points(rng, camera, 200)
    pixels[:80] = rng.uniform([0, 0], [640, 480], (80, 2))
    pose = estimate_pose(pixels, points, camera, PoseConfig())
    assert pose.is_close(solve_pose(pixels, points, camera).map_from_camera, 1e-9, 1e-9)
    assert estimate_pose(pixels[:3], points[:3], camera, PoseConfig()) is None


def test_points_beside_the_camera_have_no_derivative():
    derivative = pixel_by_point(np.array([[0.1, 0.2, 2.0], [1.0, 0.0, 0.0], [0.1, 0.2, -2.0]]), PINHOLE)
    assert np.isfinite(derivative[0]).all()
    assert np.isnan(derivative[1:]).all()

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Reason
from visloc_ros.localization import AnchorConfig, PoseConfig, solve_pose
from visloc_ros.localization.acceptance import InlierSupport, relative_thickness, spread

CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525, 525, 320, 240])
RISK = AnchorConfig().max_risk
MAP_FROM_CAMERA = SE3(rotation_matrix([0.3, -0.8, 0.2]), [1.0, -2.0, 0.5])


def seen(low, high, depth_range, count=120):
    """Map points at random pixels of a box, at depths of a range, and those pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(low, high, (count, 2))
    rays = np.column_stack((CAMERA.cam_from_img(pixels), np.ones(count)))
    points = MAP_FROM_CAMERA @ (rays * rng.uniform(*depth_range, (count, 1)))
    return project(CAMERA, MAP_FROM_CAMERA.inverse @ points) + rng.normal(0.0, 0.3, pixels.shape), points


def supports_of(pixels, points, wrong=0.1):
    """What a pose rests on that was matched, and one around which points were searched, a share of them not found."""
    solution = solve_pose(pixels, points, CAMERA)
    assert solution.num_inliers > 100
    rng = np.random.default_rng(3)
    count = round(len(pixels) * wrong / (1 - wrong))
    with_wrong = np.concatenate((pixels, rng.uniform(0, 480, (count, 2)))), np.concatenate((points, points[:count]))
    matched = solve_pose(*with_wrong, CAMERA)
    return (
        InlierSupport.of_matches(matched, *with_wrong, 2 * len(pixels), PoseConfig()),
        InlierSupport.of_view(solution, pixels, points, 2 * len(pixels), len(pixels) + count),
    )


def faults_of(pixels, points):
    return {support.refusal(RISK) for support in supports_of(pixels, points)}


def test_points_all_over_the_image_at_all_depths_are_trusted():
    assert faults_of(*seen([5, 5], [635, 475], (2.0, 6.0))) == {None}


def test_a_picture_that_fills_part_of_the_image_is_not():
    """A poster may hang in another room, too: its pose would be perfect, and wrong."""
    assert faults_of(*seen([200, 150], [420, 330], (2.0, 2.0))) == {Reason.PLANAR_POINTS}


def test_the_same_part_of_the_image_with_depth_is():
    assert faults_of(*seen([200, 150], [420, 330], (2.0, 4.0))) == {None}


def test_a_wall_that_fills_the_image_is():
    assert faults_of(*seen([5, 5], [635, 475], (1.98, 2.02))) == {None}


def test_points_in_one_spot_are_not_whatever_their_depth():
    assert None not in faults_of(*seen([300, 200], [340, 240], (2.0, 6.0)))


@pytest.mark.parametrize("turn", [[0.0, 0.0, 0.0], [0.4, -0.7, 0.1]])
def test_flatness_is_the_thickness_over_the_distance(turn):
    rng = np.random.default_rng(1)
    board = np.column_stack((rng.uniform(-1, 1, (4000, 2)), rng.normal(0.0, 0.05, 4000)))
    points = board @ rotation_matrix(turn).T + [0.0, 0.0, 50.0]
    assert relative_thickness(points) == pytest.approx(0.05 / 50.0, rel=0.05)


def test_the_plane_of_three_points_says_nothing():
    assert relative_thickness(np.eye(3)) == np.inf


def test_spread_is_the_least_in_any_direction():
    rng = np.random.default_rng(2)
    line = rng.normal(size=(500, 1)) * [120.0, 160.0] + rng.normal(size=(500, 1)) * [-4.0, 3.0]
    centred = line + np.array([320.0, 240.0])
    assert spread(centred, CAMERA) == pytest.approx(5.0 / 800.0, rel=0.1)


def support(**numbers):
    usual = {"num_inliers": 80, "num_keypoints": 500, "num_near": 100, "num_expected": 160, "spread": 0.08}
    return InlierSupport(**(usual | {"thickness": 0.03} | numbers))


@pytest.mark.parametrize("is_searched", [False, True], ids=["matched", "searched"])
@pytest.mark.parametrize(
    "better",
    [{"num_inliers": 95}, {"num_keypoints": 300}, {"num_near": 120}, {"spread": 0.1}, {"thickness": 0.1}],
    ids=str,
)
def test_whatever_is_better_makes_a_pose_more_probable(is_searched, better):
    usual = support(is_searched=is_searched)
    assert support(is_searched=is_searched, **better).probability > usual.probability


def test_a_few_inliers_of_many_matches_are_chance():
    assert support(num_inliers=15, num_near=30).refusal(RISK) is Reason.FEW_INLIERS


def test_points_in_a_plane_are_the_reason_where_others_would_do():
    small = {"num_inliers": 150, "num_near": 158, "spread": 0.06}
    assert support(**small, thickness=0.002).refusal(RISK) is Reason.PLANAR_POINTS
    assert support(**small, thickness=0.05).refusal(RISK) is None


def test_every_pose_is_taken_at_the_risk_of_being_always_wrong():
    assert support(num_inliers=6, num_near=6, spread=0.0, thickness=0.0).refusal(1.0) is None

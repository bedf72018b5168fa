import cv2
import numpy as np
import pycolmap
import pytest

from visloc_ros.core import camera as cameras
from visloc_ros.core.errors import CalibrationError

K = np.array([[458.654, 0.0, 367.215], [0.0, 457.296, 248.375], [0.0, 0.0, 1.0]])
POINTS = np.random.default_rng(0).uniform([-1.0, -0.7, 2.0], [1.0, 0.7, 4.0], size=(50, 3))


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", [-0.283, 0.074, 0.0002, 1.8e-05]),
        ("plumb_bob", [-0.283, 0.074, 0.0002, 1.8e-05, 0.01]),
        ("rational_polynomial", [0.1, -0.05, 0.001, -0.002, 0.01, 0.02, 0.01, 0.003]),
        ("plumb_bob", [0.0] * 5),
    ],
)
def test_calibrations_project_as_opencv_does_half_a_pixel_on(model, coefficients):
    camera = cameras.camera_from_calibration(752, 480, K, model, coefficients)
    expected, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), K, np.array(coefficients))
    assert np.allclose(cameras.project(camera, POINTS), expected[:, 0] + 0.5, atol=1e-6)


@pytest.mark.parametrize("coefficients", [[0.0008, 0.031, -0.03, 0.005], [0.0, 0.0, 0.0, 0.0]])
def test_equidistant_stays_a_fisheye_even_without_coefficients(coefficients):
    camera = cameras.camera_from_calibration(848, 800, K, "equidistant", coefficients)
    expected, _ = cv2.fisheye.projectPoints(
        POINTS[:, None], np.zeros((3, 1)), np.zeros((3, 1)), K, np.array(coefficients).reshape(4, 1)
    )
    assert np.allclose(cameras.project(camera, POINTS), expected[:, 0] + 0.5, atol=1e-6)


def test_rays_undo_the_projection():
    camera = cameras.camera_from_calibration(752, 480, K, "plumb_bob", [-0.283, 0.074, 0.0002, 1.8e-05])
    pixels = cameras.project(camera, POINTS)
    assert np.allclose(cameras.rays(camera, pixels), POINTS[:, :2] / POINTS[:, 2:], atol=1e-6)


WIDE = {
    "SIMPLE_FISHEYE": [100, 320, 240],
    "SIMPLE_RADIAL_FISHEYE": [100, 320, 240, 0.02],
    "OPENCV_FISHEYE": [100, 100, 320, 240, 0.02, 0.001, 0, 0],
    "THIN_PRISM_FISHEYE": [100, 100, 320, 240, 0.02, 0.001, 0, 0, 0, 0, 0.001, 0.001],
    "FOV": [100, 100, 320, 240, 0.9],
    "SIMPLE_DIVISION": [100, 320, 240, -0.2],
    "EUCM": [100, 100, 320, 240, 0.6, 1.1],
}


@pytest.mark.parametrize("model", WIDE)
def test_what_a_lens_sees_beyond_90_degrees_has_neither_ray_nor_pixel(model):
    camera = cameras.camera_from_params(model, 640, 480, WIDE[model])
    pixels = np.array([[320.0, 240.0], [380.0, 260.0], [639.0, 479.0], [0.0, 0.0]])
    found = cameras.rays(camera, pixels)
    back = cameras.project(camera, np.column_stack([found, np.ones(4)]))
    np.testing.assert_allclose(back[:2], pixels[:2], atol=0.01)
    assert np.isnan(found[2:]).all()
    angles = np.radians([91.0, 120.0, 179.0])
    assert np.isnan(cameras.project(camera, np.column_stack([np.sin(angles), 0 * angles, np.cos(angles)]))).all()


def test_a_camera_without_a_focal_length_is_refused_by_name():
    with pytest.raises(CalibrationError, match="EQUIRECTANGULAR has no focal length"):
        cameras.camera_from_params("EQUIRECTANGULAR", 640, 480, [640, 480])


def test_points_behind_the_camera_have_no_pixel():
    camera = cameras.camera_from_calibration(752, 480, K)
    assert np.all(np.isnan(cameras.project(camera, [[0.1, 0.1, -1.0]])))


def test_binning_and_region_scale_the_matrix():
    full = cameras.camera_from_calibration(752, 480, K)
    part = cameras.crop_and_bin(full, (100, 40, 400, 300), (2, 2))
    assert (part.width, part.height) == (200, 150)
    pixels = cameras.project(full, POINTS)
    assert np.allclose(cameras.project(part, POINTS), (pixels - [100, 40]) / 2, atol=1e-9)
    assert (full.width, full.height) == (752, 480)


def test_rescaling_keeps_the_original():
    full = cameras.camera_from_calibration(752, 480, K)
    half = cameras.rescale(full, 376, 240)
    assert np.allclose(cameras.project(half, POINTS), cameras.project(full, POINTS) / 2)
    assert full.width == 752


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((640, 480, np.zeros(9)), "K is zero"),
        ((640, 480, np.full(9, np.nan)), "not finite"),
        ((0, 480, K), "0x480"),
        ((640, 480, K, "plumb_bob", [np.inf]), "coefficients"),
        ((640, 480, K, "thin_prism", [0.1]), "unknown distortion model"),
    ],
)
def test_bad_calibrations_are_refused_in_words(arguments, words):
    with pytest.raises(CalibrationError, match=words):
        cameras.camera_from_calibration(*arguments)


def test_a_calibration_of_another_size_is_refused():
    camera = cameras.camera_from_calibration(752, 480, K)
    cameras.check_image_size(camera, 752, 480)
    with pytest.raises(CalibrationError, match=r"640x480 but the calibration is for 752x480: give .*--camera FILE"):
        cameras.check_image_size(camera, 640, 480)


def test_the_guess_has_its_centre_in_the_middle():
    camera = cameras.guess_camera(640, 480)
    assert camera.mean_focal_length() == pytest.approx(768.0)
    assert (camera.principal_point_x, camera.principal_point_y) == (320.0, 240.0)


def test_coefficients_that_colmap_cannot_hold_are_refused():
    k = [400, 0, 320, 0, 400, 240, 0, 0, 1]
    with pytest.raises(CalibrationError, match="coefficients 9 and beyond"):
        cameras.camera_from_calibration(640, 480, k, "rational_polynomial", [0.1] * 12)
    camera = cameras.camera_from_calibration(640, 480, k, "rational_polynomial", [0.1] * 8 + [0.0] * 6)
    assert camera.model.name == "FULL_OPENCV"


FAMILIAR = {
    "SIMPLE_PINHOLE": [500, 330, 230],
    "PINHOLE": [500, 490, 330, 230],
    "SIMPLE_RADIAL": [500, 330, 230, -0.1],
    "OPENCV": [500, 490, 330, 230, -0.1, 0.02, 0.01, -0.02],
    "FULL_OPENCV": [500, 490, 330, 230, -0.1, 0.02, 0.01, -0.02, 0.01, 0.02, 0.03, 0.01],
    "OPENCV_FISHEYE": [500, 490, 330, 230, -0.01, 0.02, 0.01, -0.02],
    "SIMPLE_FISHEYE": [500, 330, 230],
    "FISHEYE": [500, 490, 330, 230],
    "FOV": [500, 490, 330, 230, 0.9],
    "SIMPLE_DIVISION": [500, 330, 230, -0.2],
    "DIVISION": [500, 490, 330, 230, -0.2],
    "EUCM": [500, 490, 330, 230, 0.6, 1.1],
}


@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize("model", FAMILIAR)
def test_a_turned_camera_sees_the_turned_image(model, clockwise):
    camera = pycolmap.Camera(model=model, width=640, height=480, params=FAMILIAR[model])
    turned = cameras.rotate(camera, clockwise)
    assert (turned.width, turned.height) == (480, 640)
    points = np.random.default_rng(0).uniform([-0.5, -0.4, 1.0], [0.5, 0.4, 3.0], (50, 3))
    x, y, z = points.T
    turned_points = np.column_stack([-y, x, z] if clockwise else [y, -x, z])
    column, row = cameras.project(camera, points).T
    expected = np.column_stack([480 - row, column] if clockwise else [row, 640 - column])
    np.testing.assert_allclose(cameras.project(turned, turned_points), expected, atol=1e-9)


def test_a_model_with_coefficients_of_one_direction_cannot_be_turned():
    params = [500, 500, 320, 240, *[0.01] * 8]
    assert (
        cameras.rotate(pycolmap.Camera(model="THIN_PRISM_FISHEYE", width=640, height=480, params=params), True) is None
    )


def test_another_focal_length_keeps_the_ratio_and_the_rest():
    camera = pycolmap.Camera(model="OPENCV", width=640, height=480, params=FAMILIAR["OPENCV"])
    changed = cameras.with_focal_length(camera, 990.0)
    assert changed.params.tolist() == pytest.approx([1000, 980, *FAMILIAR["OPENCV"][2:]])
    assert camera.params.tolist() == FAMILIAR["OPENCV"]

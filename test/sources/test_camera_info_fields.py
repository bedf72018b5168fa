import numpy as np
import pycolmap
import pytest
from source_data import CAMERAS, POINTS, K

from visloc_ros.core.camera import project
from visloc_ros.core.errors import CalibrationError
from visloc_ros.sources.calibration import (
    camera_from_camera_info_fields,
    camera_info_fields,
)
from visloc_ros.sources.camera_files import read_camera_file, write_camera_yaml


@pytest.mark.parametrize("model", CAMERAS)
def test_camera_info_round_trip_projects_to_the_same_pixels(model):
    camera = pycolmap.Camera(model=model, width=640, height=480, params=CAMERAS[model])
    k, d, name = camera_info_fields(camera)
    assert k[2] == camera.principal_point_x - 0.5  # the top-left pixel is (0, 0) in ROS
    back = camera_from_camera_info_fields(640, 480, k, d, name)
    np.testing.assert_allclose(project(back, POINTS), project(camera, POINTS), rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE"])
def test_camera_info_round_trip_keeps_models_that_ros_knows(model):
    camera = pycolmap.Camera(model=model, width=640, height=480, params=CAMERAS[model])
    back = camera_from_camera_info_fields(640, 480, *camera_info_fields(camera))
    assert back.model == camera.model
    np.testing.assert_allclose(back.params, camera.params, rtol=1e-15)


def test_a_model_without_a_ros_name_is_refused():
    camera = pycolmap.Camera(model="FOV", width=640, height=480, params=[400, 410, 320, 240, 0.9])
    with pytest.raises(CalibrationError, match="no distortion model for COLMAP's FOV"):
        camera_info_fields(camera)


def test_projection_agrees_with_the_definition_of_camera_info():
    """Plumb-bob without distortion: u = fx x / z + cx in ROS pixels, half a pixel more in COLMAP's."""
    camera = camera_from_camera_info_fields(640, 480, K, [0.0] * 5, "plumb_bob")
    expected = POINTS[:, :2] / POINTS[:, 2:] * [400, 410] + [320, 240]
    np.testing.assert_allclose(project(camera, POINTS), expected, atol=1e-9)


def test_region_then_binning_move_pixels_as_they_move_the_image():
    full = camera_from_camera_info_fields(640, 480, K, [-0.2, 0.03, 0, 0, 0], "plumb_bob")
    part = camera_from_camera_info_fields(640, 480, K, [-0.2, 0.03, 0, 0, 0], "plumb_bob", (2, 2), (100, 40, 400, 300))
    assert (part.width, part.height) == (200, 150)
    np.testing.assert_allclose(project(part, POINTS), (project(full, POINTS) - [100, 40]) / 2, atol=1e-9)


@pytest.mark.parametrize(
    ("width", "height", "binning"),
    [(320, 240, (1, 1)), (1280, 960, (2, 2)), (960, 720, (1, 1)), (480, 360, (1, 1))],
    ids=["of the full image", "scaled before binning", "of a smaller image", "of a larger image"],
)
def test_a_matrix_of_another_image_size_is_refused(width, height, binning):
    with pytest.raises(CalibrationError, match=r"middle of an image of about (640x480|639x480|640x479)"):
        camera_from_camera_info_fields(width, height, K, [], "plumb_bob", binning)


@pytest.mark.parametrize("k", [[400, 0, 0, 0, 400, 0, 0, 0, 1], [0.7, 0, 0.5, 0, 0.9, 0.5, 0, 0, 1]])
def test_a_principal_point_in_the_corner_is_refused(k):
    with pytest.raises(CalibrationError, match="lies in the corner of its 640x480 pixels"):
        camera_from_camera_info_fields(640, 480, k, [], "plumb_bob")


def test_a_matrix_of_a_taller_image_is_doubted(caplog):
    wide = camera_from_camera_info_fields(640, 360, K, [], "plumb_bob")  # that of 640x480, of which this may be a band
    assert wide.params.tolist() == [400, 410, 320, 240]
    assert "(320, 240) is far from the middle of its 640x360 pixels, as of an image of 640x480" in caplog.text
    assert "poses are 8 deg off" in caplog.text
    caplog.clear()
    camera_from_camera_info_fields(640, 360, K, [], "plumb_bob")
    camera_from_camera_info_fields(1242, 375, [718, 0, 607, 0, 718, 185, 0, 0, 1], [], "plumb_bob")  # KITTI's
    camera_from_camera_info_fields(640, 480, K, [], "plumb_bob", roi=(0, 0, 640, 360))
    assert caplog.text == ""


def test_a_corner_of_the_full_image_is_no_other_size():
    corner = camera_from_camera_info_fields(640, 480, K, [], "plumb_bob", roi=(0, 0, 320, 240))
    assert corner.params.tolist() == [400, 410, 320, 240]


def test_a_file_for_another_image_size_is_refused(tmp_path):
    write_camera_yaml(
        tmp_path / "camera.yaml", pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[800, 800, 640, 480])
    )
    with pytest.raises(CalibrationError, match=r"camera\.yaml: .*640x480 pixels.*middle of an image of about 1280x960"):
        read_camera_file(tmp_path / "camera.yaml")


@pytest.mark.parametrize("binning", [(0, 0), (1, 1)])
def test_no_region_and_no_binning_leave_the_camera_as_it_is(binning):
    camera = camera_from_camera_info_fields(640, 480, K, [], "", binning, (0, 0, 640, 480))
    assert (camera.width, camera.height, camera.params.tolist()) == (640, 480, [400, 410, 320, 240])


def test_zero_matrix_is_an_uncalibrated_camera():
    with pytest.raises(CalibrationError, match="calibrate the camera"):
        camera_from_camera_info_fields(640, 480, [0.0] * 9, [], "plumb_bob")

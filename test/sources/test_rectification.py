"""Which camera rectified images have: by names, by what camera_info holds, and by what the images show."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from source_data import shared_data

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.errors import CalibrationError
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.calibration import calibration_from_camera_info
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.rectification import RectificationCheck, is_rectified_by_name, without_distortion
from visloc_ros.sources.ros_images import encode_jpeg

DISTORTION = [-0.28, 0.075, 0.0006, -0.0005, 0.0]


@pytest.mark.parametrize(
    ("name", "is_rectified"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color/compressed", True),
        ("/camera/infra1/image_rect_raw", True),
        ("/zed/rgb/rect/image", True),
        ("left_rectified_optical_frame", True),
        ("/camera/image_undistorted", True),
        ("/camera/image_raw", False),
        ("/direct/image", False),
        ("/camera/image_unrect", False),
        ("/rectangle/image_raw", False),
    ],
)
def test_names_of_rectified_images(name, is_rectified):
    assert is_rectified_by_name(name) is is_rectified


def camera_info(focal_k=400.0, focal_p=350.0, distortion=DISTORTION, frame_id="camera"):
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame_id),
        width=640,
        height=480,
        distortion_model="plumb_bob",
        d=distortion,
        k=[focal_k, 0.0, 320.0, 0.0, focal_k, 240.0, 0.0, 0.0, 1.0],
        p=[focal_p, 0.0, 320.0, -30.0, 0.0, focal_p, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    )


@pytest.mark.parametrize(
    ("info", "topic", "focal", "model"),
    [
        (camera_info(), "/camera/image_raw", 400.0, "OPENCV"),
        (camera_info(), "/camera/image_rect", 350.0, "PINHOLE"),
        (camera_info(frame_id="camera_rect"), "/camera/image", 350.0, "PINHOLE"),
        (camera_info(focal_k=0.0), "/camera/image", 350.0, "PINHOLE"),
        (camera_info(focal_p=0.0, distortion=[]), "/camera/image_rect", 400.0, "PINHOLE"),
    ],
)
def test_camera_info_holds_two_cameras(info, topic, focal, model):
    calibration = calibration_from_camera_info(info, topic)
    assert (calibration.camera.model.name, calibration.camera.mean_focal_length()) == (model, focal)


def test_rectified_images_without_their_camera_are_refused():
    with pytest.raises(CalibrationError, match="P of their camera_info"):
        calibration_from_camera_info(camera_info(focal_p=0.0), "/camera/image_rect")
    assert calibration_from_camera_info(camera_info(focal_k=0.0, focal_p=0.0), "/camera/image_rect") is None


@pytest.fixture(scope="module")
def recording():
    """Simulated images of a lens with strong distortion, and the same ones rectified; what the lens is."""
    simulation = simulate(SimulationConfig(lens="strong", duration_s=3.0, rate_hz=10.0))
    frames = list(simulation)
    fx, fy, cx, cy, *distortion = simulation.camera.params
    k = np.array([[fx, 0, cx - HALF_PIXEL], [0, fy, cy - HALF_PIXEL], [0, 0, 1]])
    rectified = [replace(frame, image=cv2.undistort(frame.image, k, np.array(distortion))) for frame in frames]
    return frames, rectified, simulation.camera


def contradiction(frames, calibration):
    check = RectificationCheck(calibration)
    for frame in frames:
        check.add(frame.with_calibration(calibration))
    return check.contradiction


def test_images_show_whether_they_are_rectified(recording):
    frames, rectified, camera = recording
    original = CameraCalibration(camera, CalibrationSource.GIVEN)
    pinhole = CameraCalibration(without_distortion(camera), CalibrationSource.RECORDED, alternative=camera)
    assert contradiction(frames, original) == ""
    assert "rectified" in contradiction(rectified, original)
    assert contradiction(rectified, pinhole) == ""
    assert "not rectified" in contradiction(frames, pinhole)


def test_guessed_cameras_are_not_contradicted(recording):
    _, rectified, camera = recording
    assert contradiction(rectified, CameraCalibration(camera, CalibrationSource.GUESSED, 0.3)) == ""


def write_bag(path, topic, frames, camera):
    with BagWriter(path) as writer:
        writer.write_camera_info("/camera/camera_info", 1, "camera", camera)
        for frame in frames:
            writer.write_compressed_image(f"{topic}/compressed", frame.stamp_ns + 1, "camera", encode_jpeg(frame.image))
    return path


def test_rectified_images_in_a_bag(tmp_path, recording):
    _, rectified, camera = recording
    named = open_source(write_bag(tmp_path / "named", "/camera/image_rect", rectified, camera))
    assert (named.camera.model.name, len(list(named))) == ("PINHOLE", len(rectified))
    misnamed = write_bag(tmp_path / "misnamed", "/camera/image", rectified, camera)
    with pytest.raises(CalibrationError, match=r"seem to be rectified.*--rectified for a bag"):
        list(open_source(misnamed))
    told = open_source(misnamed, SourceConfig(rectified=True))
    assert (told.camera.model.name, len(list(told))) == ("PINHOLE", len(rectified))


def test_rectified_images_in_a_folder_with_the_raw_cameras_calibration(tmp_path, recording):
    _, rectified, camera = recording
    for frame in rectified:
        (tmp_path / f"{frame.stamp_ns + 1_000_000_000_000_000_000}.jpg").write_bytes(encode_jpeg(frame.image))
    write_camera_yaml(tmp_path / "camera.yaml", camera)
    with pytest.raises(CalibrationError, match="seem to be rectified") as refused:
        list(open_source(tmp_path))
    assert "camera_info" not in str(refused.value)


def test_real_images_agree_with_their_calibration():
    source = open_source(shared_data("euroc_mh05"), SourceConfig(last=199))
    assert len(list(source)) == 200

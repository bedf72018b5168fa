import json

import numpy as np
import pycolmap
import pytest
import yaml
from source_data import CAMERAS, POINTS, K, shared_data

from visloc_ros.core.camera import project
from visloc_ros.core.errors import CalibrationError
from visloc_ros.sources.camera_files import read_camera_file, write_camera_yaml

EUROC = [458.654, 457.296, 367.715, 248.875, -0.28340811, 0.07395907, 0.00019359, 1.76187114e-05]
KALIBR = "{resolution: [640, 480], intrinsics: [400, 410, 319.5, 239.5], "
ROS = f"{{image_width: 640, image_height: 480, camera_matrix: {{data: {K}}}, "
ORB_SLAM = (
    "Camera.type: PinHole\nCamera.width: 640\nCamera.height: 480\n"
    "Camera1.fx: 400.\nCamera1.fy: 410.\nCamera1.cx: 319.5\nCamera1.cy: 239.5\n"
    "Camera1.k1: -0.28\nCamera1.k2: 0.07\nCamera1.p1: 0.0002\nCamera1.p2: 0.00002\n"
)
VINS = (
    "model_type: PINHOLE\nimage_width: 640\nimage_height: 480\n"
    "projection_parameters: {fx: 400., fy: 410., cx: 319.5, cy: 239.5}\n"
    "distortion_parameters: {k1: -0.28, k2: 0.07, p1: 0.0002, p2: 0.00002}\n"
)
KANNALA_BRANDT = (
    "model_type: KANNALA_BRANDT\nimage_width: 640\nimage_height: 480\n"
    "projection_parameters: {mu: 400., mv: 410., u0: 321., v0: 238.5, k2: 0.0008, k3: 0.031, k4: -0.03, k5: 0.005}\n"
)
OPENCV_XML = (
    "<?xml version='1.0'?><opencv_storage><image_Width>640</image_Width><image_Height>480</image_Height>"
    f"<Camera_Matrix type_id='opencv-matrix'><data>{' '.join(map(str, K))}</data></Camera_Matrix>"
    "<Distortion_Coefficients><data>-0.28 0.07 0.0002 0.00002 0.</data></Distortion_Coefficients></opencv_storage>"
)
NERFSTUDIO = {
    "camera_model": "OPENCV",
    "w": 640,
    "h": 480,
    "fl_x": 400,
    "fl_y": 410,
    "cx": 320,
    "cy": 240,
    "frames": [],
}
BASALT = {"fx": 400, "fy": 410, "cx": 319.5, "cy": 239.5}
RADTAN = {"k1": -0.28, "k2": 0.07, "p1": 0.0002, "p2": 0.00002}
OPENCV = [400, 410, 320, 240, -0.28, 0.07, 0.0002, 0.00002]


def basalt(kind: str, **others: float) -> str:
    camera = {"camera_type": kind, "intrinsics": BASALT | others}
    return json.dumps({"value0": {"intrinsics": [camera], "resolution": [[640, 480]]}})


@pytest.mark.parametrize("model", CAMERAS)
def test_written_camera_reads_back_exactly(model, tmp_path):
    camera = pycolmap.Camera(model=model, width=640, height=480, params=CAMERAS[model])
    write_camera_yaml(tmp_path / "camera.yaml", camera)
    back = read_camera_file(tmp_path / "camera.yaml")
    assert (back.model, back.width, back.height) == (camera.model, 640, 480)
    assert back.params.tolist() == camera.params.tolist()


def test_euroc_sensor_file_is_shifted_by_half_a_pixel():
    camera = read_camera_file(shared_data("euroc_mh05") / "cam0_sensor.yaml")
    assert camera.model.name == "OPENCV"
    assert (camera.width, camera.height) == (752, 480)
    expected = [458.654, 457.296, 367.715, 248.875, -0.28340811, 0.07395907, 0.00019359, 1.76187114e-05]
    np.testing.assert_allclose(camera.params, expected, rtol=1e-12)


@pytest.mark.parametrize("yaml_header", ["", "%YAML:1.0\n"])
def test_ros_calibration_file(tmp_path, yaml_header):
    values = {
        "image_width": 640,
        "image_height": 480,
        "camera_matrix": {"rows": 3, "cols": 3, "data": K},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [-0.2, 0.03, 0.001, 0.002, 0.0]},
    }
    path = tmp_path / "head_camera.yaml"
    path.write_text(yaml_header + yaml.safe_dump(values))
    camera = read_camera_file(path)
    assert camera.model.name == "OPENCV"
    np.testing.assert_allclose(camera.params, [400, 410, 320, 240, -0.2, 0.03, 0.001, 0.002])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{model: PINHOLE, width: 640, params: [1, 1, 1, 1]}", "lacks 'height'"),
        ("{model: PINHOLLE, width: 640, height: 480, params: [1, 1, 1, 1]}", "no camera model 'PINHOLLE'"),
        ("{model: PINHOLE, width: 640, height: 480, params: [400, 400, 320]}", "does not take the 3 parameters"),
        ("{model: PINHOLE, width: 640, height: 480, params: [400, .nan, 320, 240]}", "does not take the 4 parameters"),
        ("{model: PINHOLE, width: 0, height: 480, params: [400, 400, 320, 240]}", "not positive"),
        ("{model: PINHOLE, width: 640, height: 480, params: [-4, 400, 320, 240]}", "not positive"),
        ("{model: PINHOLE, width: 640, height: 480, params: [a, b, c, d]}", "malformed"),
        ("{resolution: [752, 480], intrinsics: [1, 2, 3], distortion_model: none, distortion_coeffs: []}", "malformed"),
        (
            "{resolution: [752, 480], intrinsics: [1, 2, 3, 4]}",
            "EuRoC .* 'distortion_model'",
        ),
        (
            "{camera_model: omni, resolution: [7, 4], intrinsics: [1], distortion_model: none, distortion_coeffs: []}",
            "'omni'",
        ),
        (
            "{image_width: 640, image_height: 480, camera_matrix: {data: [0, 0, 0, 0, 0, 0, 0, 0, 0]}, "
            "distortion_coefficients: {data: [0, 0, 0, 0]}}",
            "K is zero",
        ),
        ("{rate: 30}", "not a camera calibration"),
        ("- 1\n- 2\n", "'key: value' lines"),
        ("{unclosed: [", "cannot read"),
    ],
)
def test_broken_calibration_files_name_the_file_and_the_fault(tmp_path, text, message):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=message) as caught:
        read_camera_file(path)
    assert str(path) in str(caught.value)


def test_missing_calibration_file(tmp_path):
    with pytest.raises(CalibrationError, match="cannot read"):
        read_camera_file(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["kalibr_cam0.yaml", "camchain.yaml", "opencv_storage.yml"])
def test_calibrations_of_other_programs_keep_their_distortion(name):
    camera = read_camera_file(shared_data("cases/calibrations") / name)
    assert (camera.model.name, camera.width, camera.height) == ("OPENCV", 752, 480)
    np.testing.assert_allclose(camera.params, EUROC, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "model", "params"),
    [
        ("orb.yaml", ORB_SLAM, "OPENCV", OPENCV),
        ("orb2.yaml", "%YAML:1.0\n---\n" + ORB_SLAM.replace("Camera1.", "Camera."), "OPENCV", OPENCV),
        ("vins.yaml", VINS, "OPENCV", OPENCV),
        ("kb.yaml", KANNALA_BRANDT, "OPENCV_FISHEYE", [400, 410, 321.5, 239, 0.0008, 0.031, -0.03, 0.005]),
        ("opencv.xml", OPENCV_XML, "OPENCV", OPENCV),
        ("transforms.json", json.dumps(NERFSTUDIO | RADTAN), "OPENCV", OPENCV),
        ("basalt.json", basalt("kb4", k1=0.1, k2=0, k3=0, k4=0.2), "OPENCV_FISHEYE", [*OPENCV[:4], 0.1, 0, 0, 0.2]),
        ("eucm.json", basalt("eucm", alpha=0.6, beta=1.1), "EUCM", [*OPENCV[:4], 0.6, 1.1]),
        ("fov.yaml", KALIBR + "distortion_model: fov, distortion_coeffs: [0.9]}", "FOV", [*OPENCV[:4], 0.9]),
        ("none.yaml", KALIBR + "distortion_model: none, distortion_coeffs: []}", "PINHOLE", OPENCV[:4]),
        ("cameras.txt", "# list\n 1 PINHOLE 640 480 400 410 320 240\n", "PINHOLE", OPENCV[:4]),
        ("ros.yaml", "\ufeff" + ROS + "distortion_coefficients: {data: [0, 0, 0, 0]}}", "PINHOLE", OPENCV[:4]),
    ],
)
def test_formats_of_other_programs(tmp_path, name, text, model, params):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    camera = read_camera_file(path)
    assert (camera.model.name, camera.width, camera.height) == (model, 640, 480)
    np.testing.assert_allclose(camera.params, params, rtol=1e-12)


def test_an_extended_unified_camera_projects_as_kalibr_defines_it(tmp_path):
    path = tmp_path / "eucm.yaml"
    text = KALIBR + "camera_model: eucm, distortion_model: none, distortion_coeffs: []}"
    path.write_text(text.replace("[400,", "[0.6, 1.1, 400,"))
    x, y, z = POINTS.T
    depth = 0.6 * np.sqrt(1.1 * (x**2 + y**2) + z**2) + 0.4 * z
    expected = np.column_stack((400 * x / depth + 320, 410 * y / depth + 240))
    np.testing.assert_allclose(project(read_camera_file(path), POINTS), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", ROS + "distortion_coeffs: {data: [-0.2, 0, 0, 0, 0]}}", "but has 'distortion_coeffs': rename"),
        ("a.yaml", ROS + "distortion_model: plumb_bob}", "without distortion, write zeros"),
        (
            "a.yaml",
            ROS + "distortion_coefficients: {data: [-0.2, 0, 0, 0]}}",
            "with plumb_bob or fisheye",
        ),
        (
            "a.yaml",
            KALIBR + "distortion_model: radtan, distortion: [-0.2, 0, 0, 0]}",
            "lacks 'distortion_coefficients'",
        ),
        ("a.yaml", KALIBR + "distortion_model: equidistant, distortion_coeffs: []}", "0 coefficients are too few"),
        ("a.yaml", "{cam0: {intrinsics: []}, cam1: {intrinsics: []}}", r"has 2 \(cam0, cam1\): give a file with one"),
        ("a.yaml", ORB_SLAM.replace("Camera1.k1", "Camera1.K1"), "unknown coefficient 'Camera1.K1'"),
        ("a.yaml", ORB_SLAM.replace("Camera1.k1: -0.28", ""), "of ORB-SLAM it lacks 'Camera1.k1'"),
        ("a.yaml", ORB_SLAM.replace("Camera.width: 640", ""), "of ORB-SLAM it lacks 'Camera.width'"),
        ("a.yaml", VINS.replace("k2", "K2"), "of VINS it lacks 'k2'"),
        ("a.yaml", VINS.replace("PINHOLE", "MEI"), "no model for model_type 'MEI'"),
        ("a.json", basalt("ds"), "no model for basalt's 'ds'"),
        ("a.json", json.dumps(NERFSTUDIO), "of nerfstudio it lacks 'k1'"),
        ("a.json", json.dumps(NERFSTUDIO | RADTAN | {"k3": 0.1}), "no place for k3"),
        ("a.json", '{"camera_angle_x": 0.7, "frames": []}', "of nerfstudio it lacks 'fl_x'"),
        ("a.json", "[1]", "'key: value' lines"),
        ("a.json", "{", "malformed"),
        ("a.json", "[" * 100_000, "malformed"),
        ("a.xml", "<calibration><f>4000</f></calibration>", "XML of Metashape, RealityCapture"),
        ("a.xml", "<opencv_storage>", "the XML is broken"),
        ("calibration.txt", "400.5 410.5 320 240\n", "ETH3D's calibration.txt, have no image size"),
        ("cameras.txt", "1 PINHOLE 9 9 9 9 9 9\n2 PINHOLE 9 9 9 9 9 9\n", "one camera is needed, the file has 2"),
    ],
)
def test_what_a_calibration_lacks_is_named_and_never_means_no_distortion(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(CalibrationError, match=message) as caught:
        read_camera_file(path)
    assert str(path) in str(caught.value)


def test_a_misspelt_key_of_the_data_is_named():
    with pytest.raises(CalibrationError, match="has 'distortion_coeffs': rename it"):
        read_camera_file(shared_data("cases/calibrations") / "ros_misspelt.yaml")

"""Rigs read from this package's YAML, Kalibr's chain and COLMAP's file, each with exactly known places."""

import json
import logging

import numpy as np
import pycolmap
import pytest
import yaml

from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.sources.camera_files import read_given_calibration, write_camera_yaml
from visloc_ros.sources.rig_files import read_rig_file, write_rig_config, write_rig_yaml

LEFT = SE3.from_rotation_vector([0.1, 1.2, -0.3], [0.1, -0.2, 0.3])
IMU = SE3.from_rotation_vector([1.0, 0.2, -0.1], [0.02, 0.01, -0.05])
CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 501.0, 320.5, 240.5])
KALIBR = {
    "camera_model": "pinhole",
    "intrinsics": [500.0, 501.0, 320.0, 240.0],
    "distortion_model": "radtan",
    "distortion_coeffs": [0.0, 0.0, 0.0, 0.0],
    "resolution": [640, 480],
}


def written(folder, values, name="rig.yaml"):
    path = folder / name
    path.write_text(json.dumps(values) if path.suffix == ".json" else yaml.safe_dump(values), encoding="utf-8")
    return path


def test_places_are_read_as_a_matrix_and_by_both_orders_of_a_quaternion(tmp_path):
    write_camera_yaml(tmp_path / "front.yaml", CAMERA)
    w, x, y, z = LEFT.quaternion.tolist()
    by_wxyz = {"translation": LEFT.translation.tolist(), "quaternion_wxyz": [w, x, y, z]}
    by_xyzw = {"translation": LEFT.translation.tolist(), "quaternion_xyzw": [x, y, z, w]}
    cameras = {
        "front": {"rig_from_camera": np.eye(4).tolist(), "camera": "front.yaml"},
        "a": {"rig_from_camera": LEFT.matrix.tolist()},
        "b": {"rig_from_camera": by_wxyz},
        "c": {"rig_from_camera": by_xyzw, "camera": KALIBR},
    }
    rig = read_rig_file(written(tmp_path, {"cameras": cameras}))
    assert set(rig.names) == set(cameras)
    for name in "abc":
        assert rig.rig_from_camera(name).is_close(LEFT, 1e-9, 1e-6)
    for name in ("front", "c"):
        assert np.allclose(rig.cameras[name].camera.params[:4], CAMERA.params)
    assert rig.cameras["a"].camera is None


def test_a_written_rig_is_read_back(tmp_path):
    cameras = {"left": {"rig_from_camera": LEFT.matrix.tolist(), "camera": KALIBR}}
    rig = read_rig_file(written(tmp_path, {"cameras": cameras}))
    write_rig_yaml(tmp_path / "again.yaml", rig)
    again = read_rig_file(tmp_path / "again.yaml")
    assert again.names == rig.names
    assert again.rig_from_camera("left").is_close(LEFT, 1e-12, 1e-9)
    assert np.array_equal(again.cameras["left"].camera.params, rig.cameras["left"].camera.params)


def test_the_first_camera_is_the_reference_whatever_its_name(tmp_path):
    path = tmp_path / "rig.yaml"
    place = np.eye(4).tolist()
    path.write_text(f"cameras:\n  z: {{rig_from_camera: {place}}}\n  a: {{rig_from_camera: {place}}}\n")
    assert read_rig_file(path).reference == "z"


def test_kalibr_chains_lead_to_the_imu_or_to_the_first_camera(tmp_path):
    left_from_front = LEFT.inverse
    chain = {"cam0": KALIBR, "cam1": KALIBR | {"T_cn_cnm1": left_from_front.matrix.tolist()}}
    rig = read_rig_file(written(tmp_path, chain))
    assert rig.rig_from_camera("cam0").is_close(SE3.identity())
    assert rig.rig_from_camera("cam1").is_close(LEFT, 1e-9, 1e-6)
    third = {"cam2": KALIBR | {"T_cn_cnm1": left_from_front.matrix.tolist()}}
    assert read_rig_file(written(tmp_path, chain | third)).rig_from_camera("cam2").is_close(LEFT @ LEFT, 1e-9, 1e-6)
    with_imu = {name: one | {"T_cam_imu": IMU.matrix.tolist()} for name, one in chain.items()}
    assert read_rig_file(written(tmp_path, with_imu)).rig_from_camera("cam1").is_close(IMU.inverse, 1e-9, 1e-6)


def test_chains_of_openvins_give_the_place_in_the_imu_and_time_shifts(tmp_path):
    chain = {
        "cam0": KALIBR | {"T_imu_cam": IMU.inverse.matrix.tolist(), "timeshift_cam_imu": -0.0125},
        "cam1": KALIBR | {"T_cam_imu": (LEFT.inverse @ IMU).matrix.tolist(), "timeshift_cam_imu": 2},
    }
    path = written(tmp_path, chain)
    path.write_text("%YAML:1.0\n" + path.read_text())
    rig = read_rig_file(path)
    assert rig.rig_from_camera("cam0").is_close(IMU.inverse, 1e-9, 1e-6)
    assert rig.rig_from_camera("cam1").is_close(IMU.inverse @ LEFT, 1e-9, 1e-6)
    assert [rig.cameras[name].time_shift_s for name in rig.names] == [-0.0125, 2.0]
    both = chain["cam0"] | {"T_cam_imu": IMU.matrix.tolist()}
    assert read_rig_file(written(tmp_path, {"cam0": both})).rig_from_camera("cam0").is_close(IMU.inverse, 1e-9, 1e-6)
    with pytest.raises(CalibrationError, match=r"camera 'cam0'.*T_imu_cam' contradict"):
        read_rig_file(written(tmp_path, {"cam0": both | {"T_cam_imu": IMU.inverse.matrix.tolist()}}))


def test_the_time_shift_of_a_camera_is_read_from_its_file_and_written_again(tmp_path):
    shifted = written(tmp_path, {"cam0": KALIBR | {"timeshift_cam_imu": 0.25}}, "front.yaml")
    place = {"rig_from_camera": np.eye(4).tolist()}
    cameras = {
        "of_file": place | {"camera": shifted.name},
        "inside": place | {"camera": KALIBR | {"timeshift_cam_imu": 0.5}},
        "said": place | {"camera": shifted.name, "timeshift_cam_imu": -0.03},
    }
    write_rig_yaml(tmp_path / "again.yaml", read_rig_file(written(tmp_path, {"cameras": cameras})))
    again = read_rig_file(tmp_path / "again.yaml")
    assert {name: camera.time_shift_s for name, camera in again.cameras.items()} == {
        "of_file": 0.25,
        "inside": 0.5,
        "said": -0.03,
    }


def test_a_time_shift_that_a_single_camera_does_not_use_is_said(tmp_path, caplog):
    path = written(tmp_path, KALIBR | {"timeshift_cam_imu": 0.25}, "front.yaml")
    with caplog.at_level(logging.WARNING):
        assert read_given_calibration(str(path)).camera.width == 640
    assert "timeshift_cam_imu of 0.25 s" in caplog.text


def test_intrinsics_of_rig_config_are_read_without_a_size(tmp_path):
    colmap = {"image_prefix": "a/", "camera_model_name": "PINHOLE", "camera_params": [500, 501.0, 320.5, 240.5]}
    camera = read_rig_file(written(tmp_path, [{"cameras": [colmap | {"ref_sensor": True}]}], "rig.json")).cameras["a"]
    assert (camera.camera.model.name, camera.camera.width, camera.camera.height) == ("PINHOLE", 0, 0)
    assert np.array_equal(camera.camera.params, CAMERA.params)
    for wrong, words in (
        ({"camera_params": [1.0]}, "does not take"),
        ({"camera_params": ["far"]}, "numbers"),
        ({"camera_params": None}, "go together"),
        ({"camera_model_name": "LENS"}, "no camera model 'LENS'"),
    ):
        with pytest.raises(CalibrationError, match=f"camera 'a'.*{words}"):
            read_rig_file(written(tmp_path, [{"cameras": [colmap | {"ref_sensor": True} | wrong]}], "rig.json"))


def test_rig_config_of_colmap_is_read_as_colmap_reads_it(tmp_path):
    camera_from_rig = LEFT.inverse
    cameras = [
        {
            "image_prefix": "rig1/left/",
            "cam_from_rig_rotation": camera_from_rig.quaternion.tolist(),
            "cam_from_rig_translation": camera_from_rig.translation.tolist(),
        },
        {"image_prefix": "rig1/front/", "ref_sensor": True},
    ]
    path = written(tmp_path, [{"cameras": cameras}], "rig_config.json")
    rig = read_rig_file(path)
    assert rig.names == ("front", "left")
    of_colmap = pycolmap.read_rig_config(path)[0].cameras[0].cam_from_rig
    assert rig.rig_from_camera("left").is_close(SE3.from_rigid3d(of_colmap).inverse, 1e-9, 1e-6)


def test_a_rig_is_written_as_colmap_reads_it(tmp_path):
    rig = Rig({"front": RigCamera(IMU, CAMERA), "left": RigCamera(IMU @ LEFT)})
    write_rig_config(tmp_path / "rig_config.json", rig)
    front, left = pycolmap.read_rig_config(tmp_path / "rig_config.json")[0].cameras
    assert front.ref_sensor
    assert front.camera.params.tolist() == CAMERA.params.tolist()
    assert left.image_prefix == "left/"
    assert SE3.from_rigid3d(left.cam_from_rig).inverse.is_close(LEFT, 1e-9, 1e-6)
    assert read_rig_file(tmp_path / "rig_config.json").rig_from_camera("left").is_close(LEFT, 1e-9, 1e-6)


SCALED, MIRRORED, TRANSPOSED = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([1.0, 1.0, -1.0, 1.0]), LEFT.matrix.T


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (SCALED.tolist(), "no rotation"),
        (MIRRORED.tolist(), "mirrors"),
        (TRANSPOSED.tolist(), "not transposed"),
        ([1.0, 2.0], "4x4 matrix"),
        ("here", "4x4 matrix"),
        ({"translation": [0, 0, 0]}, "quaternion_wxyz"),
        ({"translation": [0, 0, 0], "quaternion": [1, 0, 0, 0]}, "unknown key 'quaternion'"),
        ({"translation": [0, 0, 0], "quaternion_wxyz": [1, 1, 0, 0]}, "length 1"),
        ({"translation": [0, 0], "quaternion_wxyz": [1, 0, 0, 0]}, "three numbers"),
        ({"translation": [0, 0, 0], "quaternion_xyzw": [1, 0, 0]}, "four numbers"),
        ({"translation": [0, 0, float("nan")], "quaternion_wxyz": [1, 0, 0, 0]}, "three numbers"),
    ],
)
def test_a_wrong_place_is_refused_by_the_name_of_its_camera(tmp_path, place, words):
    path = written(tmp_path, {"cameras": {"left": {"rig_from_camera": place}}})
    with pytest.raises(CalibrationError, match=f"camera 'left'.*{words}"):
        read_rig_file(path)


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"cameras": {}}, "rig.yaml", "at least one camera"),
        ({"camera": {}}, "rig.yaml", "not a rig"),
        ({"cameras": {"left": [1]}}, "rig.yaml", "camera 'left'"),
        ({"cameras": {"left": {"camera": "left.yaml"}}}, "rig.yaml", "lacks 'rig_from_camera'"),
        ({"cameras": {"left": {"rig_from_camera": np.eye(4).tolist(), "camera": "no.yaml"}}}, "rig.yaml", "no.yaml"),
        ({"cam0": KALIBR, "cam1": KALIBR}, "camchain.yaml", "camera 'cam1'.*T_cn_cnm1"),
        ({"cam0": KALIBR | {"timeshift_cam_imu": "late"}}, "camchain.yaml", "camera 'cam0'.*number of seconds"),
        ({"cam0": KALIBR | {"timeshift_cam_imu": float("nan")}}, "camchain.yaml", "camera 'cam0'.*number of seconds"),
        ({"cam0": KALIBR | {"timeshift_cam_imu": 10**400}}, "camchain.yaml", "camera 'cam0'.*number of seconds"),
        ({"cameras": []}, "rig_config.json", "list of rigs"),
        ([{"cameras": []}, {"cameras": []}], "rig_config.json", "one rig"),
        ([{"cameras": [{"image_prefix": "a/"}]}], "rig_config.json", "ref_sensor"),
        (
            [{"cameras": [{"image_prefix": "a/", "ref_sensor": True}, {"image_prefix": "b/"}]}],
            "rig_config.json",
            "camera 'b'.*cam_from_rig_rotation",
        ),
        (
            [{"cameras": [{"image_prefix": "a/x/", "ref_sensor": True}, {"image_prefix": "b/x/"}]}],
            "rig_config.json",
            "end with 'x'",
        ),
    ],
)
def test_a_file_that_is_no_rig_says_what_it_lacks(tmp_path, values, name, words):
    with pytest.raises(CalibrationError, match=words):
        read_rig_file(written(tmp_path, values, name))


def test_a_camera_that_the_rig_lacks_is_named():
    with pytest.raises(CalibrationError, match=r"no camera 'right', only left"):
        Rig({"left": RigCamera(LEFT)}).rig_from_camera("right")

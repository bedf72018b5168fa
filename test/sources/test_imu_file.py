"""The IMU of EuRoC folders: axes, stamps, and files that are broken."""

import numpy as np
import pytest
from source_data import shared_data, write_images

from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.sources import open_source
from visloc_ros.sources.measurements import measurements_of

SENSOR = """
T_BS:
  data: [{rotation}]
resolution: [64, 48]
camera_model: pinhole
intrinsics: [60.0, 60.0, 31.5, 23.5]
"""
LEVEL = "1, 0, 0, 0.1, 0, 1, 0, 0.2, 0, 0, 1, 0.3, 0, 0, 0, 1"
CAMERA = "0, 0, 1, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1"  # body_from_camera: z forward, y down
HEADER = "#timestamp [ns],w_x,w_y,w_z,a_x,a_y,a_z\n"
STAMP = 1403638538577829376


def write_recording(root, samples, released=False, imu=LEVEL):
    camera = root / "mav0" / "cam0" / "data" if released else root / "cam0"
    write_images(camera, [f"{STAMP}.png", f"{STAMP + 50_000_000}.png"])
    sensor = root / "mav0" / "imu0" / "sensor.yaml" if released else root / "imu0_sensor.yaml"
    csv = sensor.with_name("data.csv") if released else root / "imu0.csv"
    sensor.parent.mkdir(exist_ok=True)
    sensor.write_text(SENSOR.format(rotation=imu))
    camera_sensor = camera.parent / "sensor.yaml" if released else root / "cam0_sensor.yaml"
    camera_sensor.write_text(SENSOR.format(rotation=CAMERA))
    csv.write_text(HEADER + "\n".join(samples) + "\n")
    return open_source(root)


@pytest.mark.parametrize("released", [False, True])
def test_what_it_shows_is_turned_to_the_cameras_axes(tmp_path, released):
    source = write_recording(tmp_path, [f"{STAMP},0.1,0.2,0.3,1,2,9.8", f"{STAMP + 5},0,0,0,0,0,9.8"], released)
    accelerations, rates = measurements_of(source).accelerations, measurements_of(source).angular_rates
    assert accelerations.stamps_ns.tolist() == [STAMP, STAMP + 5]
    assert np.allclose(accelerations.in_camera, [[-2, -9.8, 1], [0, -9.8, 0]])
    assert rates.stamps_ns.tolist() == [STAMP, STAMP + 5]
    assert np.allclose(rates.in_camera, [[-0.2, -0.3, 0.1], [0, 0, 0]])


def test_a_recording_without_imu_has_none(tmp_path):
    write_recording(tmp_path, [f"{STAMP},0,0,0,1,2,9.8"])
    (tmp_path / "imu0.csv").unlink()
    assert measurements_of(open_source(tmp_path)).accelerations is None


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ([f"{STAMP},0,0,0,1,2"], r"imu0\.csv:2: expected a stamp"),
        ([f"{STAMP},0,0,0,1,2,nan"], r"imu0\.csv:2: expected a stamp"),
        ([f"{STAMP},0,0,0,1,2,up"], r"imu0\.csv:2: not a number"),
        (["now,0,0,0,1,2,3"], r"imu0\.csv:2: not a number"),
        ([f"{STAMP},0,0,0,1,2,3", f"{STAMP},0,0,0,1,2,3"], "do not increase"),
        ([], "holds no IMU samples"),
    ],
)
def test_broken_samples_are_named(tmp_path, samples, complaint):
    source = write_recording(tmp_path, samples)
    with pytest.raises(SourceError, match=complaint):
        measurements_of(source)


def test_an_imu_whose_place_is_not_known_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match=r"imu0_sensor\.yaml has no valid T_BS"):
        write_recording(tmp_path, [f"{STAMP},0,0,0,1,2,3"], imu="1, 2, 3")


def test_a_real_imu_at_rest_shows_gravity_upwards():
    source = open_source(shared_data("euroc_v101_still"))
    accelerations = measurements_of(source).accelerations
    assert len(accelerations.stamps_ns) == len(accelerations.in_camera) > 350
    world_from_camera = source.ground_truth.poses[0].rotation
    up = world_from_camera @ accelerations.in_camera.mean(axis=0)
    assert np.linalg.norm(up) == pytest.approx(9.81, abs=0.2)
    assert np.degrees(np.arccos(up[2] / np.linalg.norm(up))) < 1.0

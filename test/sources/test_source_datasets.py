"""The datasets' own layouts: on the real data where they are, and on small folders laid out alike."""

import shutil

import numpy as np
import pytest
from source_data import encode, shared_data, truncate, write_images

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.errors import CalibrationError, ConfigError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import write_tum
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml

SENSOR_YAML = """
sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, 0.1, 1.0, 0.0, 0.0, 0.2, 0.0, 0.0, 1.0, 0.3, 0.0, 0.0, 0.0, 1.0]
resolution: [64, 48]
camera_model: pinhole
intrinsics: [60.0, 61.0, 31.5, 23.5]
distortion_model: radial-tangential
distortion_coefficients: [-0.28, 0.07, 0.0002, 0.00002]
"""
BODY_FROM_CAMERA = SE3([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [0.1, 0.2, 0.3])


def test_seven_scenes():
    root = shared_data("7scenes_redkitchen")
    source = open_source(root, SourceConfig(first=500, last=749, every=83))
    frames = list(source)
    assert [frame.name for frame in frames] == [f"frame-{index:06d}.color.jpg" for index in (500, 583, 666, 749)]
    assert [frame.stamp_ns for frame in frames] == [16666666667, 19433333333, 22200000000, 24966666667]
    assert all(frame.image.shape == (480, 640, 3) for frame in frames)
    assert (source.calibrated, source.calibration.source) == (False, CalibrationSource.NAME)
    assert source.camera.model.name == "PINHOLE"
    assert source.camera.params.tolist() == [525, 525, 320, 240]
    truth = source.ground_truth
    assert len(truth) == 750
    line = read_tum(root / "groundtruth_tum.txt").poses[749]
    assert truth.interpolate(frames[-1].stamp_ns).is_close(line)
    assert set(truth.stamps_ns.tolist()) == {image.stamp_ns for image in open_source(root).images}


def test_euroc():
    source = open_source(shared_data("euroc_mh05"), SourceConfig(every=133))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames[:2]] == [1403638538577829376, 1403638545227829504]
    assert frames[0].image.shape == (480, 752)
    assert source.camera.principal_point_x == pytest.approx(367.715)
    assert len(source.ground_truth) == 400
    assert all(source.ground_truth.nearest(frame.stamp_ns, 0) for frame in frames)
    still = open_source(shared_data("euroc_v101_still"))
    assert len(still) == len(still.ground_truth) == 40
    assert np.ptp(still.ground_truth.positions, axis=0).max() < 0.01


def test_kitti():
    source = open_source(shared_data("kitti_06"), SourceConfig(every=25))
    assert [frame.stamp_ns for frame in source] == [0, 2_500_000_000, 5_000_000_000]
    np.testing.assert_allclose(source.camera.params, [707.0912, 707.0912, 602.3873, 183.6104])
    assert (source.camera.width, source.camera.height) == (1226, 370)
    assert source.ground_truth.nearest(5_000_000_000, 0).translation[2] > 40


def test_kitti_as_downloaded_with_the_poses_beside_the_sequences(tmp_path):
    """Poses are of camera 0; camera 2 lies 0.1 m to its left: P2 = K [I | (0.1, 0, 0)]."""
    root = tmp_path / "sequences" / "06"
    for name in ("image_0", "image_2"):
        write_images(root / name, ["000000.png", "000001.png"])
    (root / "calib.txt").write_text(
        "P0: 60 0 31 0 0 60 23 0 0 0 1 0\nP1: 60 0 31 0 0 60 23 0 0 0 1 0\nP2: 60 0 31 6 0 60 23 0 0 0 1 0\n"
    )
    (root / "times.txt").write_text("0.0\n1.03e-01\n")
    poses = tmp_path / "poses" / "06.txt"
    poses.parent.mkdir()
    poses.write_text("1 0 0 0 0 1 0 0 0 0 1 0\n0 0 1 0 0 1 0 0 -1 0 0 5\n")
    first = open_source(root)
    assert [frame.stamp_ns for frame in first] == [0, 103_000_000]
    turned = SE3([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], [0, 0, 5])
    assert first.ground_truth.poses[1].is_close(turned)
    shutil.rmtree(root / "image_0")
    colour = open_source(root)
    assert colour.ground_truth.poses[0].is_close(SE3(np.eye(3), [-0.1, 0, 0]))
    assert colour.ground_truth.poses[1].is_close(turned @ SE3(np.eye(3), [-0.1, 0, 0]))
    poses.write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(SourceError, match="has 1 poses, too few for image 1"):
        open_source(root)
    poses.write_text("1 0 0 0\n")
    with pytest.raises(SourceError, match="cannot read"):
        open_source(root)


def tum_folder(folder, listing):
    write_images(folder / "rgb", ["1305031229.528748.png", "1305031229.564442.png"])
    write_images(folder / "depth", ["1305031229.53.png"])
    (folder / "rgb.txt").write_text(listing)
    (folder / "groundtruth.txt").write_text(
        "# timestamp tx ty tz qx qy qz qw\n1305031229.5288 1 2 3 0 0 0 1\n1305031229.5645 4 5 6 0 0 0 1\n"
    )
    return folder


def test_tum_as_downloaded(tmp_path):
    listing = (
        "# color images\n1305031229.528748 rgb/1305031229.528748.png\n1305031229.600000 rgb/1305031229.564442.png\n"
    )
    source = open_source(tum_folder(tmp_path / "rgbd_dataset_of_mine", listing))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [1305031229528748000, 1305031229600000000]
    assert [frame.name for frame in frames] == ["1305031229.528748.png", "1305031229.564442.png"]
    assert not source.calibrated
    np.testing.assert_array_equal(source.ground_truth.positions, [[1, 2, 3], [4, 5, 6]])


def test_tum_on_the_real_data():
    source = open_source(shared_data("tum_fr1_rpy_start"))
    assert len(source) == 300
    assert source.calibrated
    assert source.camera.model.name == "FULL_OPENCV"
    np.testing.assert_allclose(
        source.camera.params[:9], [517.3, 516.5, 319.1, 255.8, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633]
    )
    assert source.ground_truth.nearest(next(iter(source)).stamp_ns, 10_000_000) is not None


def tum_image(folder, listing=""):
    (folder / "rgb").mkdir(parents=True)
    (folder / "rgb" / "1.0.png").write_bytes(encode(np.zeros((480, 640), np.uint8), ".png"))
    (folder / "rgb.txt").write_text(f"{listing}1.0 rgb/1.0.png\n")
    return open_source(folder)


@pytest.mark.parametrize(("number", "focal_length"), [(1, 517.3), (2, 520.9), (3, 535.4)])
def test_tum_cameras_are_known_by_the_recording_that_the_list_names(tmp_path, number, focal_length):
    source = tum_image(tmp_path / "mine", f"# color images\n# file: 'rgbd_dataset_freiburg{number}_xyz.bag'\n")
    assert (source.calibrated, source.camera.params[0]) == (True, focal_length)


@pytest.mark.parametrize(
    ("name", "focal_length"), [("rgbd_dataset_freiburg1_xyz", 517.3), ("fr3_office", 535.4), ("lab_fr2", 520.9)]
)
def test_a_folders_name_lets_only_guess_which_of_tums_cameras_it_was(tmp_path, name, focal_length):
    source = tum_image(tmp_path / name)
    assert (source.camera.params[0], source.calibrated) == (focal_length, False)
    assert source.calibration.is_provisional
    assert str(source.calibration).endswith(" px to 35 %, guessed from the names of the files or their folder")


INFO = """m_versionNumber = 4
m_sensorName = StructureSensor
m_colorWidth = 64
m_colorHeight = 48
m_calibrationColorIntrinsic = 58.3 0 31.5 0 0 58.4 23.5 0 0 0 1 0 0 0 0 1
"""


@pytest.mark.parametrize("name", ["info.txt", "_info.txt", "../info.txt"])
@pytest.mark.parametrize("image", ["frame-000000.color.jpg", "1.jpg"])
def test_the_info_file_of_a_scanner_holds_the_camera(tmp_path, name, image):
    write_images(tmp_path / "data", [image])
    (tmp_path / "data" / name).write_text(INFO)
    source = open_source(tmp_path / "data")
    assert source.calibrated
    np.testing.assert_allclose(source.camera.params, [58.3, 58.4, 32.0, 24.0])


def test_a_scanners_info_file_without_a_whole_matrix_is_refused(tmp_path):
    write_images(tmp_path, ["frame-000000.color.jpg"])
    (tmp_path / "info.txt").write_text(INFO.replace(" 0 0 0 1\n", "\n"))
    with pytest.raises(CalibrationError, match=r"info\.txt has no colour camera \(the matrix has not 16 numbers"):
        open_source(tmp_path)


def test_names_of_another_size_say_nothing_and_other_info_files_are_passed_over(tmp_path):
    write_images(tmp_path, ["frame-000000.color.jpg"])
    (tmp_path / "info.txt").write_text("filmed on a Sunday\n")
    assert open_source(tmp_path).calibration.source is CalibrationSource.GUESSED


@pytest.mark.parametrize(
    "listing", ["", "# nothing", "1.0", "1.0 rgb/a.png more", "soon rgb/a.png", "1.0 /etc/a.png", "1.0 ../a.png"]
)
def test_a_tum_list_that_is_none_is_reported(tmp_path, listing):
    with pytest.raises(SourceError, match=r"rgb\.txt"):
        open_source(tum_folder(tmp_path / "tum", listing))


def test_euroc_as_released_with_the_cameras_truth_from_the_bodys(tmp_path):
    """World_from_camera = world_from_body @ T_BS; a quaternion in the CSV is scalar first."""
    data = tmp_path / "mav0" / "cam0" / "data"
    write_images(data, ["1403638538577829376.png", "1403638538627829504.png"])
    (data.parent / "sensor.yaml").write_text(SENSOR_YAML)
    states = tmp_path / "mav0" / "state_groundtruth_estimate0"
    states.mkdir()
    rows = ["#timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z, v_x"]
    rows += ["1403638538577829376,1,2,3,1,0,0,0,9", "1403638538627829504,4,5,6,0,0,0,1,9"]
    (states / "data.csv").write_text("\n".join(rows))
    source = open_source(tmp_path)
    assert [frame.stamp_ns for frame in source] == [1403638538577829376, 1403638538627829504]
    first, second = source.ground_truth.poses
    assert first.is_close(SE3(np.eye(3), [1, 2, 3]) @ BODY_FROM_CAMERA)
    assert second.is_close(SE3(np.diag([-1, -1, 1]), [4, 5, 6]) @ BODY_FROM_CAMERA)


def test_both_euroc_truths_agree_on_the_real_flight(tmp_path):
    root = shared_data("euroc_mh05")
    data = tmp_path / "mav0" / "cam0" / "data"
    data.mkdir(parents=True)
    shutil.copy(root / "cam0" / "1403638545227829504.jpg", data)
    shutil.copy(root / "cam0_sensor.yaml", data.parent / "sensor.yaml")
    states = tmp_path / "mav0" / "state_groundtruth_estimate0"
    states.mkdir()
    shutil.copy(root / "state_groundtruth_imu.csv", states / "data.csv")
    from_body = open_source(tmp_path).ground_truth.interpolate(1403638545227829504)
    given = read_tum(root / "groundtruth_cam0_tum.txt").nearest(1403638545227829504, 0)
    assert from_body.is_close(given, translation=2e-3, degrees=0.05)


def test_euroc_without_the_cameras_pose_on_the_body(tmp_path):
    write_images(tmp_path / "cam0" / "data", ["1403638538577829376.png"])
    (tmp_path / "cam0" / "sensor.yaml").write_text(SENSOR_YAML.replace("T_BS", "other"))
    (tmp_path / "state_groundtruth_estimate0").mkdir()
    (tmp_path / "state_groundtruth_estimate0" / "data.csv").write_text("1403638538577829376,1,2,3,1,0,0,0")
    with pytest.raises(CalibrationError, match="no valid T_BS"):
        open_source(tmp_path)


def test_euroc_images_must_be_named_by_their_stamps_and_take_no_rate(tmp_path):
    write_images(tmp_path / "cam0", ["1403638538577829376.png"])
    (tmp_path / "cam0_sensor.yaml").write_text(SENSOR_YAML)
    with pytest.raises(ConfigError, match="rate_hz=5 does not apply"):
        open_source(tmp_path, SourceConfig(rate_hz=5.0))
    write_images(tmp_path / "cam0", ["a.png"])
    with pytest.raises(SourceError, match="named by nanoseconds"):
        open_source(tmp_path)


def test_seven_scenes_as_released_has_a_pose_file_beside_each_image(tmp_path):
    write_images(tmp_path, ["frame-000010.color.png", "frame-000011.color.png"])
    slightly_off = np.array([[0, -1, 0, 0.5], [1.0005, 0, 0, 0.25], [0, 0, 1, -1], [0, 0, 0, 1]])
    np.savetxt(tmp_path / "frame-000010.pose.txt", slightly_off)
    (tmp_path / "camera.yaml").write_text("{model: PINHOLE, width: 64, height: 48, params: [60, 60, 32, 24]}")
    source = open_source(tmp_path)
    assert [frame.stamp_ns for frame in source] == [333333333, 366666667]
    assert source.ground_truth.stamps_ns.tolist() == [333333333]
    assert source.ground_truth.poses[0].is_close(SE3([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [0.5, 0.25, -1]))
    (tmp_path / "frame-000011.color.png").rename(tmp_path / "frame-000012.color.png")
    source = open_source(tmp_path, SourceConfig(rate_hz=10.0))  # stamps follow the numbers
    assert [frame.stamp_ns for frame in source] == [1_000_000_000, 1_200_000_000]
    (tmp_path / "frame-000010.pose.txt").write_text("1 0 0")
    with pytest.raises(SourceError, match=r"frame-000010\.pose\.txt"):
        open_source(tmp_path)


def kitti_folder(root, camera="image_0"):
    write_images(root / camera, ["000000.png", "000002.png"])
    rows = ["P0: 60 0 31 0 0 61 23 0 0 0 1 0", "P1: 60 0 31 -9 0 61 23 0 0 0 1 0", "P2: 70 0 30 5 0 71 22 0 0 0 1 0"]
    (root / "calib.txt").write_text("\n".join(rows))


@pytest.mark.parametrize(("camera", "params"), [("image_0", [60, 61, 31.5, 23.5]), ("image_2", [70, 71, 30.5, 22.5])])
def test_kitti_as_released(tmp_path, camera, params):
    kitti_folder(tmp_path, camera)
    (tmp_path / "times.txt").write_text("0.000000e+00\n1.036224e-01\n2.073042e-01\n")
    write_tum(tmp_path / "groundtruth_tum.txt", [0, 207304200], [SE3.identity()] * 2)
    source = open_source(tmp_path)
    assert [frame.stamp_ns for frame in source] == [0, 207304200]
    assert source.camera.params.tolist() == params


def test_kitti_opens_with_a_broken_first_image_but_not_with_broken_side_files(tmp_path):
    kitti_folder(tmp_path)
    truncate(tmp_path / "image_0" / "000000.png", 0.5)
    source = open_source(tmp_path)
    assert [frame.stamp_ns for frame in source] == [200_000_000]
    assert source.skipped == 1
    (tmp_path / "times.txt").write_text("0.0\n")
    with pytest.raises(SourceError, match="not numbered as KITTI"):
        open_source(tmp_path)
    (tmp_path / "calib.txt").write_text("P0: 1 2 3")
    with pytest.raises(CalibrationError, match=r"line 1 of .* is no 3x4 projection matrix"):
        open_source(tmp_path)


def test_focal_length_of_a_photo_is_taken_from_its_exif_data():
    photos = sorted(shared_data("exif_gps").rglob("*.jpg"))
    (folder,) = {photo.parent for photo in photos[:1]}
    source = open_source(folder, SourceConfig(last=0))
    assert not source.calibrated
    assert source.camera.has_prior_focal_length
    assert source.camera.params[0] != 1.2 * max(source.camera.width, source.camera.height)


def test_images_beside_those_of_seven_scenes_are_named(tmp_path, caplog):
    write_images(tmp_path, ["frame-000000.color.png", "frame-000000.depth.png", "extra.png"])
    write_camera_yaml(tmp_path / "camera.yaml", guess_camera(64, 48))
    source = open_source(tmp_path)
    assert len(source) == 1
    assert "not 1 others such as extra.png" in caplog.text


KITTI_DAY = """calib_time: 09-Jan-2012 13:57:47
S_02: 9.6e+01 7.2e+01
K_02: 70 0 48 0 71 36 0 0 1
D_02: -0.3 0.1 0.001 0.0005 0
S_rect_02: 6.4e+01 4.8e+01
P_rect_02: 60 0 31.5 45 0 60 23.5 0 0 0 1 0
"""


def write_kitti_drive(day, with_calibration=True):
    drive = day / "2011_09_26_drive_0001_sync"
    write_images(drive / "image_02" / "data", ["0000000000.png", "0000000002.png"])
    write_images(drive / "image_03" / "data", ["0000000000.png"])
    times = [f"2011-09-26 13:02:25.{fraction}" for fraction in ("964389445", "100000000", "994594")]
    (drive / "image_02" / "timestamps.txt").write_text("\n".join(times) + "\n")
    if with_calibration:
        (day / "calib_cam_to_cam.txt").write_text(KITTI_DAY)
    return drive


@pytest.mark.parametrize("within", ["", "image_02"])
def test_a_drive_of_kittis_raw_data(tmp_path, within):
    source = open_source(write_kitti_drive(tmp_path) / within)
    assert [frame.name for frame in source] == ["0000000000.png", "0000000002.png"]
    assert [frame.stamp_ns for frame in source] == [1317042145964389445, 1317042145994594000]
    assert (source.calibrated, source.camera.params.tolist()) == (True, [60, 60, 32, 24])


def test_a_raw_drive_that_is_not_rectified_has_its_distortion(tmp_path):
    drive = write_kitti_drive(tmp_path)
    calibration = KITTI_DAY.replace("S_02: 9.6e+01 7.2e+01", "S_02: 64 48").replace("6.4e+01 4.8e+01", "60 40")
    (tmp_path / "calib_cam_to_cam.txt").write_text(calibration)
    assert open_source(drive).camera.params.tolist() == [70, 71, 48.5, 36.5, -0.3, 0.1, 0.001, 0.0005]
    (tmp_path / "calib_cam_to_cam.txt").write_text(calibration.replace("S_02: 64 48", "S_02: 1 1"))
    with pytest.raises(CalibrationError, match="S_rect_02 60x40, S_02 1x1"):
        open_source(drive)


def test_a_raw_drive_without_its_calibration_has_a_guess(tmp_path):
    assert not open_source(write_kitti_drive(tmp_path, with_calibration=False)).calibrated


def test_a_raw_drive_without_a_time_for_each_image_is_refused(tmp_path):
    drive = write_kitti_drive(tmp_path)
    (drive / "image_02" / "timestamps.txt").write_text("2011-09-26 13:02:25.9\n")
    with pytest.raises(SourceError, match="no time for each image"):
        open_source(drive)

"""Data sets in the kapture format: small exactly known ones, broken ones, and the real virtual gallery."""

import numpy as np
import pytest
from source_data import shared_data, write_images

from visloc_ros.core.errors import CalibrationError, ConfigError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.kapture import read_kapture_poses

HEADER = "# kapture format: 1.1\n"
SENSORS = [
    "left, , camera, PINHOLE, 64, 48, 60, 61, 32, 24",
    "right, the right one, camera, OPENCV, 64, 48, 70, 71, 32, 24, -0.1, 0.01, 0, 0",
    "gnss, , gnss, EPSG:4326",
]
RECORDS = ["20000000, left, a/0.png", "0, left, a/9.png", "0, right, b/9.png"]
HALF_TURN = "0, 0, 0, 1"  # about z
RIGS = [f"rig, left, 1, 0, 0, 0, 1, 0, 0\nrig, right, {HALF_TURN}, 0, 0, -2", "car, rig, 1, 0, 0, 0, 0, 5, 0"]
TRAJECTORIES = [f"0, car, {HALF_TURN}, 0, 0, 3", "20000000, left, 1, 0, 0, 0, 1, 2, 3"]
TURNED = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def root(tmp_path):
    """Two cameras on a rig on a car, and one image of the left camera with a pose of its own."""
    for name in ("a/0.png", "a/9.png", "b/9.png"):
        folder, file = name.split("/")
        write_images(tmp_path / "sensors" / "records_data" / folder, [file])
    write_table(tmp_path, "sensors", SENSORS)
    write_table(tmp_path, "records_camera", RECORDS)
    write_table(tmp_path, "rigs", RIGS)
    write_table(tmp_path, "trajectories", TRAJECTORIES)
    return tmp_path


def write_table(root, name, lines):
    (root / "sensors" / f"{name}.txt").write_text(HEADER + "\n".join(lines) + "\n")


def test_images_come_with_their_own_cameras_in_order_of_time(root):
    source = open_source(root)
    frames = list(source)
    assert [frame.name for frame in frames] == ["a/9.png", "b/9.png", "a/0.png"]
    assert [frame.stamp_ns for frame in frames] == [0, 1, 20_000_000]
    assert source.calibrated
    assert [frame.camera.model.name for frame in frames] == ["PINHOLE", "OPENCV", "PINHOLE"]
    assert frames[1].camera.params.tolist() == [70, 71, 32, 24, -0.1, 0.01, 0, 0]


def test_poses_of_rigs_within_rigs_compose(root):
    """A pose is device_from_world, an entry of a rig sensor_from_rig."""
    left_from_world = SE3(np.eye(3), [1, 0, 0]) @ SE3(np.eye(3), [0, 5, 0]) @ SE3(TURNED, [0, 0, 3])
    right_from_world = SE3(TURNED, [0, 0, -2]) @ SE3(np.eye(3), [0, 5, 0]) @ SE3(TURNED, [0, 0, 3])
    poses = read_kapture_poses(root)
    assert poses.find("a/9.png").is_close(left_from_world.inverse)
    assert poses.find("b/9.png").is_close(right_from_world.inverse)
    assert poses.find("a/0.png").translation.tolist() == [-1, -2, -3]


def test_the_source_knows_the_same_poses_by_stamp(root):
    source = open_source(root)
    poses = read_kapture_poses(root)
    assert all(source.ground_truth.nearest(frame.stamp_ns, 0).is_close(poses.find(frame.name)) for frame in source)


def test_without_trajectories_there_is_no_truth(root):
    (root / "sensors" / "trajectories.txt").unlink()
    assert open_source(root).ground_truth is None
    with pytest.raises(SourceError, match="gives no pose of an image"):
        read_kapture_poses(root)


def test_poses_left_out_in_part_are_no_poses(root):
    write_table(root, "trajectories", [TRAJECTORIES[0], "20000000, left, , , , , 1, 2, 3"])
    poses = read_kapture_poses(root)
    assert poses.find("a/0.png") is None
    assert len(poses) == 2


def test_frame_numbers_become_stamps_at_the_rate(root):
    write_table(root, "records_camera", ["7, left, a/0.png", "5, left, a/9.png", "5, right, b/9.png"])
    stamps = [frame.stamp_ns for frame in open_source(root, SourceConfig(rate_hz=10.0))]
    assert stamps == [500_000_000, 500_000_001, 700_000_000]


def test_a_rate_does_not_apply_to_stamps(root):
    with pytest.raises(ConfigError, match="carry their own stamps"):
        open_source(root, SourceConfig(rate_hz=10.0))


def test_a_camera_file_replaces_all_cameras(root, tmp_path):
    right = list(open_source(root))[1].camera
    write_camera_yaml(tmp_path / "other.yaml", right)
    source = open_source(root, SourceConfig(camera=str(tmp_path / "other.yaml")))
    assert all(frame.camera.params.tolist() == right.params.tolist() for frame in source)


def test_unknown_intrinsics_are_guessed_and_say_so(root):
    write_table(root, "sensors", ["left, , camera, UNKNOWN_CAMERA, 64, 48", SENSORS[1]])
    source = open_source(root)
    assert not source.calibrated
    assert next(iter(source)).camera.params[0] == pytest.approx(1.2 * 64)


def test_a_folder_of_data_sets_names_them(tmp_path, root):
    assert root == tmp_path
    (tmp_path / "both").mkdir()
    (tmp_path / "sensors").rename(tmp_path / "both" / "sensors")
    with pytest.raises(SourceError, match=r"several kapture data sets \(both\)"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("table", "lines", "complaint"),
    [
        ("records_camera", [*RECORDS, "9, left"], "3 values are expected, there are 2"),
        ("records_camera", ["soon, left, a/0.png"], "'soon' is not an integer"),
        ("records_camera", [*RECORDS, "1, left, a/0.png"], "lists 'a/0.png' twice"),
        ("records_camera", ["0, left, ../a/0.png"], "outside the data set"),
        ("records_camera", [], "lists no images"),
        ("trajectories", ["0, car, 1, 0, 0, 0, 1, 2"], "9 values are expected"),
        ("trajectories", ["0, car, nan, 0, 0, 0, 1, 2, 3"], "not a unit quaternion"),
        ("trajectories", ["0, car, 2, 0, 0, 0, 1, 2, 3"], "not a unit quaternion"),
        ("trajectories", ["0, car, one, 0, 0, 0, 1, 2, 3"], "not a number"),
        ("rigs", ["a, left, 1, 0, 0, 0, 0, 0, 0", "left, a, 1, 0, 0, 0, 0, 0, 0"], "a part of itself"),
        ("rigs", ["rig, left, 1, 0, 0, 0, 0, 0"], "9 values are expected"),
    ],
)
def test_broken_tables_are_named(root, table, lines, complaint):
    write_table(root, table, lines)
    with pytest.raises(SourceError, match=complaint):
        open_source(root)


@pytest.mark.parametrize(
    ("sensor", "complaint"),
    [
        ("left, , camera, PINHOLE, 64, 48, 60", "does not take the 1 parameters"),
        ("left, , camera, PINHOLE, 64", "malformed"),
        ("left, , camera, PINHOLE, wide, 48, 60, 61, 32, 24", "malformed"),
        ("left, , camera, PINHOLE, 64, 48, nan, 61, 32, 24", "does not take"),
        ("left, , camera, SHOEBOX, 64, 48, 60", "no camera model 'SHOEBOX'"),
        ("middle, , camera, PINHOLE, 64, 48, 60, 61, 32, 24", "no camera 'left', which took 'a/9.png'"),
    ],
)
def test_impossible_cameras_are_named(root, sensor, complaint):
    write_table(root, "sensors", [sensor, SENSORS[1]])
    with pytest.raises(CalibrationError, match=complaint):
        open_source(root)


def test_a_table_that_is_no_text_is_refused(root):
    (root / "sensors" / "trajectories.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="cannot read"):
        open_source(root)


def test_an_image_that_is_missing_is_skipped_and_counted(root):
    (root / "sensors" / "records_data" / "b" / "9.png").unlink()
    source = open_source(root)
    assert len(list(source)) == 2
    assert source.skipped == 1


def test_virtual_gallery():
    """The cameras stand beside the rig's centre, and yet move by the same 20 cm at every step along its circle."""
    source = open_source(shared_data("virtual_gallery") / "mapping")
    frames = list(source)
    assert len(frames) == len(source.ground_truth) == 12
    assert {frame.image.shape for frame in frames} == {(1080, 1920, 3)}
    poses = read_kapture_poses(shared_data("virtual_gallery") / "mapping")
    steps = np.diff([poses.find(frame.name).translation for frame in frames[::2]], axis=0)
    assert np.allclose(np.linalg.norm(steps, axis=1), 0.2, atol=0.001)
    queries = open_source(shared_data("virtual_gallery") / "query")
    assert len({frame.camera.params[0] for frame in queries}) == len(queries) == 4

"""Recordings of several cameras read as one: frames of one time together, whichever source they are from."""

import logging

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.rig_files import write_rig_yaml
from visloc_ros.sources.rig_recording import RigRecording, open_rig_recording
from visloc_ros.sources.ros_images import encode_jpeg

CAMERA = pycolmap.Camera(model="PINHOLE", width=4, height=4, params=[4, 4, 2, 2])
LEFT = SE3.from_rotation_vector([0.0, 1.0, 0.0], [0.1, 0.2, 0.3])
RIG = Rig({"front": RigCamera(SE3.identity()), "left": RigCamera(LEFT, CAMERA)})
MS = 1_000_000


class Source:
    """Frames at some milliseconds."""

    name, ground_truth = "source", None

    def __init__(self, *stamps_ms, calibration=None):
        self.calibration = calibration or CameraCalibration(CAMERA, CalibrationSource.RECORDED)
        self.camera, self.calibrated = self.calibration.camera, not self.calibration.is_provisional
        self.stamps_ns = [round(stamp * MS) for stamp in stamps_ms]

    def __len__(self):
        return len(self.stamps_ns)

    def __iter__(self):
        return (Frame(stamp, np.zeros((4, 4), np.uint8), self.camera) for stamp in self.stamps_ns)

    def read_stamps_ns(self):
        return self.stamps_ns


def times(front, left):
    recording = RigRecording("drive", RIG, {"front": front, "left": left})
    return [{name: frame.stamp_ns / MS for name, frame in frames.items()} for frames in recording]


def test_frames_of_one_time_come_together():
    assert times(Source(0, 50, 100), Source(1, 48, 104)) == [
        {"front": 0, "left": 1},
        {"front": 50, "left": 48},
        {"front": 100, "left": 104},
    ]


def test_frames_of_cameras_that_are_not_synchronised_come_one_by_one():
    assert times(Source(0, 50), Source(20, 30)) == [{"front": 0}, {"left": 20}, {"left": 30}, {"front": 50}]


def test_two_frames_of_one_camera_are_never_of_one_time():
    assert times(Source(0, 2), Source(1)) == [{"front": 0, "left": 1}, {"front": 2}]


def test_intrinsics_are_those_of_the_rig_or_of_the_source():
    unknown = guess_calibration(4, 4)
    recording = RigRecording("drive", RIG, {"left": Source(0, calibration=unknown)})
    assert recording.sources["left"].camera is CAMERA
    with pytest.raises(CalibrationError, match=r"'front' are not known: add 'camera'"):
        RigRecording("drive", RIG, {"front": Source(0, calibration=unknown)})


def test_time_shifts_bring_all_cameras_to_one_clock():
    shifted, source = RIG.with_time_shift("left", -0.03), Source(20, 31, 81)
    source.ground_truth = Trajectory(np.array([31 * MS]), (LEFT,))
    recording = RigRecording("drive", shifted, {"front": Source(0, 50), "left": source})
    stamps = [{name: frame.stamp_ns // MS for name, frame in frames.items()} for frames in recording]
    assert stamps == [{"front": 0, "left": 1}, {"front": 50, "left": 51}]  # without the one before zero
    assert recording.ground_truth.stamps_ns == [MS]


DAY, YEARS = 86_400_000, 50 * 365 * 86_400_000


@pytest.mark.parametrize(
    ("front", "left", "words"),
    [
        (
            [0, 50],
            [YEARS, YEARS + 50],
            r"'front' has images from 0.000 s \(1970.* to 0.050 s.*'left' has .*\(2019-12-20",
        ),
        ([0, 50, YEARS, YEARS + 50], [YEARS - 100, YEARS + 50], r"'front' has images from 0.000 s"),
        ([0, 50], [9000, 9050], r"'left' has images from 9.000 s"),
    ],
)
def test_cameras_that_share_no_time_are_refused_by_their_stamps(front, left, words):
    with pytest.raises(SourceError, match=words):
        times(Source(*front), Source(*left))
    assert len(times(Source(*front), Source(*front))) == len(front)
    assert times(Source(*front), Source()) == [{"front": stamp} for stamp in front]


def test_intrinsics_without_a_size_are_those_of_the_images():
    unsized = pycolmap.Camera(model="PINHOLE", width=0, height=0, params=[5, 5, 2, 2])
    rig = RIG.with_camera("left", unsized)
    recording = RigRecording("drive", rig, {"left": Source(0, calibration=guess_calibration(4, 4))})
    assert (recording.sources["left"].camera.width, recording.sources["left"].camera.params[0]) == (4, 5.0)
    assert recording.rig.cameras["left"].camera.height == 4
    with pytest.raises(CalibrationError, match=r"camera 'left'.*corner"):
        RigRecording("drive", rig, {"left": Source(0, calibration=guess_calibration(40, 40))})


def test_the_truth_is_that_of_the_rig():
    source, pose = Source(0), SE3.from_rotation_vector([0.3, 0.2, 0.1], [1.0, 2.0, 3.0])
    source.ground_truth = Trajectory(np.array([0]), (pose @ LEFT,))
    (truth,) = RigRecording("drive", RIG, {"left": source}).ground_truth.poses
    assert truth.is_close(pose, 1e-9, 1e-6)


def test_a_folder_needs_a_recording_of_some_camera(tmp_path, caplog):
    write_rig_yaml(tmp_path / "rig.yaml", RIG)
    with pytest.raises(SourceError, match="no folder"):
        open_rig_recording(tmp_path / "none", tmp_path / "rig.yaml", SourceConfig())
    with pytest.raises(SourceError, match="no recording of front, left"):
        open_rig_recording(tmp_path, tmp_path / "rig.yaml", SourceConfig())
    (tmp_path / "left").mkdir()
    with caplog.at_level(logging.WARNING), pytest.raises(SourceError):
        open_rig_recording(tmp_path, tmp_path / "rig.yaml", SourceConfig())  # it is empty
    assert "no recording of front" in caplog.text


BASE_FROM_FRONT = SE3.from_rotation_vector([-1.2, 1.2, -1.2], [0.3, 0.0, 0.5])
FRONT_FROM_LEFT = SE3.from_rotation_vector([0.0, -1.5, 0.0], [-0.1, 0.0, -0.1])
IMAGE = encode_jpeg(np.full((48, 64, 3), 100, np.uint8), 90)
SMALL = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[60, 60, 32, 24])


@pytest.fixture
def bag(tmp_path):
    """Three images of each of two cameras, the second one 2 ms later."""
    path = tmp_path / "drive"
    with BagWriter(path) as writer:
        writer.write_tf("/tf_static", MS, "base_link", "front_optical", BASE_FROM_FRONT)
        writer.write_tf("/tf_static", MS, "front_optical", "left_optical", FRONT_FROM_LEFT)
        for index in range(1, 4):
            for name, late in (("front", 0), ("left", 2)):
                stamp_ns = (100 * index + late) * MS
                writer.write_camera_info(f"/{name}/camera_info", stamp_ns, f"{name}_optical", SMALL)
                writer.write_compressed_image(f"/{name}/image/compressed", stamp_ns, f"{name}_optical", IMAGE)
    return path


@pytest.mark.parametrize("words", ["front:\n  left:", "front: {image_topic: /front/image}\n  left: {}\n  rear:"])
def test_topics_and_places_are_those_of_a_bag(bag, tmp_path, words, caplog):
    (tmp_path / "rig.yaml").write_text(f"cameras:\n  {words}\n")
    with caplog.at_level(logging.WARNING):
        recording = open_rig_recording(bag, tmp_path / "rig.yaml", SourceConfig())
    assert recording.rig.names == ("front", "left")
    assert recording.rig.rig_from_camera("front").is_close(BASE_FROM_FRONT, 1e-9, 1e-6)
    assert recording.rig.rig_from_camera("left").is_close(BASE_FROM_FRONT @ FRONT_FROM_LEFT, 1e-9, 1e-6)
    assert [sorted(frames) for frames in recording] == [["front", "left"]] * 3
    assert recording.sources["left"].read_stamps_ns() == [(100 * index + 2) * MS for index in range(1, 4)]
    assert ("no images of rear" in caplog.text) is ("rear" in words)


def test_places_of_the_file_are_used_and_its_topics_kept(bag, tmp_path):
    topic = "/left/image/compressed"
    rig = Rig({"front": RigCamera(SE3.identity()), "one": RigCamera(LEFT, SMALL, topic)})
    write_rig_yaml(tmp_path / "rig.yaml", rig)
    recording = open_rig_recording(bag, tmp_path / "rig.yaml", SourceConfig())
    assert recording.rig.rig_from_camera("one").is_close(LEFT, 1e-9, 1e-6)
    assert recording.rig.cameras["one"].image_topic == topic
    assert [sorted(frames) for frames in recording] == [["front", "one"]] * 3


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ("rear:", SourceError, "holds no images of rear"),
        ("front: {image_topic: /else}", SourceError, "holds no images of front"),
        ("front:\n  left: {rig_from_camera: 1}", CalibrationError, "of all cameras, or of none"),
    ],
)
def test_a_rig_that_a_bag_does_not_hold_is_refused(bag, tmp_path, words, error, match):
    (tmp_path / "rig.yaml").write_text(f"cameras:\n  {words}\n")
    with pytest.raises(error, match=match):
        open_rig_recording(bag, tmp_path / "rig.yaml", SourceConfig())


def test_a_camera_without_a_transform_in_the_bag_is_refused(tmp_path):
    with BagWriter(tmp_path / "bare") as writer:
        for name in ("front", "left"):
            writer.write_camera_info(f"/{name}/camera_info", MS, name, SMALL)
            writer.write_compressed_image(f"/{name}/image/compressed", MS, name, IMAGE)
    (tmp_path / "rig.yaml").write_text("cameras:\n  front:\n  left:\n")
    with pytest.raises(CalibrationError, match="no fixed transform joins 'front' and 'left'"):
        open_rig_recording(tmp_path / "bare", tmp_path / "rig.yaml", SourceConfig())


@pytest.mark.parametrize("frame", ["", "camera"])
def test_cameras_of_one_frame_id_are_not_taken_to_be_in_one_place(frame, tmp_path):
    with BagWriter(tmp_path / "alike") as writer:
        writer.write_tf("/tf_static", MS, "base_link", "camera", BASE_FROM_FRONT)
        for name in ("front", "left"):
            writer.write_camera_info(f"/{name}/camera_info", MS, frame, SMALL)
            writer.write_compressed_image(f"/{name}/image/compressed", MS, frame, IMAGE)
    (tmp_path / "rig.yaml").write_text("cameras:\n  front:\n  left:\n")
    with pytest.raises(CalibrationError, match=f"'front' and 'left' in .* frame id '{frame}'.*rig_from_camera of all"):
        open_rig_recording(tmp_path / "alike", tmp_path / "rig.yaml", SourceConfig())

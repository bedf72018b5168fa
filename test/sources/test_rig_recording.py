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
from visloc_ros.sources.rig_recording import RigRecording, open_rig_recording

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


def test_the_truth_is_that_of_the_rig():
    source, pose = Source(0), SE3.from_rotation_vector([0.3, 0.2, 0.1], [1.0, 2.0, 3.0])
    source.ground_truth = Trajectory(np.array([0]), (pose @ LEFT,))
    (truth,) = RigRecording("drive", RIG, {"left": source}).ground_truth.poses
    assert truth.is_close(pose, 1e-9, 1e-6)


def test_a_folder_needs_a_recording_of_some_camera(tmp_path, caplog):
    with pytest.raises(SourceError, match="no folder"):
        open_rig_recording(tmp_path / "none", RIG, SourceConfig())
    with pytest.raises(SourceError, match="no recording of front, left"):
        open_rig_recording(tmp_path, RIG, SourceConfig())
    (tmp_path / "left").mkdir()
    with caplog.at_level(logging.WARNING), pytest.raises(SourceError):
        open_rig_recording(tmp_path, RIG, SourceConfig())  # it is empty
    assert "no recording of front" in caplog.text

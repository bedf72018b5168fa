"""A camera that zooms within a recording becomes two cameras; one that only moves stays one."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project, with_focal_length
from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3, umeyama
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.mapping import MappingConfig
from visloc_ros.mapping.collection import MapFrame
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.parallel import PerThread
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.structure_from_motion import StructureFromMotion
from visloc_ros.mapping.zoom_changes import find_zoom_changes

COUNT, HALF, REACH, FOCAL_PX = 20, 10, 10, 500.0
CAMERA = pycolmap.Camera(model="SIMPLE_PINHOLE", width=640, height=480, params=[FOCAL_PX, 320.0, 240.0])
CONFIG = MappingConfig.from_mapping({"reconstruction": {"threads": 1}})
AHEAD = [SE3(np.eye(3), number * np.array([0.0, 0.0, 0.3]) - [0.0, 0.0, 12.0]) for number in range(COUNT)]


def around(leap=0.0):
    """Poses on an arc of 8 m about the origin, from the middle on nearer to it by a leap."""
    poses = []
    for number, angle in enumerate(np.linspace(-0.6, 0.6, COUNT)):
        turn = SE3.from_rotation_vector([0.0, angle, 0.0], np.zeros(3)).rotation
        away = np.array([0.0, 0.1 * (number % 3), -8.0 + leap * (number >= HALF)])
        poses.append(SE3(turn, turn @ away))
    return poses


class Recording:
    """Frames of a camera along some poses, its focal length multiplied by a factor in each."""

    def __init__(self, poses, factors, *, calibrated=True):
        rng = np.random.default_rng(2)
        points = rng.uniform([-4.0, -3.0, -4.0], [4.0, 3.0, 4.0], (1500, 3))
        self.centres = np.array([pose.translation for pose in poses])
        shared = MapCamera(CAMERA, calibrated)
        self.frames, self._rows = [], []
        for number, (pose, factor) in enumerate(zip(poses, factors, strict=True)):
            pixels = project(with_focal_length(CAMERA, factor * FOCAL_PX), pose.inverse @ points)
            seen = np.flatnonzero(((pixels > 0.0) & (pixels < [640.0, 480.0])).all(axis=1))
            seen = rng.permutation(seen)[:400]
            keypoints = (pixels[seen] + rng.normal(0.0, 0.5, (len(seen), 2))).astype(np.float32)
            empty = np.zeros((len(seen), 1), np.float32)
            features = LocalFeatures(keypoints, empty[:, 0], empty, (640, 480))
            self.frames.append(MapFrame("drive", number, f"{number:02d}.jpg", shared, features, b"", None))
            self._rows.append(seen)

    @property
    def matches(self):
        """True ones of images that follow each other."""
        pairs = [(i, j) for i in range(COUNT) for j in range(i + 1, min(i + 1 + REACH, COUNT))]
        return {(i, j): self._match(i, j) for i, j in pairs}

    def _match(self, i, j):
        _, one, other = np.intersect1d(self._rows[i], self._rows[j], return_indices=True)
        return np.stack([one, other], axis=1).astype(np.int32)


def zoomed(factor):
    return [1.0] * HALF + [factor] * (COUNT - HALF)


def structure_of(recording):
    sfm = StructureFromMotion(CONFIG, PerThread(object), SilentProgress(), Stopwatch())
    return sfm.explain(recording.frames, recording.matches)


@pytest.mark.parametrize("poses", [around(), AHEAD], ids=["around", "ahead"])
@pytest.mark.parametrize("factor", [1.2, 1.5, 2.0, 1 / 1.5])
def test_a_zoom_is_found_where_it_is(poses, factor):
    recording = Recording(poses, zoomed(factor))
    [change] = find_zoom_changes(recording.frames, recording.matches)
    assert change.row == HALF
    assert change.factor == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("poses", [around(), AHEAD], ids=["around", "ahead"])
def test_a_camera_that_only_moves_does_not_zoom(poses):
    recording = Recording(poses, [1.0] * COUNT)
    assert find_zoom_changes(recording.frames, recording.matches) == []


@pytest.mark.parametrize(("factor", "calibrated"), [(1.5, True), (1 / 2.0, False)])
def test_images_after_a_zoom_get_a_camera_of_their_own(factor, calibrated):
    recording = Recording(around(), zoomed(factor), calibrated=calibrated)
    structure = structure_of(recording)
    model = structure.largest.model
    found = registered_poses(model)
    assert len(found) == COUNT
    by_name = {image.name: model.cameras[image.camera_id].mean_focal_length() for image in model.images.values()}
    expected = [FOCAL_PX * one for one in zoomed(factor)]
    assert [by_name[frame.name] for frame in recording.frames] == pytest.approx(expected, rel=0.03)
    centres = np.array([found[frame.name].translation for frame in recording.frames])
    error = umeyama(recording.centres, centres) @ centres - recording.centres
    assert np.linalg.norm(error, axis=1).max() < 0.1
    [warning] = structure.warnings
    assert f"{HALF:02d}.jpg" in warning


def test_a_leap_of_the_camera_stays_one_camera():
    """Towards the scene, it scales images as a zoom does."""
    recording = Recording(around(leap=1.5), [1.0] * COUNT)
    assert len(find_zoom_changes(recording.frames, recording.matches)) == 1
    structure = structure_of(recording)
    assert (len(structure.largest.model.cameras), structure.warnings) == (1, ())


def test_a_map_that_cannot_be_made_with_two_cameras_is_made_with_one(monkeypatch):
    recording = Recording(around(), zoomed(1.5))
    reconstruct = StructureFromMotion.reconstruct

    def fails_once_split(self, frames, matches):
        if len({id(frame.camera) for frame in frames}) > 1:
            raise MapError("no two images could be joined")
        return reconstruct(self, frames, matches)

    monkeypatch.setattr(StructureFromMotion, "reconstruct", fails_once_split)
    assert len(structure_of(recording).largest.model.cameras) == 1

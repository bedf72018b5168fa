"""Changes of a small map whose images and points are known exactly, in this process or in one that may be killed."""

import hashlib
import json
import mmap
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pycolmap
from small_map import MANIFEST

from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import VislocError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.manifest import in_frame, read_manifest
from visloc_ros.core.map import LocalFeatures, open_map
from visloc_ros.core.map_folder import remove_map
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.map_versions import changed_folder, roll_back, successor
from visloc_ros.core.map_writer import save_map, write_map
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.scale import transform
from visloc_ros.mapping.sfm_database import registered_poses

CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _world():
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1, num_frames_per_rig=8, num_points3D=40, camera_height=480, camera_width=640
    )
    options.camera_params = [600.0, 320.0, 240.0, 0.02]
    pycolmap.set_random_seed(5)
    return pycolmap.synthesize_dataset(options)


WORLD = _world()
POSES = registered_poses(WORLD)
POINTS = np.array([point.xyz for point in WORLD.points3D.values()])
NAMES = tuple(sorted(POSES))
_RNG = np.random.default_rng(0)
FEATURES = {
    image.name: LocalFeatures(
        np.array([point.xy for point in image.points2D], np.float32),
        np.ones(image.num_points2D(), np.float32),
        _RNG.normal(size=(image.num_points2D(), 16)).astype(np.float32),
        (640, 480),
    )
    for image in WORLD.images.values()
}
DESCRIPTORS = {name: _RNG.normal(size=32).astype(np.float32) for name in NAMES}
CENTROIDS = _RNG.normal(size=(2, 16)).astype(np.float32)


@dataclass
class Truth:
    """What maps must hold: their images by what they were created from, and how the world lies in each frame."""

    names: dict[str, frozenset[str]] = field(default_factory=dict)
    frame_from_world: dict[str, Sim3] = field(default_factory=dict)
    moves: dict[str, Sim3] = field(default_factory=dict)

    def new(self, names, move=None, uuid=None):
        """The name of a step that makes a map of these images, in a frame that is made by it where one is given."""
        step = f"step {len(self.names)}"
        self.names[step], self.moves[step] = frozenset(names), move
        if uuid is not None:
            self.frame_from_world[uuid] = move
        return step

    def frame_of(self, manifest):
        """How the world lies in the frame of a map."""
        if manifest.frame_uuid not in self.frame_from_world:
            parent = list(manifest.earlier_frames)[-1]["uuid"]
            move = self.moves[manifest.alignment["source"]]
            self.frame_from_world[manifest.frame_uuid] = move @ self.frame_from_world[parent]
        return self.frame_from_world[manifest.frame_uuid]

    def check(self, folder):
        """Open a map with all its checksums, and compare what it holds with the world."""
        map_ = open_map(folder)
        frame_from_world = self.frame_of(map_.manifest)
        assert {image.name for image in map_.images} == self.names[map_.manifest.created_from]
        for image in map_.images:
            expected = frame_from_world.apply_to_pose(POSES[image.name])
            assert image.map_from_camera.is_close(expected, 1e-6 * frame_from_world.scale, 1e-4)
        known = frame_from_world @ POINTS
        apart = np.linalg.norm(map_.points[:, None] - known, axis=2).min(axis=1)
        assert apart.max() < 1e-6 * max(1.0, np.abs(known).max())


def parts(names, frame_from_world):
    """The parts of a map of some of the images, in a frame."""
    reconstruction = pycolmap.Reconstruction(WORLD)
    for image in WORLD.images.values():
        if image.name not in names:
            reconstruction.deregister_frame(image.frame_id)
    reconstruction.tear_down()  # what is not registered goes
    transform(reconstruction, frame_from_world)
    return reconstruction, FEATURES, DESCRIPTORS, CENTROIDS


def build(truth, step, uuid, path, overwrite=False):
    manifest = replace(MANIFEST, created_from=step, frame_uuid=uuid)
    save_map(path, *parts(truth.names[step], truth.moves[step]), manifest, overwrite=overwrite)


def change(truth, step, kind, path):
    """What updates and extensions write."""
    before = read_manifest(path)
    with changed_folder(path, before, path, overwrite=True) as folder:
        manifest = successor(replace(before, created_from=step, built_images=0), path, before, kind)
        write_map(folder, *parts(truth.names[step], truth.frame_of(before)), manifest)


def merge(truth, step, uuid, path):
    """What a merge writes that moves the images: a new frame without a transform."""
    before = read_manifest(path)
    with changed_folder(path, before, path, overwrite=True) as folder:
        manifest = in_frame(replace(before, created_from=step, alignment={}), CoordinateFrame(uuid))
        manifest = successor(manifest, path, before, "merge")
        write_map(folder, *parts(truth.names[step], truth.moves[step]), manifest)


def align(truth, step, path):
    fit = MapFit(truth.moves[step], step, {}, metric=True, gravity_aligned=True)
    align_map(path, path, lambda _: fit, overwrite=True)


def prepare(text, path):
    def write(folder):
        (folder / "words.txt").write_text(text)
        return {"text": text}

    add_prepared(path, "fused", read_manifest(path), write)


def rename(target, path):
    if path.exists() and not target.exists():
        path.rename(target)


def delete(path):
    if path.exists():
        remove_map(path)


def go_back(number, path):
    roll_back(path, number)


def open_often(path):
    """Open a map again and again while it is changed."""
    for _ in range(4):
        open_map(path)


def attempt(act):
    """Do a step; gives what was refused, empty if it was done."""
    try:
        act()
    except VislocError as error:
        return str(error)
    return ""


class Child:
    """A step in a process of its own, killed before its change of the disk of a number, from 1 on, if one is given."""

    def __init__(self, act, dies_at=0):
        reading, writing = os.pipe()
        self._said = os.fdopen(reading)
        self._number = os.fork()
        if self._number == 0:
            try:
                sys.addaudithook(partial(_count, mmap.mmap(-1, 8), dies_at))
                words = ["refused", attempt(act)]
            except BaseException:
                words = ["failed", traceback.format_exc()]
            os.write(writing, json.dumps(words).encode())
            os._exit(0)
        os.close(writing)

    def wait(self):
        """What was refused, empty if it was done; None if it was killed. Raises AssertionError where it crashed."""
        with self._said as said:
            kind, words = json.loads(said.read() or '["killed", ""]')
        os.waitpid(self._number, 0)
        assert kind != "failed", words
        return None if kind == "killed" else words


def _count(steps, dies_at, event, arguments):
    if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
        number = int.from_bytes(steps[:8], "little") + 1
        steps[:8] = number.to_bytes(8, "little")
        if number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def digests(folder: Path, but_not: str = "") -> dict[str, str]:
    """SHA-1 of all files below a folder by name, but for those in a subfolder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    kept = {name: path for name, path in names.items() if not (but_not and name.startswith(f"{but_not}/"))}
    return {name: hashlib.sha1(path.read_bytes()).hexdigest() for name, path in kept.items()}


def turned(angle, shift, scale):
    """A similarity."""
    turn = np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])
    return Sim3.from_se3(SE3.from_quaternion(turn, np.array([shift, -shift, 0.5])), scale)

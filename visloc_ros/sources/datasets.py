"""The folder layouts of 7-Scenes, EuRoC, KITTI and TUM RGB-D, recognised by their content.

EuRoC, KITTI and TUM give principal points in OpenCV pixels, which are shifted by half a pixel. 7-Scenes only names
(320, 240) for images of 640x480: the exact centre in COLMAP pixels, and taken as that.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_calibration, check_image_of_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import read_text
from visloc_ros.core.geometry import SE3, Array, nearest_rotation
from visloc_ros.core.trajectory import Trajectory, seconds_to_ns
from visloc_ros.sources.base import NOMINAL_RATE_HZ
from visloc_ros.sources.camera_files import read_camera_file
from visloc_ros.sources.kitti_raw import read_kitti_raw
from visloc_ros.sources.layouts import (
    Layout,
    first_readable,
    list_images,
    make_layout,
    refuse_rate,
    stamps_at_rate,
    stamps_from_names,
)
from visloc_ros.sources.measurements import find_imu_file, read_body_from_sensor

logger = logging.getLogger(__name__)

KITTI_RATE_HZ = 10.0
_KITTI_PROJECTIONS = {"image_left": 0, "image_0": 0, "image_2": 2}
_SEVEN_SCENES_FILE = re.compile(r"frame-(\d+)\.color\.\w+")
_SEVEN_SCENES_DEPTH = re.compile(r"frame-\d+\.\w*depth\w*\.\w+")
_SEVEN_SCENES_CAMERA = (525.0, 525.0, 320.0, 240.0)
_TUM_RECORDING = re.compile(r"rgbd_dataset_freiburg([123])_")
_TUM_NUMBER = re.compile(r"(?:freiburg|fr)([123])(?!\d)")
# Intrinsics and distortion (fx, fy, cx, cy; k1, k2, p1, p2, k3) that TUM RGB-D has published for each of its cameras.
_TUM_CAMERAS = {
    "1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "3": ((535.4, 539.2, 320.1, 247.6), ()),
}
_BOTTOM = (0.0, 0.0, 0.0, 1.0)


def read_dataset(root: Path, rate_hz: float) -> Layout | None:
    """Read a folder in the layout of a known dataset, or None when it is in none of them.

    ``rate_hz`` replaces the nominal rate of 7-Scenes (30) and KITTI (10). Raises SourceError or CalibrationError.
    """
    readers = (_read_seven_scenes, _read_euroc, _read_kitti, read_kitti_raw, _read_tum)
    return next((layout for read in readers if (layout := read(root, rate_hz)) is not None), None)


def _read_seven_scenes(root: Path, rate_hz: float) -> Layout | None:
    candidates = list_images(root / "rgb") or list_images(root)
    numbers = {path: int(match[1]) for path in candidates if (match := _SEVEN_SCENES_FILE.fullmatch(path.name))}
    if not numbers:
        return None
    others = [path.name for path in candidates if path not in numbers and not _SEVEN_SCENES_DEPTH.fullmatch(path.name)]
    if others:
        logger.warning(
            "of the images in %s only the %d named frame-NNNNNN.color are read, not %d others such as %s: move them "
            "to a folder of their own",
            candidates[0].parent, len(numbers), len(others), others[0],
        )  # fmt: skip
    files = list(numbers)
    stamps_ns = stamps_at_rate(list(numbers.values()), rate_hz or NOMINAL_RATE_HZ)
    layout = make_layout(root, files, stamps_ns, None, _seven_scenes_truth(files, stamps_ns))
    return replace(layout, camera_by_name=seven_scenes_camera())


def seven_scenes_camera() -> pycolmap.Camera:
    """The camera that is commonly used for all images of 7-Scenes."""
    return pycolmap.Camera(model="PINHOLE", width=640, height=480, params=_SEVEN_SCENES_CAMERA)


def _seven_scenes_truth(files: list[Path], stamps_ns: list[int]) -> Trajectory | None:
    """Poses of the original release: one ``frame-NNNNNN.pose.txt`` (4 x 4, world_from_camera) beside each image."""
    poses = {}
    for path, stamp_ns in zip(files, stamps_ns, strict=True):
        pose_path = path.parent / path.name.replace(f".color{path.suffix}", ".pose.txt")
        pose = read_pose_matrix(pose_path) if pose_path.is_file() else None
        if pose is not None:
            poses[stamp_ns] = pose
    return Trajectory(np.array(list(poses)), tuple(poses.values())) if poses else None


def _read_euroc(root: Path, rate_hz: float) -> Layout | None:
    native = root / "mav0" if (root / "mav0").is_dir() else root
    for folder, sensor in (
        (root / "cam0", root / "cam0_sensor.yaml"),
        (native / "cam0" / "data", native / "cam0" / "sensor.yaml"),
    ):
        files = list_images(folder)
        if files and sensor.is_file():
            return _read_euroc_camera(root, native, files, sensor, rate_hz)
    return None


def _read_euroc_camera(root: Path, native: Path, files: list[Path], sensor: Path, rate_hz: float) -> Layout:
    refuse_rate(root, rate_hz)
    stamps_ns = stamps_from_names([path.stem for path in files])
    if stamps_ns is None:
        raise SourceError(f"the images in {files[0].parent} must be named by nanoseconds, as EuRoC's are")
    states = native / "state_groundtruth_estimate0" / "data.csv"
    truth = _euroc_truth(states, sensor) if states.is_file() else None
    layout = make_layout(root, files, stamps_ns, read_camera_file(sensor), truth)
    return replace(layout, imu=find_imu_file(root, native, sensor))


def _euroc_truth(states: Path, sensor: Path) -> Trajectory:
    """True poses of the camera from those of the body: ``world_from_body @ body_from_camera`` (T_BS)."""
    body_from_camera = read_body_from_sensor(sensor)
    try:
        rows = [line.split(",") for line in states.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()]
        bodies = [SE3.from_quaternion(np.array(row[4:8], dtype=float), np.array(row[1:4], dtype=float)) for row in rows]
        return Trajectory(np.array([int(row[0]) for row in rows]), tuple(body @ body_from_camera for body in bodies))
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read the ground truth {states}: {error}") from error


def _read_kitti(root: Path, rate_hz: float) -> Layout | None:
    calibration = root / "calib.txt"
    for name, row in _KITTI_PROJECTIONS.items():
        files = list_images(root / name)
        if files and calibration.is_file():
            projection = _kitti_projection(calibration, row)
            _, header = first_readable(files)
            camera = camera_from_calibration(header.width, header.height, projection[:, :3])
            check_image_of_calibration(camera)
            stamps_ns = _kitti_stamps(root, files, rate_hz)
            truth = _kitti_truth(root, files, stamps_ns, projection)
            return make_layout(root, files, stamps_ns, camera, truth)
    return None


def _kitti_projection(calibration: Path, row: int) -> Array:
    """Projection matrix (3, 4) of one line of calib.txt, from the frame of camera 0."""
    try:
        line = calibration.read_text(encoding="utf-8").splitlines()[row]
        return np.reshape(np.array(line.rpartition(":")[2].split(), dtype=float), (3, 4))
    except (OSError, IndexError, ValueError) as error:
        raise CalibrationError(f"line {row + 1} of {calibration} is no 3x4 projection matrix: {error}") from error


def kitti_poses(root: Path) -> Path | None:
    """Where the poses of a sequence lie as downloaded: ``poses/06.txt`` beside ``sequences``; None elsewhere."""
    place = root.resolve()
    return place.parents[1] / "poses" / f"{place.name}.txt" if place.parent.name == "sequences" else None


def _kitti_truth(root: Path, files: list[Path], stamps_ns: list[int], projection: Array) -> Trajectory | None:
    """Poses of camera 0 (``kitti_poses``), moved to the camera used."""
    path = kitti_poses(root)
    if path is None or not path.is_file():
        return None
    matrices = _read_numbers(path, (-1, 3, 4))
    numbers = [int(file.stem) for file in files]
    if max(numbers) >= len(matrices):
        raise SourceError(f"{path} has {len(matrices)} poses, too few for image {max(numbers)} of {root}")
    camera_from_camera_0 = SE3(np.eye(3), np.asarray(np.linalg.solve(projection[:, :3], projection[:, 3]), np.float64))
    poses = (SE3(nearest_rotation(one[:, :3]), one[:, 3]) @ camera_from_camera_0.inverse for one in matrices[numbers])
    return Trajectory(np.array(stamps_ns), tuple(poses))


def _kitti_stamps(root: Path, files: list[Path], rate_hz: float) -> list[int]:
    try:
        numbers = [int(path.stem) for path in files]
        times = root / "times.txt"
        if times.is_file() and rate_hz == 0:
            all_stamps = [seconds_to_ns(f"{float(line):.9f}") for line in times.read_text(encoding="utf-8").split()]
            return [all_stamps[number] for number in numbers]
    except (OSError, ValueError, IndexError) as error:
        raise SourceError(f"{root} is not numbered as KITTI is: {error}") from error
    return stamps_at_rate(numbers, rate_hz or KITTI_RATE_HZ)


def _read_tum(root: Path, rate_hz: float) -> Layout | None:
    """Images listed in ``rgb.txt``; its comment says which of TUM's cameras it was, the folder's name lets guess it."""
    listing = root / "rgb.txt"
    if not listing.is_file():
        return None
    refuse_rate(root, rate_hz)
    lines = [line.strip() for line in read_text(listing, SourceError).splitlines()]
    comments = " ".join(line for line in lines if line[:1] == "#")
    rows = [line.split() for line in lines if line and line[0] != "#"]
    if not rows:
        raise SourceError(f"{listing} lists no images")
    try:
        stamps_ns = [seconds_to_ns(stamp) for stamp, _ in rows]
        files = [root / "rgb" / PurePosixPath(name).relative_to("rgb").name for _, name in rows]
    except ValueError as error:
        raise SourceError(f"{listing} does not list images as TUM RGB-D does: {error}") from error
    recorded, named = _TUM_RECORDING.search(comments), _TUM_NUMBER.search(root.resolve().name)
    layout = make_layout(root, files, stamps_ns, _tum_camera(recorded[1]) if recorded else None)
    return replace(layout, camera_by_name=_tum_camera(named[1]) if named else None)


def _tum_camera(number: str) -> pycolmap.Camera:
    (fx, fy, cx, cy), distortion = _TUM_CAMERAS[number]
    return camera_from_calibration(640, 480, [fx, 0, cx, 0, fy, cy, 0, 0, 1], "plumb_bob", distortion)


def _read_numbers(path: Path, shape: tuple[int, ...]) -> Array:
    try:
        return np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64).reshape(shape)
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read {shape} numbers from {path}: {error}") from error


def read_pose_matrix(path: Path) -> SE3 | None:
    """The pose of a file with a matrix (4, 4), its rotation made orthonormal; None where it is not finite.

    Scanners write a pose that is not finite where they had lost track. Raises SourceError for what is no pose.
    """
    try:
        matrix = np.array(read_text(path, SourceError, advice=": unpack the sequence again").split(), dtype=np.float64)
        matrix = matrix.reshape(4, 4)
    except ValueError as error:
        raise SourceError(f"cannot read (4, 4) numbers from {path}: unpack the sequence again ({error})") from error
    if not np.all(np.isfinite(matrix)):
        return None
    if not np.allclose(matrix[3], _BOTTOM):
        raise SourceError(f"the last line of the pose {path} is not '0 0 0 1': unpack the sequence again")
    return SE3(nearest_rotation(matrix[:3, :3]), matrix[:3, 3])

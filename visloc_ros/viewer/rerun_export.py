"""A map and a trajectory in it as a recording that Rerun plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import scratch_folder
from visloc_ros.core.errors import OutputError, SetupError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.viewer.point_colours import point_colours
from visloc_ros.viewer.scene import QUERY_COLOUR, REFERENCE_COLOUR
from visloc_ros.viewer.trajectory_view import ShownTrajectory

TIMELINE = "camera"  # seconds since the first pose


def write_rerun(path: Path, place: Map, shown: ShownTrajectory | None) -> None:
    """Write a recording (.rrd) as a whole or not at all. Raises SetupError without rerun-sdk, OutputError."""
    try:
        import rerun
    except ImportError as error:
        raise SetupError("--rerun needs the package rerun-sdk: pip install rerun-sdk") from error
    try:
        with scratch_folder(path) as folder:
            recording = rerun.RecordingStream("visloc_ros")
            recording.save(folder / path.name)
            _log_map(rerun, recording, place)
            if shown is not None:
                _log_drive(rerun, recording, shown)
            recording.flush()
            recording.disconnect()
            (folder / path.name).replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _log_map(rerun: Any, recording: Any, place: Map) -> None:
    if place.manifest.gravity_aligned:
        recording.log("map", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log("map/points", rerun.Points3D(place.points, colors=point_colours(place)), static=True)
    for image in place.images:
        name, thumbnail = f"map/images/{image.name.replace('/', '_')}", place.thumbnails.get(image.name)
        _log_camera(rerun, recording, name, image.map_from_camera, image.camera, REFERENCE_COLOUR, static=True)
        if thumbnail is not None:
            recording.log(name, rerun.EncodedImage(contents=thumbnail, media_type="image/jpeg"), static=True)


def _log_drive(rerun: Any, recording: Any, shown: ShownTrajectory) -> None:
    trajectory, colours = shown.trajectory, shown.colours
    way = rerun.LineStrips3D(_pieces(trajectory.positions), colors=colours[1:])
    recording.log("map/way", way, static=True)
    for index, (stamp_ns, pose) in enumerate(zip(trajectory.stamps_ns.tolist(), trajectory.poses, strict=True)):
        recording.set_time(TIMELINE, duration=(stamp_ns - int(trajectory.stamps_ns[0])) / NANOSECONDS)
        _log_camera(rerun, recording, "map/camera", pose, shown.camera, QUERY_COLOUR)
        if (picture := shown.pictures.get(index)) is not None:
            encoded = rerun.EncodedImage(contents=encode_jpeg(picture, 85), media_type="image/jpeg")
            recording.log("map/camera", encoded)
        if shown.errors is not None and np.isfinite(shown.errors[index]):
            recording.log("error", rerun.Scalars(float(shown.errors[index])))


def _log_camera(
    rerun: Any,
    recording: Any,
    name: str,
    map_from_camera: SE3,
    camera: pycolmap.Camera,
    colour: tuple[int, int, int],
    static: bool = False,
) -> None:
    w, x, y, z = map_from_camera.quaternion.tolist()
    transform = rerun.Transform3D(translation=map_from_camera.translation, quaternion=[x, y, z, w])
    pinhole = rerun.Pinhole(
        image_from_camera=camera.calibration_matrix(),
        resolution=[camera.width, camera.height],
        camera_xyz=rerun.ViewCoordinates.RDF,
        color=colour,
    )
    recording.log(name, transform, pinhole, static=static)


def _pieces(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The path (N, 3) as pieces (N - 1, 2, 3), each of which has a colour."""
    return np.stack([positions[:-1], positions[1:]], axis=1)

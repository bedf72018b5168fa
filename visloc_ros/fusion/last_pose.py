"""The last good pose on disk, from which the next run begins its search."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import rescale_covariance
from visloc_ros.core.types import MapIdentity

FILE_NAME = "last_pose.json"
MAX_BYTES = 65536


@dataclass(frozen=True, eq=False)
class LastPose:
    """``map_from_base`` with its covariance (6, 6) in a map, and when it was true.

    ``frame_uuid`` is that of the map's frame; empty where it is not known, as in those saved by older versions.
    """

    map_name: str
    stamp_ns: int
    map_from_base: SE3
    covariance: Array
    frame_uuid: str = ""

    def in_map(self, identity: MapIdentity) -> tuple[SE3, Array] | None:
        """The pose with its covariance in another map, or the same; None where no transform between them is known."""
        frame = CoordinateFrame(self.frame_uuid) if self.frame_uuid else None
        of_pose = MapIdentity(self.map_name, identity.metric, on_earth=identity.on_earth, frame=frame)
        map_from_saved = identity.from_map(of_pose)
        if map_from_saved is None:
            return None
        return map_from_saved.apply_to_pose(self.map_from_base), rescale_covariance(self.covariance, map_from_saved)


def write_last_pose(folder: Path, pose: LastPose) -> None:
    """Replace the saved pose; a power cut leaves the old one or the new one.

    Raises OutputError where it cannot be written, ValueError on a pose that is not finite.
    """
    values = {
        "map_name": pose.map_name,
        "frame_uuid": pose.frame_uuid,
        "stamp_ns": pose.stamp_ns,
        "position": pose.map_from_base.translation.tolist(),
        "quaternion_wxyz": pose.map_from_base.quaternion.tolist(),
        "covariance": np.asarray(pose.covariance).reshape(36).tolist(),
    }
    with atomic_write(folder / FILE_NAME) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(values, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def read_last_pose(folder: Path) -> LastPose | None:
    """The saved pose, None where none was saved yet. Raises SourceError on a file that holds no pose."""
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too long")
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{path} holds no saved pose ({error}): delete it") from error


def _parsed(values: dict[str, object]) -> LastPose:
    numbers = np.array([*values["position"], *values["quaternion_wxyz"], *values["covariance"]], dtype=np.float64)  # type: ignore[misc]
    if numbers.shape != (43,) or not np.all(np.isfinite(numbers)):
        raise ValueError("its numbers are not finite or too few")
    if abs(np.linalg.norm(numbers[3:7]) - 1.0) > 1e-6:
        raise ValueError("its quaternion is not of length 1")
    pose = SE3.from_quaternion(numbers[3:7], numbers[:3])
    covariance = numbers[7:].reshape(6, 6)
    if fault := covariance_fault(covariance):
        raise ValueError(f"its covariance is invalid: {fault}")
    stamp_ns, frame_uuid = int(values["stamp_ns"]), str(values.get("frame_uuid", ""))  # type: ignore[call-overload]
    return LastPose(str(values["map_name"]), stamp_ns, pose, covariance, frame_uuid)

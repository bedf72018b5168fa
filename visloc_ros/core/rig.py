"""A rig: cameras in fixed places on one body, as in COLMAP (its rigs and frames) and on a robot (``/tf_static``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pycolmap

from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3, Array, nearest_rotation
from visloc_ros.core.plausibility import is_plausible_pose

_ROUNDED = 0.01
"""Of the entries of a rotation, and of the length of a quaternion: two written digits."""


@dataclass(frozen=True, eq=False)
class RigCamera:
    """One camera of a rig: its place, optical axes (x right, y down, z forward), and its intrinsics where known.

    ``camera`` is 0x0 pixels large where a file does not say its size. ``image_topic`` is that of its images in bags,
    where it is known. ``time_shift_s`` is to be added to its stamps for those of the rig's clock.
    """

    rig_from_camera: SE3
    camera: pycolmap.Camera | None = None
    image_topic: str = ""
    time_shift_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras by name. The first one is the reference: of two cameras that contradict each other it is believed.

    Raises CalibrationError for a rig without cameras, and for a place that no camera of a robot has.
    """

    cameras: Mapping[str, RigCamera]

    def __post_init__(self) -> None:
        if not self.cameras:
            raise CalibrationError("a rig needs at least one camera")
        for name, camera in self.cameras.items():
            if not is_plausible_pose(camera.rig_from_camera):
                raise CalibrationError(f"rig_from_camera of '{name}' is not finite: give metres and a rotation")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras, that of the reference first."""
        return tuple(self.cameras)

    @property
    def reference(self) -> str:
        """Name of the reference camera."""
        return self.names[0]

    def rig_from_camera(self, name: str) -> SE3:
        """The place of a camera on the rig. Raises CalibrationError where there is no such camera."""
        if name not in self.cameras:
            raise CalibrationError(f"the rig has no camera '{name}', only {', '.join(self.names)}")
        return self.cameras[name].rig_from_camera

    def with_place(self, name: str, rig_from_camera: SE3) -> Rig:
        """The same rig with a camera in another place."""
        self.rig_from_camera(name)
        moved = replace(self.cameras[name], rig_from_camera=rig_from_camera)
        return Rig({**self.cameras, name: moved})

    def with_camera(self, name: str, camera: pycolmap.Camera) -> Rig:
        """The same rig with other intrinsics of a camera."""
        return Rig({**self.cameras, name: replace(self.cameras[name], camera=camera)})

    def with_time_shift(self, name: str, time_shift_s: float) -> Rig:
        """The same rig with another clock of a camera."""
        return Rig({**self.cameras, name: replace(self.cameras[name], time_shift_s=time_shift_s)})


def transform_from_matrix(values: object) -> SE3:
    """A transform from a matrix (4, 4), in rows or in one row. Raises CalibrationError where it is no rigid one."""
    matrix = _numbers(values, (4, 4), "a 4x4 matrix")
    if not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0)):
        raise CalibrationError("the last row of the 4x4 matrix is not 0, 0, 0, 1: give a_from_b, not transposed")
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ROUNDED:
        raise CalibrationError("the 3x3 part of the matrix is no rotation: its rows must be orthogonal unit vectors")
    if np.linalg.det(rotation) < 0.0:
        raise CalibrationError("the 3x3 part of the matrix mirrors: its determinant must be 1")
    return SE3(nearest_rotation(rotation), matrix[:3, 3])


def transform_from_quaternion(wxyz: object, translation: object) -> SE3:
    """A transform from a quaternion, scalar first, and a translation in metres. Raises CalibrationError."""
    quaternion = _numbers(wxyz, (4,), "a quaternion of four numbers")
    if abs(float(np.linalg.norm(quaternion)) - 1.0) > _ROUNDED:
        raise CalibrationError(f"the quaternion {quaternion.tolist()} does not have the length 1")
    return SE3.from_quaternion(quaternion, _numbers(translation, (3,), "a translation of three numbers"))


def _numbers(values: object, shape: tuple[int, ...], what: str) -> Array:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{what} is needed, not {values!r}") from error
    if numbers.size != np.prod(shape) or not np.isfinite(numbers).all():
        raise CalibrationError(f"{what} is needed, not {values!r}")
    return numbers.reshape(shape)

"""Cameras of map images: equal ones become one camera, which structure from motion refines once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pycolmap

from visloc_ros.core.camera import is_same_camera


@dataclass(frozen=True, eq=False)
class MapCamera:
    """A camera that images share, and whether its intrinsics are known; guessed ones are refined."""

    intrinsics: pycolmap.Camera
    calibrated: bool


class CameraGroups:
    """The cameras of one source, each once for all its frames."""

    def __init__(self, calibrated: bool) -> None:
        self._calibrated = calibrated
        self._cameras: list[MapCamera] = []
        self._lock = threading.Lock()

    def find(self, intrinsics: pycolmap.Camera) -> MapCamera:
        """The camera with these intrinsics, the same object for every image of it, in all threads."""
        with self._lock:
            for known in self._cameras:
                if is_same_camera(known.intrinsics, intrinsics):
                    return known
            self._cameras.append(MapCamera(intrinsics, self._calibrated))
            return self._cameras[-1]

"""A camera of a rig that stands still while another one moves: its image is frozen, however it was encoded anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.observation import observe

_SURE = 0.999


class StandingCameras:
    """Remembers where each camera was found when the cameras last agreed; nothing makes an image move by itself."""

    def __init__(self) -> None:
        self._before: dict[str, AnchorPose] = {}

    def contradicting(self, found: Sequence[CameraSearch], max_error_px: float) -> frozenset[str]:
        """Names of the found cameras that have not moved and contradict one that has."""
        moving = [camera for camera in found if self._has_moved(camera)]
        still = [camera for camera in found if camera not in moving and camera.name in self._before]
        return frozenset(
            camera.name for camera in still if any(observe(one, camera).contradicts(max_error_px) for one in moving)
        )

    def note(self, agreeing: Iterable[CameraSearch]) -> None:
        """Take the cameras that agree on a pose."""
        self._before |= {camera.name: camera.anchor for camera in agreeing}

    def _has_moved(self, camera: CameraSearch) -> bool:
        before = self._before.get(camera.name)
        if before is None:
            return False
        step = pose_difference(camera.anchor.map_from_camera, before.map_from_camera)
        squared = step @ np.linalg.solve(camera.anchor.covariance + before.covariance, step)
        return bool(squared > chi_square_quantile(_SURE, 6))

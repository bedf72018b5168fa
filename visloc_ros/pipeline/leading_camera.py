"""Which camera of a body odometry follows, when several are mounted on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from visloc_ros.core.clock import CLOCK_JUMP_NS
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Reason, Rejection

LOST_NS = 300_000_000
"""Without odometry, after which another camera leads: a pose is carried on as long through frames that are missing."""
_PATIENCE_NS = 2 * NANOSECONDS  # for odometry to begin
_BLIND = (Reason.FEW_FEATURES, Reason.FEW_INLIERS, Reason.BLURRED)


@dataclass(eq=False)
class Lead:
    """The camera that odometry follows, since when, and the last stamp at which odometry had a pose."""

    camera: str
    begin_ns: int
    tracked_ns: int

    def is_lost(self, now_ns: int) -> bool:
        """Whether odometry has had no pose for too long, or has not begun."""
        has_begun = self.tracked_ns > self.begin_ns
        return now_ns - self.tracked_ns > (LOST_NS if has_begun else _PATIENCE_NS)


def sees(result: OdometryPose | Rejection) -> bool:
    """Whether the camera of an odometry sees something: without motion, or time, no camera would give a pose."""
    return isinstance(result, OdometryPose) or result.reason not in _BLIND


class LeadingCamera:
    """The first camera leads until odometry is lost; then the one does whose image comes next. From any thread."""

    def __init__(self, first: str) -> None:
        self._lead = Lead(first, -1, -1)
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The camera that leads."""
        return self._lead.camera

    def takes(self, camera: str, stamp_ns: int) -> bool:
        """Whether odometry is to follow an image that has come."""
        with self._lock:
            lead = self._lead
            if lead.begin_ns < 0 or stamp_ns < lead.tracked_ns - CLOCK_JUMP_NS:
                self._lead = Lead(lead.camera, stamp_ns, stamp_ns)
            elif camera != lead.camera and lead.is_lost(stamp_ns):
                self._lead = Lead(camera, stamp_ns, stamp_ns)
            return camera == self._lead.camera

    def follow(self, camera: str, stamp_ns: int) -> None:
        """Another node has decided which camera leads."""
        with self._lock:
            if camera != self._lead.camera:
                self._lead = Lead(camera, stamp_ns, stamp_ns)

    def tracked(self, camera: str, stamp_ns: int) -> None:
        """The camera that leads saw something at a stamp."""
        with self._lock:
            if camera == self._lead.camera:
                self._lead.tracked_ns = max(stamp_ns, self._lead.tracked_ns)

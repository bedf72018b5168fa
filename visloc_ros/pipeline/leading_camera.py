"""Which camera of a body odometry follows, when several are mounted on it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from visloc_ros.core.clock import CLOCK_JUMP_NS
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Reason, Rejection

LOST_NS = 300_000_000
"""Without odometry, after which another camera leads: a pose is carried on as long through frames that are missing."""
_MISSING = 3.5  # frames in a row: a slow camera takes longer to be lost
_PATIENCE_NS = 2 * NANOSECONDS  # for odometry to begin
_KEPT = 8  # intervals between the images of a camera
_BLIND = (Reason.FEW_FEATURES, Reason.FEW_INLIERS, Reason.BLURRED, Reason.FROZEN)


@dataclass(eq=False)
class Lead:
    """The camera that odometry follows, since when, and the stamps of its images: the newest, and those that saw."""

    camera: str
    begin_ns: int
    tracked_ns: int
    newest_ns: int = 0
    intervals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def tracked(self, stamp_ns: int) -> None:
        """Note an image in which odometry saw something."""
        self.tracked_ns = max(stamp_ns, self.tracked_ns)

    def arrived(self, stamp_ns: int) -> None:
        """Note an image that has come."""
        if 0 < self.newest_ns < stamp_ns:
            self.intervals_ns.append(stamp_ns - self.newest_ns)
        self.newest_ns = max(stamp_ns, self.newest_ns)

    def is_lost(self, now_ns: int) -> bool:
        """Whether odometry has had no pose for too long at a stamp, or has not begun."""
        return now_ns - self.tracked_ns > (self._lost_ns if self.tracked_ns > self.begin_ns else _PATIENCE_NS)

    def is_silent(self, passed_ns: int) -> bool:
        """Whether a time without a single image is too long."""
        return passed_ns > (self._lost_ns if self.newest_ns > 0 else _PATIENCE_NS)

    @property
    def _lost_ns(self) -> float:
        return max(LOST_NS, _MISSING * median(self.intervals_ns)) if self.intervals_ns else LOST_NS


def sees(result: OdometryPose | Rejection) -> bool:
    """Whether the camera of an odometry sees something: without motion, or time, no camera would give a pose."""
    return isinstance(result, OdometryPose) or result.reason not in _BLIND


class LeadingCamera:
    """The first camera leads until it is lost; then the one does whose image comes next. From any thread.

    A camera is lost once odometry sees nothing in its images for a while, by their own stamps, or once none have come
    while those of another camera went on: not because a frame takes long, nor because its clock differs.
    """

    def __init__(self, first: str) -> None:
        self._lead, self._is_blind = Lead(first, -1, -1), False
        self._since_ns: dict[str, int] = {}  # first stamps of other cameras since the lead's newest image
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The camera that leads."""
        return self._lead.camera

    def arrived(self, camera: str, stamp_ns: int) -> None:
        """Note an image that has come, of any camera, whether it is used or not; in the order of arrival."""
        with self._lock:
            lead = self._lead
            if camera != lead.camera:
                self._since_ns.setdefault(camera, stamp_ns)
                return
            if stamp_ns < lead.newest_ns - CLOCK_JUMP_NS:
                self._begin(camera, stamp_ns)
            self._lead.arrived(stamp_ns)
            self._since_ns.clear()

    def takes(self, camera: str, stamp_ns: int, *, may_lead: bool = True) -> bool:
        """Whether odometry is to follow an image of a camera, which leads from now on if the one before is lost."""
        with self._lock:
            lead = self._lead
            if camera == lead.camera:
                if lead.begin_ns < 0:
                    lead.begin_ns = lead.tracked_ns = stamp_ns
                return True
            if may_lead and self._is_lost(camera, stamp_ns):
                self._begin(camera, stamp_ns)
            return camera == self._lead.camera

    def follow(self, camera: str, stamp_ns: int) -> None:
        """Another node has decided which camera leads."""
        with self._lock:
            if camera != self._lead.camera:
                self._begin(camera, stamp_ns)

    def tracked(self, camera: str, stamp_ns: int) -> None:
        """Note an image of the camera that leads in which odometry saw something."""
        with self._lock:
            if camera == self._lead.camera:
                self._lead.tracked(stamp_ns)
                self._is_blind = False

    def missed(self, camera: str, stamp_ns: int) -> None:
        """Note an image in which odometry saw nothing."""
        with self._lock:
            self._is_blind = self._is_blind or (camera == self._lead.camera and self._lead.is_lost(stamp_ns))

    def give_up(self, camera: str) -> None:
        """What a camera shows is wrong: another one leads as soon as it has an image."""
        with self._lock:
            self._is_blind = self._is_blind or camera == self._lead.camera

    def _is_lost(self, camera: str, stamp_ns: int) -> bool:
        """Whether the camera that leads is lost at an image of another one."""
        since_ns = self._since_ns.setdefault(camera, stamp_ns)
        if stamp_ns < since_ns - CLOCK_JUMP_NS:
            self._since_ns[camera] = stamp_ns
        return self._is_blind or self._lead.is_silent(stamp_ns - since_ns)

    def _begin(self, camera: str, stamp_ns: int) -> None:
        self._lead, self._is_blind = Lead(camera, stamp_ns, stamp_ns, stamp_ns), False
        self._since_ns.clear()

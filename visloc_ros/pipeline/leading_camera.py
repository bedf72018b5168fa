"""Which camera of a body odometry follows, when several are mounted on it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from statistics import median

from visloc_ros.core.clock import CLOCK_JUMP_NS
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Reason, Rejection

LOST_NS = 300_000_000
"""Without odometry, after which another camera leads: a pose is carried on as long through frames that are missing."""
_MISSING = 3.5  # frames in a row: a slow camera takes longer to be lost
_PATIENCE_NS = 2 * NANOSECONDS  # for odometry to begin, and for a camera that sees nothing of the map
_KEPT = 8  # intervals between the images of a camera
_UNPLUGGED_NS = NANOSECONDS  # without an image of a camera beside: the driver of one on a busy computer may pause
_LATE = 1.5  # usual intervals without an image: it does not come any more
_SLOW = 1.5  # times the interval of another camera: then that one gives more poses
_WEAK = 0.25  # of the points that odometry mostly follows: the rest of the image is out of focus, or covered
_BLIND = (Reason.FEW_FEATURES, Reason.FEW_INLIERS, Reason.BLURRED, Reason.FROZEN)


class Arrivals:
    """When the images of one camera were taken: the newest stamp, and the usual interval."""

    def __init__(self) -> None:
        self.newest_ns = 0
        self._intervals_ns: deque[int] = deque(maxlen=_KEPT)

    def add(self, stamp_ns: int) -> None:
        """Note an image that has come."""
        if stamp_ns < self.newest_ns - CLOCK_JUMP_NS:
            self.newest_ns = 0
        if 0 < self.newest_ns < stamp_ns:
            self._intervals_ns.append(stamp_ns - self.newest_ns)
        self.newest_ns = max(stamp_ns, self.newest_ns)

    @property
    def interval_ns(self) -> float:
        """The median of the last intervals, 0 while there are few."""
        return median(self._intervals_ns) if len(self._intervals_ns) == _KEPT else 0.0

    @property
    def lost_ns(self) -> float:
        """The time without an image, or without odometry, after which the camera is lost."""
        return max(LOST_NS, _MISSING * self.interval_ns)


@dataclass(eq=False)
class Lead:
    """The camera that odometry follows, since when, and the newest stamp at which odometry saw something."""

    camera: str
    begin_ns: int
    tracked_ns: int
    arrivals: Arrivals = field(default_factory=Arrivals)
    num_points: deque[int] = field(
        default_factory=lambda: deque(maxlen=32)
    )  # that odometry followed in the last frames

    def is_lost(self, now_ns: int) -> bool:
        """Whether odometry has had no pose for too long at a stamp, or has not begun."""
        has_begun = self.tracked_ns > self.begin_ns
        return now_ns - self.tracked_ns > (self.arrivals.lost_ns if has_begun else _PATIENCE_NS)


class _Sight(Enum):
    """What the newest image of the leading camera shows."""

    SEES = auto()
    NO_MAP = auto()
    NOTHING = auto()
    WRONG = auto()


def sees(result: OdometryPose | Rejection) -> bool:
    """Whether the camera of an odometry sees something: without motion, or time, no camera would give a pose."""
    return isinstance(result, OdometryPose) or result.reason not in _BLIND


def num_points(result: OdometryPose | Rejection) -> int:
    """How many points an odometry follows."""
    return result.num_tracked if isinstance(result, OdometryPose) else 0


class LeadingCamera:
    """The first camera leads until it is lost; then the one does whose image comes next. From any thread.

    A camera is lost once odometry sees nothing in its images for a while, by their own stamps, or once none, or far
    fewer, have come while those of another camera went on: not because a frame takes long, nor because its clock
    differs.
    """

    def __init__(self, first: str) -> None:
        self._lead, self._sight = Lead(first, -1, -1), _Sight.SEES
        self._arrivals = {first: self._lead.arrivals}
        self._since_ns: dict[str, int] = {}  # first stamps of other cameras since the lead's newest image
        self._beside_ns: dict[str, int] = {}  # the lead's newest stamps at the newest images of other cameras
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The camera that leads."""
        return self._lead.camera

    def arrived(self, camera: str, stamp_ns: int) -> None:
        """Note an image that has come, of any camera, whether it is used or not; in the order of arrival."""
        with self._lock:
            arrivals = self._arrivals.setdefault(camera, Arrivals())
            is_jump = stamp_ns < arrivals.newest_ns - CLOCK_JUMP_NS
            arrivals.add(stamp_ns)
            if camera != self._lead.camera:
                self._since_ns.setdefault(camera, stamp_ns)
                self._beside_ns[camera] = self._lead.arrivals.newest_ns
                return
            self._since_ns.clear()
            if is_jump:
                self._begin(camera, stamp_ns)

    def takes(self, camera: str, stamp_ns: int, *, may_lead: bool = True, is_last_resort: bool = False) -> bool:
        """Whether odometry is to follow an image of a camera, which leads from now on if the one before is lost.

        A last resort leads once that one has shown nothing for two seconds.
        """
        with self._lock:
            lead = self._lead
            if camera == lead.camera:
                if lead.begin_ns < 0:
                    lead.begin_ns = lead.tracked_ns = stamp_ns
                return True
            is_lost = self._is_gone if is_last_resort else self._is_lost
            if may_lead and is_lost(camera, stamp_ns):
                self._begin(camera, stamp_ns)
            return camera == self._lead.camera

    def is_sending(self, camera: str) -> bool:
        """Whether a camera still sends images, used or not, while the leading one does."""
        with self._lock:
            if camera == self._lead.camera:
                return True
            arrivals, beside_ns = self._arrivals.get(camera), self._beside_ns.get(camera, self._lead.begin_ns)
            long_ns = max(_UNPLUGGED_NS, 0.0 if arrivals is None else arrivals.lost_ns)
            return self._lead.arrivals.newest_ns - beside_ns < long_ns

    def is_missing(self, camera: str, stamp_ns: int) -> bool:
        """Whether the leading camera should have sent an image before the one of another camera with this stamp."""
        with self._lock:
            usual_ns = self._lead.arrivals.interval_ns
            return usual_ns > 0.0 and self._passed_ns(camera, stamp_ns) > _LATE * usual_ns

    def follow(self, camera: str, stamp_ns: int) -> None:
        """Another node has decided which camera leads."""
        with self._lock:
            if camera != self._lead.camera:
                self._begin(camera, stamp_ns)

    def tracked(self, camera: str, stamp_ns: int, points: int) -> None:
        """Note an image of the camera that leads in which odometry saw something, and followed so many points."""
        with self._lock:
            if camera == self._lead.camera:
                self._lead.tracked_ns = max(stamp_ns, self._lead.tracked_ns)
                self._lead.num_points.append(points)
                self._sight = _Sight.SEES

    def skipped(self, camera: str, stamp_ns: int) -> None:
        """Note an image that there was no time for: it shows as much as the one before."""
        with self._lock:
            if camera == self._lead.camera and self._sight is _Sight.SEES:
                self._lead.tracked_ns = max(stamp_ns, self._lead.tracked_ns)

    def missed(self, camera: str) -> None:
        """Note an image in which odometry saw nothing."""
        self._note(camera, _Sight.NOTHING)

    def outdone(self, camera: str, points: int) -> None:
        """Note an image in which odometry followed so many points, but only other cameras saw the map."""
        with self._lock:
            usual = median(self._lead.num_points) if self._lead.num_points else 0
        self._note(camera, _Sight.WRONG if points < _WEAK * usual else _Sight.NO_MAP)

    def give_up(self, camera: str) -> None:
        """What a camera shows is wrong: another one leads as soon as it has an image."""
        self._note(camera, _Sight.WRONG)

    def _note(self, camera: str, sight: _Sight) -> None:
        with self._lock:
            if camera == self._lead.camera:
                self._sight = sight

    def _is_lost(self, camera: str, stamp_ns: int) -> bool:
        """Whether the camera that leads is lost at an image of another one."""
        arrivals = self._lead.arrivals
        lost_ns = arrivals.lost_ns if arrivals.newest_ns > 0 else _PATIENCE_NS
        return self._is_blind or self._is_slow(camera) or self._passed_ns(camera, stamp_ns) > lost_ns

    def _is_gone(self, camera: str, stamp_ns: int) -> bool:
        """Whether the camera that leads has long sent nothing, or shown nothing at all, at an image of another one."""
        lead = self._lead
        long_ns = max(_PATIENCE_NS, lead.arrivals.lost_ns)
        shows_nothing = self._sight is _Sight.NOTHING and lead.arrivals.newest_ns - lead.tracked_ns > long_ns
        return shows_nothing or self._passed_ns(camera, stamp_ns) > long_ns

    @property
    def _is_blind(self) -> bool:
        """Whether the camera that leads has shown nothing for long, with the images that wait while it is looked at."""
        lead, newest_ns = self._lead, self._lead.arrivals.newest_ns
        if self._sight is _Sight.NO_MAP:
            return newest_ns - lead.tracked_ns > _PATIENCE_NS
        return self._sight is _Sight.WRONG or (self._sight is _Sight.NOTHING and lead.is_lost(newest_ns))

    def _is_slow(self, camera: str) -> bool:
        """Whether another camera sends far more images than the one that leads."""
        usual_ns = self._arrivals[camera].interval_ns if camera in self._arrivals else 0.0
        return 0.0 < _SLOW * usual_ns < self._lead.arrivals.interval_ns

    def _passed_ns(self, camera: str, stamp_ns: int) -> int:
        """How much time has passed, by the stamps of another camera, since the newest image of the one that leads.

        Images that had come before, and have waited, show none.
        """
        since_ns = self._since_ns.get(camera, stamp_ns)
        if stamp_ns < since_ns - CLOCK_JUMP_NS:
            self._since_ns[camera] = since_ns = stamp_ns
        return stamp_ns - since_ns

    def _begin(self, camera: str, stamp_ns: int) -> None:
        arrivals = self._arrivals.setdefault(camera, Arrivals())
        self._lead, self._sight = Lead(camera, stamp_ns, stamp_ns, arrivals), _Sight.SEES
        self._since_ns.clear()
        self._beside_ns.clear()

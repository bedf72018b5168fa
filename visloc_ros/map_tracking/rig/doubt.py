"""Whether a rig's leading camera may stick, or show another one's images, as long as no other camera has told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from visloc_ros.core.geometry import Array
from visloc_ros.core.recent_motion import RecentMotion
from visloc_ros.core.sudden_stop import StampedPose, SuddenStop
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.map_tracking.rig.agreement import OwnPose
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera

_REMEMBERED_NS, _KEPT = 3 * NANOSECONDS, 32  # poses that show how the camera moved before


class Doubt:
    """Doubts the leading camera while it alone sees the map, and has stopped at once, or begins without a known motion.

    It does until the camera certainly moves, and no slower than before, or another one shows that the robot stands: by
    its own pose or, if it does not see the map, by images that stand still. Where it begins, or is not where its motion
    leads, another one must also have shown something else since.
    """

    def __init__(self) -> None:
        self.brakes = False
        """Whether the camera has moved less than before, in the newest frame."""
        self._same: dict[str, bool] = {}  # whether other cameras have shown the same since the camera began
        self._stop: SuddenStop | None = None
        self._begin_ns: int | None = None  # of the first pose after a motion that nothing shows, or a leap
        self._seen: deque[StampedPose] = deque(maxlen=_KEPT)  # poses by the camera itself, newest first
        self._last: OwnPose | None = None  # the newest of them

    @property
    def is_open(self) -> bool:
        """Whether another camera is to tell."""
        return self._stop is not None or self._begin_ns is not None

    @property
    def has_stopped(self) -> bool:
        """Whether the camera has stopped, which no other one has confirmed."""
        return self._stop is not None

    def seconds(self, stamp_ns: int) -> float:
        """Time since the camera stopped; 0 if it has not."""
        return 0.0 if self._stop is None else self._stop.seconds(stamp_ns)

    def look(self, newest: StampedPose, before: RecentMotion, covariance: Array, *, others_tell: bool) -> None:
        """Note whether the camera brakes, at a pose with a covariance (6, 6) after those before.

        Without other cameras that tell it is believed.
        """
        self.brakes, self._stop = False, self._stop if others_tell else None
        if self._stop is None:
            found = SuddenStop.of(list(dict([newest, *reversed(before.poses)]).items()), covariance)
            self.brakes = found is not None
            self._stop = found if found is not None and found.is_stop and others_tell else None

    def begin(self, stamp_ns: int) -> None:
        """Doubt the camera from its pose at a stamp on: nothing explains how it came there."""
        if self._begin_ns is None:
            self._begin_ns = stamp_ns
            self.lost()

    @property
    def begins(self) -> bool:
        """Whether it has begun, and no other camera has told yet."""
        return self._begin_ns is not None

    def compare(self, name: str, stamp_ns: int, *, is_same: bool) -> None:
        """Take whether another camera shows the same as this one, in its image of a stamp, and may be shown for it."""
        if self._begin_ns is not None and stamp_ns >= self._begin_ns:
            self._same[name] = is_same
        if is_same:
            self.restart()

    def believe(self) -> None:
        """Another camera agrees, or there is none that tells: the first pose is as good as any."""
        self._begin_ns = None

    def holds(self, stamp_ns: int, own: OwnPose, others: Iterable[tuple[int, PoseByCamera]], covariance: Array) -> bool:
        """Whether the camera is doubted at a pose of its own, beside poses by other cameras' images, with their stamps.

        ``covariance`` (6, 6) is that of the last joint pose.
        """
        stop = self._stop
        if stop is not None and any(
            stop.is_confirmed_by((then_ns, one.map_from_camera), one.own + covariance) for then_ns, one in others
        ):
            self._stop = None
        self._see(stamp_ns, own)
        return self.is_open

    def _see(self, stamp_ns: int, own: OwnPose) -> None:
        """Believe the camera again at a pose of its own that certainly has moved on as before."""
        while self._seen and not 0 < stamp_ns - self._seen[-1][0] < _REMEMBERED_NS:
            self._seen.pop()
        self._seen.appendleft((stamp_ns, own.map_from_camera))
        moves, self._last = self._last is not None and own.has_moved(self._last), own
        found = SuddenStop.of(self._seen, own.covariance)
        if moves and len(self._seen) > 2 and not (found is not None and found.is_stop):
            self._stop = None
            self._begin_ns = None if self._is_other else self._begin_ns

    @property
    def _is_other(self) -> bool:
        """Whether other cameras show something else, and none of them the same."""
        return bool(self._same) and not any(self._same.values())

    def restart(self) -> None:
        """Forget the poses so far, as those of another anchor: their difference from the next ones is no motion."""
        self._seen.clear()
        self._last = None

    def lost(self) -> None:
        """The camera does not see the map: where it does next, it may look elsewhere, or for another one."""
        self._same.clear()
        self.restart()

    def confirm(self, stands_since: Callable[[int], bool]) -> None:
        """Take whether images of another camera have stood still since a stamp."""
        if self._stop is not None and stands_since(self._stop.stopped[0]):
            self._stop = None
        if self._begin_ns is not None and self._is_other and stands_since(self._begin_ns):
            self._begin_ns = None

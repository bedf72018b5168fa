"""Whether the images of a rig's leading camera may stick, as long as no other camera has shown that the robot stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from visloc_ros.core.geometry import Array
from visloc_ros.core.recent_motion import RecentMotion
from visloc_ros.core.sudden_stop import StampedPose, SuddenStop
from visloc_ros.map_tracking.rig.agreement import OwnPose
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera


class Doubt:
    """Doubts the leading camera while it alone sees the map, and has stopped at once, or begins without a known motion.

    It does until the camera certainly moves, or another one shows that the robot stands: by its own pose or, if it does
    not see the map, by images that stand still.
    """

    def __init__(self) -> None:
        self.brakes = False
        """Whether the camera has moved less than before, in the newest frame."""
        self._stop: SuddenStop | None = None
        self._begun: tuple[int, OwnPose] | None = None  # the first pose after a motion that nothing shows

    @property
    def is_open(self) -> bool:
        """Whether another camera is to tell."""
        return self._stop is not None or self._begun is not None

    @property
    def has_stopped(self) -> bool:
        """Whether the camera has stopped, which no other one has confirmed."""
        return self._stop is not None

    def seconds(self, stamp_ns: int) -> float:
        """Time since the camera stopped; 0 if it has not."""
        return 0.0 if self._stop is None else self._stop.seconds(stamp_ns)

    def look(self, newest: StampedPose, before: RecentMotion, covariance: Array, *, others_tell: bool) -> None:
        """Note whether the camera brakes or goes on again, at a pose with a covariance (6, 6) after those before.

        Without other cameras that tell it is believed.
        """
        if self._stop is not None:
            self.brakes = False
            if not others_tell or self._stop.ends(newest[1], covariance):
                self._stop = None
            return
        found = SuddenStop.of(list(dict([newest, *reversed(before.poses)]).items()), covariance)
        self.brakes, self._stop = found is not None, found if others_tell else None

    def is_first(self, stamp_ns: int, own: OwnPose, *, is_known: bool) -> bool:
        """Whether the camera may have stuck at its pose while its motion was not known, and has not moved since."""
        if self._begun is None:
            self._begun = None if is_known else (stamp_ns, own)
        elif own.has_moved(self._begun[1]):
            self._begun = None
        return self._begun is not None

    def believe(self) -> None:
        """Another camera agrees, or there is none that tells: the first pose is as good as any."""
        self._begun = None

    def is_stop(self, seen: Iterable[tuple[int, PoseByCamera]], covariance: Array) -> bool:
        """Whether the camera has stopped, and no pose by another one's image, with its stamp, confirms that."""
        stop = self._stop
        if stop is not None and any(
            stop.is_confirmed_by((then_ns, one.map_from_camera), one.own + covariance) for then_ns, one in seen
        ):
            self._stop = None
        return self._stop is not None

    def confirm(self, stands_since: Callable[[int], bool]) -> None:
        """Take whether images of another camera have stood still since a stamp."""
        if self._stop is not None and stands_since(self._stop.stopped[0]):
            self._stop = None
        if self._begun is not None and stands_since(self._begun[0]):
            self._begun = None

"""The heart: one frame in, one fused pose out; nodes, bag runner and tests all call ``Localizer.process``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Estimate, Frame, LoopClosure, OdometryPose, Rejection, TrackedPose
from visloc_ros.fusion.anchor_runner import AnchorRunner
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.innovation import Innovation


class FrameTracker(Protocol):
    """Odometry as far as it is needed here."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""

    def take_loops(self) -> Sequence[LoopClosure]:
        """Loops closed since the last call."""


class PointTracker(Protocol):
    """Map tracking as far as it is needed here."""

    def track(self, frame: Frame, predicted: SE3 | None) -> TrackedPose | Rejection:
        """Give ``map_from_camera`` of the next frame from the last anchor's points, or the reason why there is none."""

    def restart(self, anchor: AnchorPose) -> None:
        """Follow the points of an accepted anchor, which is late, from now on."""


class Listener:
    """Hears of everything that goes into the fuser; override what is of interest."""

    def on_odometry(self, result: OdometryPose | Rejection) -> None:
        """Odometry of a frame."""

    def on_tracked(self, result: TrackedPose | Rejection, verdict: Rejection | None) -> None:
        """Followed map points of a frame and what the fuser made of them: None where it took them."""

    def on_loop(self, loop: LoopClosure, verdict: Rejection | None) -> None:
        """A loop that odometry closed and what the fuser made of it: None where it was joined."""

    def on_anchor(self, result: AnchorPose | Rejection, verdict: Rejection | None) -> None:
        """An anchor and what the fuser made of it: None where it was accepted."""

    def on_innovation(self, innovation: Innovation) -> None:
        """How an anchor or a tracked pose met its prediction."""


class Localizer:
    """Joins odometry, map tracking, anchors and fusion; frames come in the order of their stamps, from one thread.

    Without a ``map_tracker`` odometry alone leads from one anchor to the next.
    """

    def __init__(
        self,
        odometry: FrameTracker,
        anchors: AnchorRunner,
        fuser: Fuser,
        listener: Listener | None = None,
        map_tracker: PointTracker | None = None,
    ) -> None:
        self.odometry = odometry
        self.anchors = anchors
        self.fuser = fuser
        self.map_tracker = map_tracker
        self._listener = listener or Listener()

    def process(self, frame: Frame) -> Estimate:
        """Take one frame through odometry, map tracking and fusion; anchors join whenever they are done."""
        odometry = self.odometry.track(frame)  # odom_from_camera, or the reason why not
        self._add_odometry(odometry)
        for loop in self.odometry.take_loops():  # a place that odometry has seen before
            self._listener.on_loop(loop, self.fuser.add_loop(loop))
        if self.map_tracker is not None:  # map_from_camera from the last anchor's points
            self._add_tracked(self.map_tracker.track(frame, self.fuser.predict(frame.stamp_ns)))
        can_join = isinstance(odometry, OdometryPose)  # an anchor meets the odometry of its own image
        if can_join and self.anchors.is_idle(frame.stamp_ns):  # latest frame wins, nothing queues up
            self.anchors.submit(frame, self.fuser.predict(frame.stamp_ns))
        for anchor in self.anchors.finished(frame.stamp_ns):  # late, each at its own image's stamp
            self._add_anchor(anchor)
        for innovation in self.fuser.take_innovations():
            self._listener.on_innovation(innovation)
        return self.fuser.estimate(frame.stamp_ns)

    def _add_odometry(self, result: OdometryPose | Rejection) -> None:
        self.fuser.add_odometry(result)
        self._listener.on_odometry(result)

    def _add_tracked(self, result: TrackedPose | Rejection) -> None:
        self._listener.on_tracked(result, self.fuser.add_tracked(result))

    def _add_anchor(self, result: AnchorPose | Rejection) -> None:
        verdict = self.fuser.add_anchor(result)
        self._listener.on_anchor(result, verdict)
        if self.map_tracker is not None and isinstance(result, AnchorPose) and verdict is None:
            self.map_tracker.restart(result)

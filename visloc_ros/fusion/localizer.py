"""The heart: one frame in, one fused pose out; nodes, bag runner and tests all call ``Localizer.process``."""

from __future__ import annotations

from typing import Protocol

from visloc_ros.core.types import AnchorPose, Estimate, Frame, OdometryPose, Rejection
from visloc_ros.fusion.anchor_runner import AnchorRunner
from visloc_ros.fusion.fuser import Fuser


class FrameTracker(Protocol):
    """Odometry as far as it is needed here."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""


class Listener:
    """Hears of everything that goes into the fuser; override what is of interest."""

    def on_odometry(self, result: OdometryPose | Rejection) -> None:
        """Odometry of a frame."""

    def on_anchor(self, result: AnchorPose | Rejection, verdict: Rejection | None) -> None:
        """An anchor and what the fuser made of it: None where it was accepted."""


class Localizer:
    """Joins odometry, anchors and fusion; frames come in the order of their stamps, from one thread."""

    def __init__(
        self, odometry: FrameTracker, anchors: AnchorRunner, fuser: Fuser, listener: Listener | None = None
    ) -> None:
        self.odometry = odometry
        self.anchors = anchors
        self.fuser = fuser
        self._listener = listener or Listener()

    def process(self, frame: Frame) -> Estimate:
        """Take one frame through odometry and fusion; anchors join whenever they are done."""
        self._add_odometry(self.odometry.track(frame))  # odom_from_camera, or the reason why not
        if self.anchors.idle:  # latest frame wins, nothing queues up
            self.anchors.submit(frame, self.fuser.predict(frame.stamp_ns))
        for anchor in self.anchors.finished(frame.stamp_ns):  # late, each at its own image's stamp
            self._add_anchor(anchor)
        return self.fuser.estimate(frame.stamp_ns)

    def _add_odometry(self, result: OdometryPose | Rejection) -> None:
        self.fuser.add_odometry(result)
        self._listener.on_odometry(result)

    def _add_anchor(self, result: AnchorPose | Rejection) -> None:
        self._listener.on_anchor(result, self.fuser.add_anchor(result))

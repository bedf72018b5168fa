"""The interfaces of odometry: the odometry itself, one around another, and the object that makes one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.config import Config
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, Image, LoopClosure, OdometryPose, Rejection
from visloc_ros.odometry.gyroscope import Turns

DepthModel = Callable[[Image], NDArray[np.float32]]
"""RGB image (H, W, 3) uint8 to depth along the optical axis, float32 metres, NaN or <= 0 where unknown.

The depth image may be smaller than the image, but shows all of it.
"""


class Odometry(Protocol):
    """Unscaled motion of the camera from consecutive frames. A subclass inherits what it need not do."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame (stamps increase), or the reason why there is none."""

    def settle(self) -> Mapping[str, float]:
        """Do the work that only the next pose needs, and give its time in milliseconds by stage.

        To be called between frames, once the pose is published; otherwise the next ``track`` begins with it.
        """
        return {}

    def take_loops(self) -> Sequence[LoopClosure]:
        """Loops closed since the last call."""
        return ()

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of other events, by name, for diagnostics; events that never happened are left out."""
        return {}

    def finish(self) -> Trajectory | None:
        """End the segment after its last frame: final ``odom_from_camera`` of all its frames.

        None where the odometry does not improve the poses that it gave.
        """
        return None

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""

    def close(self) -> None:
        """Stop what runs in the background."""


class OdometryAround(Odometry):
    """An odometry around another one, ``visual``, which does everything that a subclass does not."""

    def __init__(self, visual: Odometry) -> None:
        self._visual = visual

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""
        return self._visual.track(frame)

    def settle(self) -> Mapping[str, float]:
        """Do the work that only the next pose needs; milliseconds by stage."""
        return self._visual.settle()

    def take_loops(self) -> Sequence[LoopClosure]:
        """Loops closed since the last call."""
        return self._visual.take_loops()

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of other events, by name."""
        return self._visual.counts

    def finish(self) -> Trajectory | None:
        """End the segment: its final path, or None where that is the poses given."""
        return self._visual.finish()

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""
        self._visual.reset()

    def close(self) -> None:
        """Stop what runs in the background."""
        self._visual.close()


class OdometryBackend(ABC):
    """Makes an odometry; an entry point of the group ``visloc_ros.odometry`` names an object of such a class.

    Its ``options`` are read as ``odometry.<name>`` of parameters and files; those that ``parameters`` names are ROS
    parameters. ``uses_colour``: it needs RGB images; ``takes_depth``: it can use a depth model.
    """

    name: ClassVar[str]
    options: ClassVar[type[Config]]
    parameters: ClassVar[tuple[str, ...]] = ()
    uses_colour: ClassVar[bool] = True
    takes_depth: ClassVar[bool] = False

    @abstractmethod
    def make(self, options: Any, *, live: bool, turns: Turns, depth: DepthModel | None) -> Odometry:
        """Make the odometry with these ``options``.

        ``live`` does slow work beside the frames. ``turns`` gives rotations that a gyroscope measured; ``depth`` is
        None unless ``takes_depth``. Raises ConfigError, ModelError where a package or weights are missing.
        """

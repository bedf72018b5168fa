"""The interface of an odometry: an object that makes one, found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from visloc_ros.core.config import Config
from visloc_ros.odometry.depth import DepthModel
from visloc_ros.odometry.gyroscope import Turns
from visloc_ros.odometry.protocol import Odometry


class OdometryBackend(ABC):
    """Makes an odometry; an entry point of the group ``visloc_ros.odometry`` names an object of such a class.

    Its ``options`` are read as ``odometry.<name>`` of parameters and files. ``uses_colour``: it needs RGB images;
    ``takes_depth``: it can use a depth model.
    """

    name: ClassVar[str]
    options: ClassVar[type[Config]]
    uses_colour: ClassVar[bool] = True
    takes_depth: ClassVar[bool] = False

    @abstractmethod
    def make(self, options: Any, *, live: bool, turns: Turns, depth: DepthModel | None) -> Odometry:
        """Make the odometry with these ``options``.

        ``live`` does slow work beside the frames. ``turns`` gives rotations that a gyroscope measured; ``depth`` is
        None unless ``takes_depth``. Raises ConfigError, ModelError where a package or weights are missing.
        """

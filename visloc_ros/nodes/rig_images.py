"""The images of further cameras for map tracking: those of the same time as one of the camera that odometry follows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.localization.rig.engine import AT_ONCE_NS
from visloc_ros.map_tracking import OtherImage, OtherPlace
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.transforms import StaticTransforms

_AWAITED_S = 0.04  # images of one time come, and are decoded, within it
_SILENT_NS = NANOSECONDS // 10  # without an image of the leading camera: a frame or two may be missing
_KEPT = 4  # images of a camera
_NO_MOTION = np.zeros((6, 6))


class RigImages:
    """Keeps the newest images of all cameras; ``frame_of`` gives a camera's frame id, None before its first image.

    A camera whose images are never of the leading one's time is not waited for, and takes no part.
    """

    def __init__(
        self,
        node: VislocNode[Any],
        names: Iterable[str],
        leading: Callable[[], str],
        frame_of: Callable[[str], str | None],
    ) -> None:
        self._leading, self._frame_of = leading, frame_of
        self._static = StaticTransforms(node)
        self._newest: dict[str, deque[Frame]] = {name: deque(maxlen=_KEPT) for name in names}
        self._together: set[str] = set()
        self._led_ns = 0
        self._changed = threading.Condition()

    @property
    def leading(self) -> str:
        """The camera that odometry follows."""
        return self._leading()

    def add(self, name: str, frame: Frame) -> None:
        """Keep an image of a camera; from its own thread."""
        with self._changed:
            self._newest[name].append(frame)
            if abs(frame.stamp_ns - self._led_ns) <= AT_ONCE_NS:
                self._together.add(name)
            self._changed.notify_all()

    def lead(self, stamp_ns: int) -> None:
        """Note that an image of the leading camera has come."""
        self._led_ns = stamp_ns

    def is_silent(self, stamp_ns: int) -> bool:
        """Whether the leading camera has sent nothing for a while before the image of another one."""
        return stamp_ns - self._led_ns > _SILENT_NS

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """The images of the other cameras beside the leading one's at a stamp; those of calibrated cameras alone."""
        with self._changed:
            expected = self._together - {self.leading}
            self._changed.wait_for(lambda: all(self._at(name, stamp_ns) for name in expected), _AWAITED_S)
            images = {name: self._at(name, stamp_ns) for name in self._newest if name != self.leading}
            self._together = {name for name, image in images.items() if image is not None}
        found = {name: self._beside(name, image) for name, image in images.items() if image is not None}
        return {name: other for name, other in found.items() if other is not None}

    def _at(self, name: str, stamp_ns: int) -> Frame | None:
        of_time = (one for one in reversed(self._newest[name]) if abs(one.stamp_ns - stamp_ns) <= AT_ONCE_NS)
        return next(of_time, None)

    def _beside(self, name: str, image: Frame) -> OtherImage | None:
        frame, other = self._frame_of(self.leading), self._frame_of(name)
        if frame is None or other is None or (image.calibration is not None and image.calibration.is_provisional):
            return None
        camera_from_other = self._static.lookup(frame, other)
        if camera_from_other is None:
            return None
        return OtherImage(image, OtherPlace(image.stamp_ns, camera_from_other, _NO_MOTION))

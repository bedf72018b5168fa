"""The last images of several cameras on one body, for map tracking beside the camera that odometry follows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from visloc_ros.core.types import Frame
from visloc_ros.map_tracking import OtherImage
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.transforms import StaticTransforms

_KEPT = 16  # images of a camera: half a second at 30 a second
_LATER_NS = 5_000_000  # that an image may be, of cameras that are triggered together


class RigImages:
    """Keeps the last images of each camera; ``frame_of`` gives a camera's frame id, None before its first image.

    ``is_sending`` tells whether a camera still sends images, decoded or not.

    Nobody waits for an image: one that has not come when the leading camera's is tracked counts with the next one.
    Where the leading camera's images wait, those of its time are taken, not newer ones.
    """

    def __init__(
        self,
        node: VislocNode[Any],
        leading: Callable[[], str],
        frame_of: Callable[[str], str | None],
        is_sending: Callable[[str], bool],
    ) -> None:
        self._leading, self._frame_of, self._is_sending = leading, frame_of, is_sending
        self._static = StaticTransforms(node)
        self._kept: dict[str, deque[Frame]] = {}

    @property
    def leading(self) -> str:
        """The camera that odometry follows."""
        return self._leading()

    def add(self, name: str, frame: Frame) -> None:
        """Keep an image of a camera; from its own thread."""
        self._kept.setdefault(name, deque(maxlen=_KEPT)).append(frame)

    def newest_ns(self, name: str) -> int | None:
        """The stamp of a camera's newest image, None before its first."""
        kept = self._kept.get(name)
        return kept[-1].stamp_ns if kept else None

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """The newest images at a stamp of the other cameras, of those that are calibrated, placed and still send."""
        found = dict[str, OtherImage]()
        for name, kept in self._kept.copy().items():
            if name == self.leading or not self._is_sending(name):
                continue
            image = next((one for one in reversed(kept.copy()) if one.stamp_ns <= stamp_ns + _LATER_NS), None)
            other = None if image is None else self._beside(name, image)
            if other is not None:
                found[name] = other
        return found

    def _beside(self, name: str, image: Frame) -> OtherImage | None:
        frame, other = self._frame_of(self.leading), self._frame_of(name)
        if frame is None or other is None or (image.calibration is not None and image.calibration.is_provisional):
            return None
        camera_from_other = self._static.lookup(frame, other)
        return None if camera_from_other is None else OtherImage(image, camera_from_other)

"""The newest images of several cameras on one body, for map tracking beside the camera that odometry follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from visloc_ros.core.types import Frame
from visloc_ros.map_tracking import OtherImage
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.transforms import StaticTransforms


class RigImages:
    """Keeps the newest image of each camera; ``frame_of`` gives a camera's frame id, None before its first image.

    Nobody waits for an image: one that has not come when the leading camera's is tracked counts with the next one.
    """

    def __init__(
        self, node: VislocNode[Any], leading: Callable[[], str], frame_of: Callable[[str], str | None]
    ) -> None:
        self._leading, self._frame_of = leading, frame_of
        self._static = StaticTransforms(node)
        self._newest: dict[str, Frame] = {}

    @property
    def leading(self) -> str:
        """The camera that odometry follows."""
        return self._leading()

    def add(self, name: str, frame: Frame) -> None:
        """Keep an image of a camera; from its own thread."""
        self._newest[name] = frame

    def newest_ns(self, name: str) -> int | None:
        """The stamp of a camera's newest image, None before its first."""
        return self._newest[name].stamp_ns if name in self._newest else None

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """The newest images of the other cameras; those of calibrated cameras with a known place alone."""
        images = {name: image for name, image in self._newest.copy().items() if name != self.leading}
        found = {name: self._beside(name, image) for name, image in images.items()}
        return {name: other for name, other in found.items() if other is not None}

    def _beside(self, name: str, image: Frame) -> OtherImage | None:
        frame, other = self._frame_of(self.leading), self._frame_of(name)
        if frame is None or other is None or (image.calibration is not None and image.calibration.is_provisional):
            return None
        camera_from_other = self._static.lookup(frame, other)
        return None if camera_from_other is None else OtherImage(image, camera_from_other)

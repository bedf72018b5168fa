"""Reads what the next search of a moving camera needs of a large map, in the background, before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pycolmap

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, carried_on
from visloc_ros.core.map import MapImage
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.localization.view_change import ViewOverlap

_LONGEST_GAP_NS = 10 * NANOSECONDS  # between two poses of a camera: after a longer one its motion says nothing


class Prefetcher:
    """Follows a camera from pose to pose, and reads the features of ``count`` images that it should see next.

    The next pose is that of a camera which goes on as it came. What is read stays in the memory of the map's pages,
    from which the pages that were not used for longest leave.
    """

    def __init__(self, images: Sequence[MapImage], overlap: ViewOverlap, count: int) -> None:
        self._read = partial(_read, images, overlap, count)
        self._last: tuple[int, CameraCalibration | None, SE3] | None = None
        # Its thread ends with it, and before the interpreter does: one that dies in HDF5 would block that for ever.
        self._pool = ThreadPoolExecutor(1, "prefetch")
        self._reading: Future[None] | None = None

    def found(self, frame: Frame, map_from_camera: SE3) -> None:
        """A camera was found; frames of one camera carry the same calibration."""
        last, self._last = self._last, (frame.stamp_ns, frame.calibration, map_from_camera)
        if last is None or last[1] is not frame.calibration or not 0 < frame.stamp_ns - last[0] <= _LONGEST_GAP_NS:
            return
        if self._reading is not None and not self._reading.cancel() and self._reading.done():
            self._reading.result()  # raises what went wrong
        self._reading = self._pool.submit(self._read, carried_on(last[2], map_from_camera, 1.0), frame.camera)


def _read(
    images: Sequence[MapImage], overlap: ViewOverlap, count: int, map_from_camera: SE3, camera: pycolmap.Camera
) -> None:
    """Read what a view needs; a damaged page is an error of the search that needs it."""
    for row in overlap.rank(map_from_camera, camera, count):
        with suppress(MapError):
            _ = images[row].features

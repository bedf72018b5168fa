"""Whether what one camera shows stands still while what another one shows moves, by the images alone."""

from __future__ import annotations

from visloc_ros.core.image_motion import Motion, measure_motion
from visloc_ros.core.sharpness import shrink
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.map_tracking.tracker import MapTracker
from visloc_ros.map_tracking.views import GreyImage

_LEAST_NS, _MOST_NS = NANOSECONDS // 10, NANOSECONDS // 2  # between the images of a camera that are compared
_OVERLAP = 0.5  # least share of the corners that are found again
_STANDS, _MOVES = 0.75 / 320, 1.5 / 320  # median shift in image widths: a robot that stands may tremble


def stands_beside(leading: MapTracker, other: MapTracker, now_ns: int) -> bool:
    """Whether one camera's images stand still while another one's, the newest of which has this stamp, have moved.

    Half of what is seen has to: a person who walks by is no motion of the camera.
    """
    there = other.images_since(now_ns - _LEAST_NS)
    here = None if there is None else leading.images_since(there[0].stamp_ns)
    if here is None or there is None or now_ns - there[0].stamp_ns > _MOST_NS or here[1].stamp_ns < now_ns:
        return False
    standing = _motion_of(here)
    if standing.overlap < _OVERLAP or standing.shift > _STANDS:
        return False
    moving = _motion_of(there)
    return moving.overlap >= _OVERLAP and moving.shift > _MOVES


def _motion_of(pair: tuple[GreyImage, GreyImage]) -> Motion:
    before, after = pair
    return measure_motion(shrink(before.grey), shrink(after.grey))

"""Whether what cameras show stands still, moves, or is the same, by the images alone."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.image_motion import Motion, measure_motion
from visloc_ros.core.sharpness import shrink
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.map_tracking.tracker import MapTracker
from visloc_ros.map_tracking.views import GreyImage

_LEAST_NS, _MOST_NS = NANOSECONDS // 10, NANOSECONDS // 2  # between the images of a camera that are compared
_OVERLAP = 0.5  # least share of the corners that are found again
_STANDS, _MOVES = 0.75 / 320, 1.5 / 320  # median shift in image widths: a robot that stands may tremble
_ELSEWHERE_DEG = 20.0  # from here two cameras look elsewhere, and do not only have eyes that converge
_SAME = 0.25  # of that turn: what they both see is seen far more aside by one of them


def stands_beside(leading: MapTracker, other: MapTracker, now_ns: int) -> bool:
    """Whether one camera's images stand still while another one's, the newest of which has this stamp, have moved.

    Half of what is seen has to: a person who walks by is no motion of the camera.
    """
    there = _newest_pair(other, now_ns)
    here = None if there is None else leading.images_since(there[0].stamp_ns)
    if there is None or here is None or here[1].stamp_ns < now_ns:
        return False
    standing = _motion_of(here)
    return standing.overlap >= _OVERLAP and standing.shift <= _STANDS and _moves(there)


def moves(tracker: MapTracker, now_ns: int) -> bool:
    """Whether what a camera shows has moved up to its newest image, which has this stamp."""
    pair = _newest_pair(tracker, now_ns)
    return pair is not None and _moves(pair)


def stands(tracker: MapTracker, now_ns: int, since_ns: int) -> bool:
    """Whether what a camera shows stands still up to its newest image, which has this stamp and is later than one."""
    pair = _newest_pair(tracker, now_ns) if now_ns - since_ns >= _LEAST_NS else None
    if pair is None:
        return False
    motion = _motion_of(pair)
    return motion.overlap >= _OVERLAP and motion.shift <= _STANDS


def show_the_same(here: GreyImage, there: Frame, camera_from_other: SE3) -> bool:
    """Whether two cameras of a rig that look elsewhere show the same: one of both sends the other one's images."""
    turned_deg = rotation_angle_deg(camera_from_other.rotation, np.eye(3))
    if turned_deg < _ELSEWHERE_DEG:
        return False
    motion = measure_motion(shrink(here.grey), shrink(there.grey))
    moved_deg = np.degrees(motion.shift * there.camera.width / there.camera.mean_focal_length())
    return motion.overlap >= _OVERLAP and bool(moved_deg < _SAME * turned_deg)


def _newest_pair(tracker: MapTracker, now_ns: int) -> tuple[GreyImage, GreyImage] | None:
    pair = tracker.images_since(now_ns - _LEAST_NS)
    return None if pair is None or now_ns - pair[0].stamp_ns > _MOST_NS else pair


def _moves(pair: tuple[GreyImage, GreyImage]) -> bool:
    motion = _motion_of(pair)
    return motion.overlap >= _OVERLAP and motion.shift > _MOVES


def _motion_of(pair: tuple[GreyImage, GreyImage]) -> Motion:
    before, after = pair
    return measure_motion(shrink(before.grey), shrink(after.grey))

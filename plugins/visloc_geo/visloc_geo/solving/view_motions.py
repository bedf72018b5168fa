"""A pose held against the motions between the views, which matches among these show.

The views of a photo are turned and moved until they agree with it. Where they all stand on one side of it, wrong
matches of a scene that repeats along a street may turn all of them together, and nothing in the photo contradicts.
Such matches also feign motions between single pairs of views far from each other: most of several pairs decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice

import numpy as np

from visloc_geo.solving.types import PhotoPose
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg

_MOST_ANGLE_DEG = 10.0
"""Between two views' rotations by their own matches and by the photo's, whose views tags bend by up to seven degrees in
a street of photos; wrong ones differ by more."""
_MOST_SIGMAS = 3.0
_MOST_PAIRS, _MAJORITY = 12, 2
_MOST_DIRECTION_DEG = 120.0  # a direction that is less certain says too little to be worth matching two views


def is_contradicted(pose: PhotoPose, motions_between: Callable[[str, str], Sequence[SE3]]) -> bool:
    """Whether most pairs of a pose's views have moved otherwise than it puts them.

    ``motions_between`` matches two views by their names, and gives the motions ``one_from_other`` that explain it, none
    if they see too little of the same. It is asked until two more pairs agree than contradict, or the other way round.
    """
    agreeing = 0
    for one, other in islice(pairs_to_match(pose), _MOST_PAIRS):
        motions = motions_between(one, other)
        if motions:
            agreeing += -1 if all(contradicts(pose, one, other, motion) for motion in motions) else 1
        if abs(agreeing) == _MAJORITY:
            break
    return agreeing < 0


def pairs_to_match(pose: PhotoPose) -> Iterator[tuple[str, str]]:
    """Pairs of a pose's views whose motion says something, those first that are the farthest apart."""
    centres = {name: view.translation for name, view in pose.views.items()}
    pairs = [(math.dist(centres[one], centres[other]), one, other) for one, other in combinations(centres, 2)]
    for distance, one, other in sorted(pairs, reverse=True):
        if _direction_sigma_deg(pose, distance) * _MOST_SIGMAS <= _MOST_DIRECTION_DEG:
            yield one, other


def contradicts(pose: PhotoPose, one: str, other: str, one_from_other: SE3) -> bool:
    """Whether two views have moved otherwise than a pose puts them; of the translation the direction counts."""
    first, second = pose.views[one], pose.views[other]
    expected = first.inverse @ second
    if rotation_angle_deg(expected.rotation, one_from_other.rotation) > _MOST_ANGLE_DEG:
        return True
    sigma_deg = _direction_sigma_deg(pose, float(np.linalg.norm(expected.translation)))
    return _angle_deg(expected.translation, one_from_other.translation) > _MOST_SIGMAS * sigma_deg


def _direction_sigma_deg(pose: PhotoPose, distance: float) -> float:
    """Standard deviation of the direction between two views that a pose puts at a distance."""
    of_positions = math.degrees(math.atan2(math.sqrt(2.0) * pose.view_sigma_m, distance))
    return math.hypot(_MOST_ANGLE_DEG / _MOST_SIGMAS, of_positions)


def _angle_deg(one: Array, other: Array) -> float:
    """Between two vectors (3,)."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other)))

"""The directions between views by their positions, held against those by their images.

The motions between views that show the same (``alike_views``) give the heading of each view relative to the others, and
the direction in which each other view lies. Where positions are right, one turn brings all of these directions onto
those between the positions; where each position is that of another view, none does. The headings of compasses tell
which turn is right: half a turn off, the positions are in the reverse order, or all compasses the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_geo.alike_views import AlikeViews
from visloc_geo.orientation import angles_of, heading_difference_deg, rotation_of
from visloc_geo.solving.types import Tag
from visloc_ros.core.geometry import SE3, Array

_LEAST_EVIDENCE = 8.0
"""Number of directions, by how concentrated right ones are: as many random ones agree half as well once in 7000."""
_LEAST_SHARE = 0.5  # of the concentration that right positions would have
_OPPOSITE_DEG = 135.0
_GROUP = 24  # views at most: one wrong motion would turn half of a city against the other half
_MOTION_SIGMA_DEG = 5.0  # of a direction by matches, with cameras that are upright to about as much

Motions = Mapping[str, Mapping[str, SE3]]
"""Of each view, the motions ``view_from_other`` to those that show the same."""


@dataclass(frozen=True)
class Direction:
    """Where a view lies, seen from another one, in degrees clockwise: by their images and by their positions.

    The first is in a level frame of the views' group. ``sigma_deg`` is the standard deviation of their difference.
    """

    by_images_deg: float
    by_positions_deg: float
    sigma_deg: float


def contradicted_positions(tags: Mapping[str, Tag], alike: AlikeViews) -> list[str]:
    """Names of the views whose positions cannot be theirs, by what groups of views show of each other."""
    motions, found = _motions(tags, alike), dict[str, None]()
    for headings in _groups(motions):
        directions = list(_directions(headings, tags, motions))
        if directions and _are_contradicted(directions, headings, tags):
            found |= dict.fromkeys(headings)
    return list(found)


def _are_contradicted(directions: Sequence[Direction], headings: Mapping[str, float], tags: Mapping[str, Tag]) -> bool:
    sigmas = np.radians([one.sigma_deg for one in directions])
    weights = np.exp(-np.square(sigmas))  # of the least variance, where each one's mean is exp(-sigma^2 / 2)
    turns = np.radians([one.by_positions_deg - one.by_images_deg for one in directions])
    mean = _mean_of(turns, weights)
    expected = float(weights @ np.exp(-np.square(sigmas) / 2.0) / weights.sum())
    count = float(weights.sum() ** 2 / np.square(weights).sum())
    if count * expected**2 < _LEAST_EVIDENCE:
        return False
    if abs(mean) < _LEAST_SHARE * expected:
        return True
    by_compasses = _turn_by_compasses(headings, tags)
    if by_compasses is None:
        return False
    return abs(heading_difference_deg(math.degrees(np.angle(mean)), by_compasses)) > _OPPOSITE_DEG


def _mean_of(angles: Array, weights: Array) -> complex:
    """Of unit vectors at angles (N,) in radians; its length tells how far they agree (Fisher 1993)."""
    return complex((weights * np.exp(1j * angles)).sum() / weights.sum())


def _turn_by_compasses(headings: Mapping[str, float], tags: Mapping[str, Tag]) -> float | None:
    """The turn in degrees from headings in a group to those of compasses, if these agree; None where they do not."""
    known = [(tags[name], heading) for name, heading in headings.items() if tags[name].has_heading]
    turns = np.radians([angles_of(tag.rotation)[0] - heading for tag, heading in known if tag.rotation is not None])
    if len(turns) < _LEAST_EVIDENCE:
        return None
    mean = _mean_of(turns, np.ones(len(turns)))
    return math.degrees(np.angle(mean)) if abs(mean) > _LEAST_SHARE else None


def _groups(motions: Motions) -> Iterator[dict[str, float]]:
    """Headings in degrees of neighbours that motions join, by name, in a level frame of each group; all are in one."""
    left = dict.fromkeys(motions)
    while left:
        first = next(iter(left))
        headings, waiting = {first: 0.0}, [first]
        while waiting:
            one = waiting.pop(0)
            for other in motions[one]:
                if other not in headings and len(headings) < _GROUP:
                    headings[other] = angles_of(rotation_of(headings[one]) @ motions[one][other].rotation)[0]
                    waiting.append(other)
        for name in headings:
            left.pop(name, None)
        yield headings


def _motions(tags: Mapping[str, Tag], alike: AlikeViews) -> Motions:
    """The motions between views with tags, both ways."""
    motions: dict[str, dict[str, SE3]] = {name: {} for name in tags}
    for name, others in alike.items():
        for other, found in others.items():
            if name in tags and other in tags and found.view_from_alike is not None:
                motions[name][other] = found.view_from_alike
                motions[other].setdefault(name, found.view_from_alike.inverse)
    return motions


def _directions(headings: Mapping[str, float], tags: Mapping[str, Tag], motions: Motions) -> Iterator[Direction]:
    """All directions within a group, one for each pair."""
    seen = set[frozenset[str]]()
    for one in headings:
        for other, motion in motions[one].items():
            if other in headings and frozenset((one, other)) not in seen:
                seen.add(frozenset((one, other)))
                direction = _direction(headings[one], motion, tags[one], tags[other])
                if direction is not None:
                    yield direction


def _direction(heading_deg: float, motion: SE3, one: Tag, other: Tag) -> Direction | None:
    """Where a view lies, seen from another one with a heading; None above or below it, or at the same position."""
    to_right, _, ahead = motion.translation
    step = np.asarray(other.position) - np.asarray(one.position)
    distance = math.hypot(step[0], step[1])
    if distance == 0.0 or math.hypot(to_right, ahead) < math.sin(math.radians(45.0)):
        return None
    by_images = heading_deg + math.degrees(math.atan2(to_right, ahead))
    by_positions = math.degrees(math.atan2(step[0], step[1]))
    of_positions = math.degrees(math.atan2(math.hypot(one.position_sigma_m, other.position_sigma_m), distance))
    return Direction(by_images, by_positions, math.hypot(of_positions, _MOTION_SIGMA_DEG))

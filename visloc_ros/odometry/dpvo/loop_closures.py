"""Measured loops as other parts of the system take them: between the poses that odometry gave out."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.types import LoopClosure
from visloc_ros.odometry.dpvo.point_alignment import PointAlignment

_UNIT_SIGMA = 0.01


def closure_of(place_ns: int, query_ns: int, units: Array, place_from_query: PointAlignment) -> LoopClosure | None:
    """Loop between two frames of one state with ``units`` (2,); None where one of them was not given out.

    It is measured in the world's lengths of now, but others have the poses as they were given out, and earlier loops
    have changed the scale of some frames since: each end is divided by the unit that its frame had.
    """
    if not np.all(units > 0.0):
        return None
    place_unit, query_unit = units.tolist()
    measured = place_from_query.target_from_source
    similarity = Sim3(measured.scale * query_unit / place_unit, measured.rotation, measured.translation / place_unit)
    into_odometry = np.diag(np.repeat([1.0 / place_unit, 1.0], [3, 4]))
    of_points = into_odometry @ place_from_query.covariance @ into_odometry
    return LoopClosure(place_ns, query_ns, similarity, of_points + _unit_covariance(similarity))


def _unit_covariance(similarity: Sim3) -> Array:
    """What the points (7, 7) do not show: those of a frame share the error of the steps to its two neighbours.

    One per cent: simulated points of frames whose neighbours are off by 1 % of their steps and 0.3 mrad need that much.
    """
    of_place = np.concatenate((similarity.translation, np.zeros(3), [1.0]))
    of_query = np.eye(7)[6]
    return _UNIT_SIGMA**2 * (np.outer(of_place, of_place) + np.outer(of_query, of_query))

"""Measured loops as other parts of the system take them: between the poses that odometry gave out."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.tangent import skew
from visloc_ros.core.types import LoopClosure
from visloc_ros.odometry.dpvo.point_alignment import PointAlignment

# Errors that all points of a frame share, so that none shows them. Simulated points of frames whose neighbours are off
# by 1 % of their steps and 0.3 mrad need one per cent of length; loops in small rendered images need half a
# milliradian, a tenth of a pixel.
_UNIT_SIGMA = 0.01
_DIRECTION_SIGMA = 0.0005


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
    return LoopClosure(place_ns, query_ns, similarity, of_points + _shared_covariance(similarity))


def _shared_covariance(similarity: Sim3) -> Array:
    """Covariance (7, 7) by errors of either frame as a whole: its unit of length, and where its camera looks."""
    of_place, of_query = np.zeros((7, 4)), np.eye(7)[:, 3:]
    of_place[:3, :3], of_place[:3, 3] = -skew(similarity.translation), similarity.translation
    of_place[3:] = np.eye(4)
    variances = np.square(np.repeat([_DIRECTION_SIGMA, _UNIT_SIGMA], [3, 1]))
    return np.asarray(of_place * variances @ of_place.T + of_query * variances @ of_query.T)

"""Poses in an atlas: which of its maps a pose is by, the error of that map's transform, and maps that disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atlas_file import Atlas
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import Map
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.localization.pose import PoseSolution

_CONSISTENT = 0.999  # of right pairs of poses by two maps

Rows = NDArray[np.integer]


class AtlasPoses:
    """Judges poses by the maps of an atlas, opened as one map, that their inlier points are of."""

    def __init__(self, map_: Map, atlas: Atlas) -> None:
        self._points, self._atlas, self._of_maps = map_.points, atlas, map_uncertainty(map_)
        self._limit = chi_square_quantile(_CONSISTENT, 6)

    def contradict(self, one: PoseSolution, rows: Rows, other: PoseSolution, other_rows: Rows) -> bool:
        """Whether two poses of an image by inliers of different maps differ by more than their covariances explain.

        (Mahalanobis distance; the errors of both maps and of their transforms are taken as independent.)
        """
        if self._atlas.map_of(rows) is self._atlas.map_of(other_rows):
            return False
        difference = pose_difference(one.map_from_camera, other.map_from_camera)
        covariance = self._covariance(one, rows) + self._covariance(other, other_rows)
        return bool(difference @ np.linalg.solve(covariance, difference) > self._limit)

    def stated(self, pose: AnchorPose, rows: Rows) -> AnchorPose:
        """The pose with the map that most of its inliers are of, and with the error of that map's transform."""
        placed = self._atlas.map_of(rows)
        added = placed.estimate.of_pose(pose.map_from_camera)
        shared = added if pose.map_covariance is None else pose.map_covariance + added
        return replace(pose, covariance=pose.covariance + added, map_covariance=shared, atlas_map=placed.name)

    def _covariance(self, solution: PoseSolution, rows: Rows) -> Array:
        pose = solution.map_from_camera
        own, shared = solution.own_covariance, solution.shared_covariance
        of_atlas = self._atlas.map_of(rows).estimate.of_pose(pose)
        return own + self._of_maps.of_pose(pose, own, shared, self._points[rows]) + of_atlas

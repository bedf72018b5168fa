"""From the points nearest to keypoints to 2D-3D correspondences."""

from __future__ import annotations

import numpy as np

from visloc_ros.localization.correspondences import Correspondences
from visloc_ros.localization.strategies.fused.fusion import FusedQuery
from visloc_ros.localization.strategies.fused.point_index import Neighbours, half_squares


def as_correspondences(query: FusedQuery, neighbours: Neighbours) -> Correspondences:
    """Keypoints with the points nearest to them, the nearest pairs first; a point only with its nearest keypoint.

    A point has one projection: of several keypoints that take it, all but one are wrong. Scores are minus half the
    squared distances.
    """
    scores = neighbours.scores - half_squares(query.fused)[:, None]
    keypoint_rows = np.repeat(np.arange(len(query)), neighbours.rows.shape[1])
    point_rows, scores = neighbours.rows.ravel(), scores.ravel()
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    kept = order[np.sort(np.unique(point_rows[order], return_index=True)[1])]
    return Correspondences(
        keypoint_rows[kept].astype(np.int64), point_rows[kept].astype(np.int64), scores[kept].astype(np.float64)
    )

"""The matches of the photo with one view that agree with one motion of the camera; the view's tag plays no part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_geo.solving.bearings import bearings, intersect
from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.types import Reference
from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import skew
from visloc_ros.localization.pose import MOST_FALSE_ALARMS, log_false_alarms

MAX_ERROR_PX = 4.0
"""Of an inlier, from its epipolar line: COLMAP's default of two-view geometries."""
MIN_INLIERS = 12
"""With fewer a motion does not stand out: five matches determine it."""
_LEAST_TRIALS, _MOST_TRIALS = 100, 3000
"""At COLMAP's confidence of 0.9999 the second is enough for three of ten matches right."""
_SAMPLE, _MOTIONS_OF_SAMPLE = 5, 10  # Nister (PAMI 2004): five matches give up to ten essential matrices


@dataclass(frozen=True, eq=False)
class VerifiedView:
    """A view with the matches (K, 2) that agree, and ``query_from_view``, whose translation has the length 1.

    ``apart`` is the distance between photo and view, as a share of the distance from them to what both see.
    """

    reference: Reference
    matches: NDArray[np.intp]
    confidence: Array
    query_from_view: SE3
    apart: float

    @property
    def pixels(self) -> Array:
        """Pixels (K, 2) in the view."""
        return self.reference.keypoints[self.matches[:, 1]]


def verify(
    camera: pycolmap.Camera, keypoints: Array, references: Sequence[Reference], config: SolvingConfig
) -> list[VerifiedView]:
    """The views that share enough matches with the photo, those with the most inliers first."""
    found = [_verify_one(camera, keypoints, reference, config) for reference in references]
    return sorted((one for one in found if one is not None), key=lambda one: -len(one.matches))


def _verify_one(
    camera: pycolmap.Camera, keypoints: Array, reference: Reference, config: SolvingConfig
) -> VerifiedView | None:
    usable = _usable(camera, keypoints, reference, config)
    matches, confidence = reference.matches[usable], reference.confidence[usable]
    if len(matches) < MIN_INLIERS:
        return None
    in_view, in_query = reference.keypoints[matches[:, 1]], keypoints[matches[:, 0]]
    options = pycolmap.RANSACOptions(
        max_error=MAX_ERROR_PX, random_seed=config.seed, min_num_trials=_LEAST_TRIALS, max_num_trials=_MOST_TRIALS
    )
    found = pycolmap.estimate_relative_pose(reference.camera, in_view, camera, in_query, options)
    if found is None:
        return None
    agree = np.asarray(found["inlier_mask"], bool)
    motion = SE3.from_rigid3d(found["cam2_from_cam1"])
    share = _share_by_chance(motion, rays(reference.camera, in_view), rays(camera, in_query), camera)
    if agree.sum() < MIN_INLIERS or _is_by_chance(int(agree.sum()), len(agree), share):
        return None
    of_view = bearings(reference.camera, in_view[agree]) @ motion.rotation.T
    apart = _apart(motion, of_view, bearings(camera, in_query[agree]))
    return VerifiedView(reference, matches[agree], confidence[agree], motion, apart)


def _apart(query_from_view: SE3, of_view: Array, of_query: Array) -> float:
    """Of the nearer of the two; the bearings (K, 3), (K, 3) are about the axes of the photo's camera."""
    centres = np.repeat([query_from_view.translation, np.zeros(3)], len(of_view), axis=0)
    numbers = np.tile(np.arange(len(of_view)), 2)
    points, _ = intersect(centres, np.concatenate([of_view, of_query]), numbers, len(of_view))
    distances = [np.linalg.norm(points - one, axis=1) for one in (query_from_view.translation, np.zeros(3))]
    medians = [float(np.median(np.where(np.isfinite(one), one, np.inf))) for one in distances]
    return 1.0 / max(min(medians), np.finfo(np.float64).tiny)


def _usable(camera: pycolmap.Camera, keypoints: Array, reference: Reference, config: SolvingConfig) -> NDArray[np.intp]:
    """Rows of the matches that are sure enough and have rays; the surest of those that share a keypoint."""
    by_confidence = np.argsort(-reference.confidence, kind="stable")
    for column in (0, 1):
        first = np.unique(reference.matches[by_confidence, column], return_index=True)[1]
        by_confidence = by_confidence[np.sort(first)]
    matches = reference.matches[by_confidence]
    has_rays = np.isfinite(rays(camera, keypoints[matches[:, 0]])).all(axis=1)
    has_rays &= np.isfinite(rays(reference.camera, reference.keypoints[matches[:, 1]])).all(axis=1)
    return np.sort(by_confidence[has_rays & (reference.confidence[by_confidence] >= config.confidence_thr)])


def _is_by_chance(num_inliers: int, num_matches: int, share: float) -> bool:
    """Whether wrong matches alone may agree as well (a contrario, Moisan and Stival, IJCV 2004)."""
    alarms = log_false_alarms(num_inliers, num_matches, share, _SAMPLE, _MOTIONS_OF_SAMPLE)
    return alarms > math.log(MOST_FALSE_ALARMS)


def _share_by_chance(query_from_view: SE3, in_view: Array, in_query: Array, camera: pycolmap.Camera) -> float:
    """The part of wrong matches that agrees with a motion: of each keypoint with those of the other matches.

    Along a street keypoints crowd at the horizon, where epipolar lines run: wrong matches agree far more often than
    if they were anywhere in the image.
    """
    essential = skew(query_from_view.translation) @ query_from_view.rotation
    lines = np.column_stack([in_view, np.ones(len(in_view))]) @ essential.T
    distances = np.abs(lines @ np.column_stack([in_query, np.ones(len(in_query))]).T)
    distances *= camera.mean_focal_length() / np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12)[:, None]
    others = ~np.eye(len(lines), dtype=bool)
    return float(np.clip(np.mean(distances[others] <= MAX_ERROR_PX), 1.0 / others.sum(), 1.0))

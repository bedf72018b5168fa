"""A photo's pose as geonavpy solves for it: points between pairs of views by their tags, then EPnP in RANSAC.

Its policy DISPLACEMENT, with what is left out there: no cheirality, no parallax, no reprojection test, no refinement.
"""

from itertools import combinations

import cv2
import numpy as np

from plugins.visloc_geo.testing.street_canyon import CanyonTrial
from visloc_geo.solving import Reference
from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array

CONFIDENCE, FARTHEST_M, MAX_ERROR_PX = 0.2, 300.0, 1.0
RANSAC_CONFIDENCE, ITERATIONS = 0.999999, 10_000


def locate_as_geonavpy(trial: CanyonTrial) -> SE3 | None:
    """``enu_from_camera``, None where there is none."""
    surest = np.full(len(trial.keypoints), CONFIDENCE)
    points = np.full((len(trial.keypoints), 3), np.nan)
    for first, second in combinations(trial.references, 2):
        if not np.array_equal(_pose(first).translation, _pose(second).translation):
            _add_pair(first, second, surest, points)
    known = np.isfinite(points).all(axis=1)
    if known.sum() < 4:
        return None
    found, turn, shift, _ = cv2.solvePnPRansac(
        points[known],
        trial.keypoints[known],
        trial.camera.calibration_matrix(),
        None,
        iterationsCount=ITERATIONS,
        reprojectionError=MAX_ERROR_PX,
        confidence=RANSAC_CONFIDENCE,
        flags=cv2.SOLVEPNP_EPNP,
    )
    return SE3.from_rotation_vector(turn.ravel(), shift.ravel()).inverse if found else None


def _add_pair(first: Reference, second: Reference, surest: Array, points: Array) -> None:
    """Points of keypoints that both views see; a pair raises the bar for later ones even where its point is too far."""
    rows, of_first, of_second = np.intersect1d(first.matches[:, 0], second.matches[:, 0], return_indices=True)
    product = first.confidence[of_first] * second.confidence[of_second]
    better = product > surest[rows]
    rows, of_first, of_second = rows[better], of_first[better], of_second[better]
    if not len(rows):
        return
    surest[rows] = product[better]
    views = ((first, of_first), (second, of_second))
    poses = [_pose(view) for view, _ in views]
    seen = [rays(view.camera, view.keypoints[view.matches[chosen, 1]]).T for view, chosen in views]
    homogeneous = cv2.triangulatePoints(*(pose.inverse.matrix[:3] for pose in poses), *seen)
    found = (homogeneous[:3] / homogeneous[3]).T
    near = np.any([np.linalg.norm(found - pose.translation, axis=1) <= FARTHEST_M for pose in poses], axis=0)
    points[rows[near]] = found[near]


def _pose(view: Reference) -> SE3:
    return SE3(np.asarray(view.tag.rotation), np.asarray(view.tag.position))

"""The rotation of the photo from its motions relative to views, where nothing but the views' tags says where it is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import Array, rotation_angle_deg
from visloc_ros.geo.solving.two_view import MAX_ERROR_PX, VerifiedView

MOTION_SIGMA_DEG = 1.0
"""Of the rotation by a motion that is not in doubt; in simulated streets they err by 0.3 degrees."""
_SAME_DEG = 3.0
_PLANE = 0.7
"""Inliers of a plane as a share of those of the motion, from which on the motion may be of the plane alone."""


def rotation_by_views(
    camera: pycolmap.Camera, keypoints: Array, views: Sequence[VerifiedView]
) -> tuple[Array, float] | None:
    """``enu_from_camera`` (3, 3) that most views agree with, and its standard deviation in degrees.

    None where no view's rotation is known. Two motions explain what is seen of one house front (Faugeras and Lustman
    1988): where no second view decides, the standard deviation is the angle between them.
    """
    by_views = [
        [tagged @ one.T for one in _rotations_of(camera, keypoints, view)]
        for view in views
        if (tagged := view.reference.tag.rotation) is not None
    ]
    ranked = [(_disagreement(one, by_views), one) for of_view in by_views for one in of_view]
    if not ranked:
        return None
    least, best = min(ranked, key=lambda one: one[0])
    doubtful = [
        angle
        for disagreement, one in ranked
        if (angle := rotation_angle_deg(best, one)) > _SAME_DEG and disagreement < least + len(by_views) * _SAME_DEG
    ]
    return best, float(np.hypot(MOTION_SIGMA_DEG, max([least / len(by_views), *doubtful])))


def _disagreement(rotation: Array, by_views: Sequence[Sequence[Array]]) -> float:
    """Sum of the angles in degrees to the nearest rotation that each view permits."""
    return sum(min(rotation_angle_deg(rotation, one) for one in of_view) for of_view in by_views)


def _rotations_of(camera: pycolmap.Camera, keypoints: Array, view: VerifiedView) -> list[Array]:
    """The rotations ``query_from_view`` that explain the matches: that of the motion, and those of a plane."""
    in_view = rays(view.reference.camera, view.pixels)
    in_query = rays(camera, keypoints[view.matches[:, 0]])
    threshold = MAX_ERROR_PX / float(camera.mean_focal_length())
    homography, agree = cv2.findHomography(in_view, in_query, cv2.USAC_MAGSAC, threshold)
    if homography is None or agree.sum() < _PLANE * len(in_view):
        return [view.query_from_view.rotation]
    agree = agree.ravel().astype(bool)
    _, rotations, _, normals = cv2.decomposeHomographyMat(homography, np.eye(3))
    homogeneous = np.column_stack([in_view[agree], np.ones(agree.sum())])
    is_ahead = [np.all(homogeneous @ normal.ravel() > 0.0) for normal in normals]  # else points lie behind the view
    possible = [np.asarray(one, np.float64) for one, is_so in zip(rotations, is_ahead, strict=True) if is_so]
    return [view.query_from_view.rotation, *possible]

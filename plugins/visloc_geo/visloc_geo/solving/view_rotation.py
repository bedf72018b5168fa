"""The rotation of the photo from its motions relative to views, and which views agree on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pycolmap

from visloc_geo.solving.two_view import MAX_ERROR_PX, VerifiedView
from visloc_geo.solving.types import Tag
from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg

MOTION_SIGMA_DEG = 1.0
"""Of the rotation by a motion that is not in doubt; in simulated streets they err by 0.3 degrees."""
_SAME_DEG = 3.0
_MOST_SIGMAS = 3.0
_PLANE = 0.7
"""Inliers of a plane as a share of those of the motion, from which on the motion may be of the plane alone."""


def rotation_by_views(
    camera: pycolmap.Camera, keypoints: Array, views: Sequence[VerifiedView]
) -> tuple[Array, float] | None:
    """``enu_from_camera`` (3, 3) that most views agree with, and its standard deviation in degrees.

    None where no view's heading is known. Two motions explain what is seen of one house front (Faugeras and Lustman
    1988): where no second view decides, the standard deviation is the angle between them.
    """
    by_views = [
        [tagged @ one.rotation.T for one in motions_of(camera, keypoints, view)]
        for view in views
        if view.reference.tag.has_heading and (tagged := view.reference.tag.rotation) is not None
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


def agreeing_views(camera: pycolmap.Camera, keypoints: Array, views: Sequence[VerifiedView]) -> list[VerifiedView]:
    """The views that agree on the photo's rotation, which most of their matches support.

    The others show another house front of the same make. Of a view whose matches lie in a plane, the motion that agrees
    is taken. Views without a rotation are all kept.
    """
    motions = [motions_of(camera, keypoints, view) for view in views]
    possible = [
        (view.reference.tag, view.reference.tag.rotation @ motion.rotation.T)
        for view, of_view in zip(views, motions, strict=True)
        if view.reference.tag.has_heading and view.reference.tag.rotation is not None
        for motion in of_view
    ]
    kept = (_agreeing(tag, rotation, views, motions) for tag, rotation in possible)
    return max(kept, key=lambda some: sum(len(one.matches) for one in some), default=list(views))


def _agreeing(
    tag: Tag, rotation: Array, views: Sequence[VerifiedView], motions: Sequence[Sequence[SE3]]
) -> list[VerifiedView]:
    """The views that agree with the photo's rotation (3, 3) by one tag."""
    kept = []
    for view, of_view in zip(views, motions, strict=True):
        own = view.reference.tag
        if own.rotation is None or not own.has_heading:
            kept.append(view)
            continue
        angles = [rotation_angle_deg(rotation, own.rotation @ motion.rotation.T) for motion in of_view]
        nearest = int(np.argmin(angles))
        if angles[nearest] <= _MOST_SIGMAS * _sigma_deg(tag, own):
            kept.append(
                view if angles[0] <= angles[nearest] + _SAME_DEG else replace(view, query_from_view=of_view[nearest])
            )
    return kept


def _sigma_deg(one: Tag, other: Tag) -> float:
    """Of the difference of the photo's rotations by two views."""
    of_tags = (one.heading_sigma_deg, one.tilt_sigma_deg, other.heading_sigma_deg, other.tilt_sigma_deg)
    return math.hypot(MOTION_SIGMA_DEG, MOTION_SIGMA_DEG, *of_tags)


def motions_of(camera: pycolmap.Camera, keypoints: Array, view: VerifiedView) -> list[SE3]:
    """The motions ``query_from_view`` that explain the matches: the one found, and those of a plane."""
    in_view = rays(view.reference.camera, view.pixels)
    in_query = rays(camera, keypoints[view.matches[:, 0]])
    threshold = MAX_ERROR_PX / float(camera.mean_focal_length())
    homography, agree = cv2.findHomography(in_view, in_query, cv2.USAC_MAGSAC, threshold)
    if homography is None or agree.sum() < _PLANE * len(in_view):
        return [view.query_from_view]
    agree = agree.ravel().astype(bool)
    _, rotations, translations, normals = cv2.decomposeHomographyMat(homography, np.eye(3))
    homogeneous = np.column_stack([in_view[agree], np.ones(agree.sum())])
    is_ahead = [np.all(homogeneous @ normal.ravel() > 0.0) for normal in normals]  # else points lie behind the view
    possible = [
        SE3(np.asarray(rotation, np.float64), _unit(np.asarray(translation, np.float64).ravel()))
        for rotation, translation, is_so in zip(rotations, translations, is_ahead, strict=True)
        if is_so
    ]
    return [view.query_from_view, *possible]


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), np.finfo(np.float64).tiny))

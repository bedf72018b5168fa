"""How a view is turned against a keyframe, however far and about whatever axis: by binary descriptors of corners.

Oriented FAST corners and rotated BRIEF descriptors (Rublee et al., ORB, ICCV 2011) are matched both ways. Two matches
tell a rotation; the one that most matches agree with is taken (RANSAC, Fischler and Bolles 1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, nearest_rotation
from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.two_view import bearings
from visloc_ros.tracking.pixels import Mask, undistort

MIN_AGREEING = 15
"""Matches that must agree with one rotation: of those of another place some five to eight do."""

_MOST_CORNERS = 400
_DRAWS = 300  # with a third of the matches right one draw in nine is: none of them is missed
_AGREEING = np.radians(3.0)  # between directions: the camera has moved a little, too
_REFINEMENTS = 3


@dataclass(frozen=True, eq=False)
class DescribedView:
    """Viewing directions (N, 3) of corners in the camera, and their descriptors (N, 32)."""

    directions: Array
    descriptors: NDArray[np.uint8]


def describe(grey: Image, camera: pycolmap.Camera) -> DescribedView:
    """Find and describe the corners of an image (H, W)."""
    corners, descriptors = cv2.ORB.create(_MOST_CORNERS).detectAndCompute(grey, None)
    if not corners:
        return DescribedView(np.empty((0, 3)), np.empty((0, 32), dtype=np.uint8))
    rays, known = undistort(camera, np.array([corner.pt for corner in corners], dtype=np.float32))
    return DescribedView(bearings(rays[known]), np.asarray(descriptors[known], dtype=np.uint8))


def rotation_between(first: DescribedView, second: DescribedView) -> tuple[Array, int]:
    """Rotation (3, 3) ``second_from_first`` that most matches agree with, and how many they are."""
    if min(len(first.directions), len(second.directions)) < MIN_AGREEING:
        return np.eye(3), 0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(first.descriptors, second.descriptors)
    if len(matches) < MIN_AGREEING:
        return np.eye(3), 0
    before = first.directions[[match.queryIdx for match in matches]]
    after = second.directions[[match.trainIdx for match in matches]]
    rotation = _most_agreed(before, after)
    for _ in range(_REFINEMENTS):
        agreeing = _agrees(rotation[None], before, after)[0]
        rotation = nearest_rotation(after[agreeing].T @ before[agreeing])
    return rotation, int(np.count_nonzero(_agrees(rotation[None], before, after)))


def _most_agreed(before: Array, after: Array) -> Array:
    """Of the rotations by random pairs of matches (always the same draws) the one that most of them agree with."""
    draws = np.random.default_rng(0).integers(0, len(before), (_DRAWS, 2))
    rotations = _axes(after[draws[:, 0]], after[draws[:, 1]]) @ _axes(
        before[draws[:, 0]], before[draws[:, 1]]
    ).transpose(0, 2, 1)
    return np.asarray(rotations[np.argmax(_agrees(rotations, before, after).sum(axis=1))])


def _axes(first: Array, second: Array) -> Array:
    """Orthonormal axes (N, 3, 3), in columns, of pairs of directions (N, 3)."""
    middle, across = first + second, np.cross(first, second)
    x, z = (axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12) for axis in (middle, across))
    return np.stack([x, np.cross(z, x), z], axis=2)


def _agrees(rotations: Array, before: Array, after: Array) -> Mask:
    """Which matches (R, N) each rotation (R, 3, 3) brings together."""
    cosines = np.einsum("rij,nj,ni->rn", rotations, before, after, optimize=True)
    return np.asarray(cosines > np.cos(_AGREEING))

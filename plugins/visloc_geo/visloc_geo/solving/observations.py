"""Keypoints of the photo that were matched, where each is seen, and poses of all views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_geo.solving.bearings import bearings
from visloc_geo.solving.two_view import VerifiedView
from visloc_geo.solving.types import Tag
from visloc_ros.core.camera import project, with_focal_length
from visloc_ros.core.geometry import Array

QUERY = 0
"""Number of the photo among the views, and among the groups."""
UNTAGGED = Tag(position_sigma_m=np.inf, height_sigma_m=np.inf, heading_sigma_deg=np.inf, tilt_sigma_deg=np.inf)


@dataclass(frozen=True, eq=False)
class Observations:
    """What all views see of the points, one point for each matched keypoint of the photo.

    Views are numbered, the photo first. ``groups`` (V,) numbers the bodies that err as a whole: the photo, each
    panorama, each view of its own; ``tags`` are those of the views. ``view``, ``point`` (O,), ``pixels`` (O, 2),
    unit ``bearings`` (O, 3) in the camera, and ``confidence`` (O,) are of single observations, by view.
    ``focal_sigma`` is the relative standard deviation of the photo's focal length, 0 where it is exact.
    """

    cameras: tuple[pycolmap.Camera, ...]
    names: tuple[str, ...]
    groups: NDArray[np.intp]
    tags: tuple[Tag, ...]
    view: NDArray[np.intp]
    point: NDArray[np.intp]
    pixels: Array
    bearings: Array
    confidence: Array
    num_points: int
    focal_sigma: float = 0.0

    def of(self, chosen: NDArray[np.bool_]) -> Observations:
        """Some of the observations (O,), of the same views and points."""
        rows = np.flatnonzero(chosen)
        return self.with_points(rows, self.point[rows], self.num_points)

    def with_points(self, rows: NDArray[np.intp], point: NDArray[np.intp], num_points: int) -> Observations:
        """Rows of the observations, in their order, of other points."""
        return replace(
            self,
            view=self.view[rows],
            point=point,
            pixels=self.pixels[rows],
            bearings=self.bearings[rows],
            confidence=self.confidence[rows],
            num_points=num_points,
        )

    def rows_of(self, view: int) -> slice:
        """Rows of the observations of a view."""
        first, end = np.searchsorted(self.view, [view, view + 1])
        return slice(int(first), int(end))

    @property
    def num_groups(self) -> int:
        """Number of bodies, the photo included."""
        return int(self.groups.max()) + 1

    def members(self, group: int) -> list[int]:
        """Views of a group."""
        return [int(view) for view in np.flatnonzero(self.groups == group)]


@dataclass(frozen=True, eq=False)
class Scene:
    """Rotations (V, 3, 3) and centres (V, 3) of ``enu_from_camera``, and points (N, 3), NaN where unknown.

    ``log_focal`` is the logarithm of the photo's focal length, divided by that of its camera.
    """

    rotations: Array
    centres: Array
    points: Array
    log_focal: float = 0.0

    def camera(self, observations: Observations, view: int) -> pycolmap.Camera:
        """The camera of a view, that of the photo with the focal length of the scene."""
        camera = observations.cameras[view]
        if view != QUERY or self.log_focal == 0.0:
            return camera
        return with_focal_length(camera, camera.mean_focal_length() * math.exp(self.log_focal))

    def directions(self, observations: Observations) -> Array:
        """Unit bearings (O, 3) about the axes of the local frame."""
        in_camera = observations.bearings
        if self.log_focal != 0.0:
            rows = observations.rows_of(QUERY)
            of_photo = bearings(self.camera(observations, QUERY), observations.pixels[rows])
            in_camera = np.concatenate([of_photo, in_camera[rows.stop :]])
        return np.asarray(np.einsum("oij,oj->oi", self.rotations[observations.view], in_camera))

    def in_camera(self, observations: Observations, points: Array | None = None) -> Array:
        """Observed points (O, 3), those of the scene or given (O, 3), in the cameras that see them."""
        seen = self.points[observations.point] if points is None else points
        from_centres = seen - self.centres[observations.view]
        return np.asarray(np.einsum("oji,oj->oi", self.rotations[observations.view], from_centres))

    def residuals(self, observations: Observations, points: Array | None = None) -> Array:
        """Projections less keypoints (O, 2) in pixels; infinite for points unknown or behind the camera."""
        in_camera = self.in_camera(observations, points)
        found = np.full((len(in_camera), 2), np.inf)
        for view in range(len(observations.cameras)):
            rows = observations.rows_of(view)
            found[rows] = project(self.camera(observations, view), in_camera[rows]) - observations.pixels[rows]
        return np.where(np.isfinite(found), found, np.inf)


def agreement(observations: Observations, scene: Scene, max_error_px: float) -> float:
    """Number of observations that agree with a scene, each counting less the larger its error is (MSAC, Torr 2000)."""
    errors = np.linalg.norm(scene.residuals(observations), axis=1)
    return float((1.0 - np.square(np.minimum(errors, max_error_px) / max_error_px)).sum())


def observe(
    camera: pycolmap.Camera,
    keypoints: Array,
    views: Sequence[VerifiedView],
    prior: Tag | None,
    focal_sigma: float = 0.0,
) -> tuple[Observations, NDArray[np.intp]]:
    """The observations of verified views, and the row of the photo's keypoint of each point (N,).

    Of the prior they use how upright the photo is, which leads astray in no other way.
    """
    rows, numbers = np.unique(np.concatenate([one.matches[:, 0] for one in views]), return_inverse=True)
    ends = np.cumsum([len(one.matches) for one in views])
    point = np.concatenate([np.arange(len(rows)), numbers])
    view = np.concatenate([np.zeros(len(rows), np.intp), np.searchsorted(ends, np.arange(ends[-1]), "right") + 1])
    cameras = (camera, *(one.reference.camera for one in views))
    pixels = [keypoints[rows], *(one.pixels for one in views)]
    vectors = [bearings(one, seen) for one, seen in zip(cameras, pixels, strict=True)]
    of_photo = UNTAGGED if prior is None else Tag(tilt_sigma_deg=prior.tilt_sigma_deg)
    observations = Observations(
        cameras,
        ("", *(one.reference.name for one in views)),
        _groups(views),
        (
            of_photo,
            *(one.reference.tag for one in views),
        ),
        view,
        point,
        np.concatenate(pixels),
        np.concatenate(vectors),
        np.concatenate([np.ones(len(rows)), *(one.confidence for one in views)]),
        len(rows),
        focal_sigma,
    )
    return observations, rows


def _groups(views: Sequence[VerifiedView]) -> NDArray[np.intp]:
    """Views of a panorama are one group where their rotations relative to each other are known."""
    numbers: dict[str, int] = {}
    groups = [QUERY]
    for number, one in enumerate(views):
        is_rigid = one.reference.panorama is not None and one.reference.tag.rotation is not None
        key = f"panorama {one.reference.panorama}" if is_rigid else f"view {number}"
        groups.append(numbers.setdefault(key, len(numbers) + 1))
    return np.array(groups, np.intp)

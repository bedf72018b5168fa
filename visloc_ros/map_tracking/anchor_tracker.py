"""Tracking from one accepted anchor: the views whose patches are tracked, and the pose of a frame by them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.map_points import MapPoints
from visloc_ros.map_tracking.patch_localization import FEWEST, LocatedImage, check_pose, fit_to_targets, learn_depths
from visloc_ros.map_tracking.recent_images import RecentImage
from visloc_ros.map_tracking.search import Targets, expected_targets, find_targets
from visloc_ros.map_tracking.views import (
    CONFIRMED,
    LEAST_DEPTH_SIGMA,
    GreyImage,
    PointObservations,
    PosedView,
    anchor_view,
    make_view,
)
from visloc_ros.tracking.pixels import Mask, Pixels, homogeneous

_COARSE_LEVEL = 2  # of the pyramid: a quarter of the size
_COARSE_ERROR_PX = 12.0
_GRID = (6, 4)  # places of an image by which the overlap of two is judged
_MAX_VIEWS = 4  # the anchor's image and three more: each costs its share of the search in every frame
_MIN_OVERLAP = 0.7  # least share of an image that some view shows: points at its border are lost first
_MIN_SUPPORT = 0.6  # of the inliers after the last new view: with fewer, the views no longer look like the image


@dataclass(frozen=True, eq=False)
class PredictedPose:
    """The predicted ``map_from_camera``, and whether it is as exact as from one frame to the next."""

    map_from_camera: SE3
    is_near: bool


class AnchorTracker:
    """The views of one anchor: its own image first, then tracked images, oldest first."""

    def __init__(
        self, anchor: AnchorPose, picture: GreyImage, points: MapPoints, config: MapTrackingConfig, window_px: int
    ) -> None:
        self.anchor = anchor
        self._points, self._config, self._window_px = points, config, window_px
        self._margin_px = float(window_px // 2 + 2)
        pose, pixels = anchor.map_from_camera, anchor.inlier_pixels
        self._views = [anchor_view(picture, pose, pixels, anchor.inlier_points, points, self._margin_px)]
        self._support: int | None = None
        self._num_inliers = 0

    def locate(self, picture: GreyImage, guess: PredictedPose, watch: Stopwatch) -> LocatedImage | Rejection:
        """Find the pose of an image, or the reason why there is none."""
        pose = guess.map_from_camera
        if not guess.is_near:
            with watch("coarse"):
                pose = self._locate_coarsely(picture, pose)
        with watch("select"):
            targets = self._expected(picture, pose)
        with watch("align"):
            pixels, good = find_targets(self._views, targets, picture, self._window_px)
        with watch("pose"):
            located = self._fit(picture, pose, targets, pixels, good, self._config.max_error_px)
            self._note(targets, located)
        reason = check_pose(len(targets), located, self._config)
        counts = {"expected": len(targets), "found": int(good.sum())}
        if located is None or reason is not None:
            counts["inliers"] = 0 if located is None else located.fit.num_inliers
            return Rejection(picture.stamp_ns, reason or Reason.FEW_MATCHES, counts, watch.stage_ms)
        return located

    def update_depths(self, located: LocatedImage) -> Array:
        """Update the depths by an accepted pose; returns its covariance (6, 6) since the anchor's image."""
        self._num_inliers = located.fit.num_inliers
        self._support = self._support or self._num_inliers
        pose = located.map_from_camera
        inverse_depths, sigmas = learn_depths(located.fit.camera_from_world, located.seen)
        covariance = located.fit.covariance
        for index, view in enumerate(self._views):
            mine = (located.found.views == index) & located.fit.inliers
            rows = located.found.rows[mine]
            if len(rows) == 0:
                continue
            view.seeds.inverse_depths[rows] = inverse_depths[mine]
            view.seeds.sigmas[rows] = np.maximum(sigmas[mine], LEAST_DEPTH_SIGMA * inverse_depths[mine])
            # Errors of views are not independent: the mean of their covariances bounds that of their mean error.
            motion = pose.translation - view.map_from_camera.translation
            elsewhere = self._points.uncertainty.of_difference(pose.rotation, view.change_to(pose))
            of_view = move_covariance(view.covariance, motion) + elsewhere
            covariance = covariance + len(rows) / self._num_inliers * of_view
        return np.asarray(covariance)

    def observed(self, located: LocatedImage) -> PointObservations:
        """The inlier map points of a pose, as found."""
        agreeing = located.fit.inliers
        views, rows = located.found.views[agreeing], located.found.rows[agreeing]
        points = np.empty(len(rows), dtype=np.int64)
        for index, view in enumerate(self._views):
            points[views == index] = view.seeds.rows[rows[views == index]]
        return replace(located.searched(), rows=points, pixels=located.pixels[agreeing])

    def needs_view(self, picture: GreyImage, map_from_camera: SE3) -> bool:
        """Whether the views show too little of what an image shows, or too few of their points are still found."""
        if self._support is not None and self._num_inliers < _MIN_SUPPORT * self._support:
            return True
        lines = _lines_of_sight(picture, map_from_camera)
        return all(_overlap(view, map_from_camera.translation, lines) < _MIN_OVERLAP for view in reversed(self._views))

    def add_view(self, image: RecentImage) -> None:
        """Add a tracked image as a view; the oldest tracked one makes room for it."""
        if image.pose is None or image.covariance is None or image.observed is None:
            return
        if image.stamp_ns <= self._views[-1].picture.stamp_ns:
            return
        view = make_view(image.picture, image.pose, image.covariance, image.observed, self._points, self._margin_px)
        self._views.append(view)
        if len(self._views) > _MAX_VIEWS:
            del self._views[1]
        self._support = None

    def _expected(self, picture: GreyImage, map_from_camera: SE3) -> Targets:
        count = self._config.max_points
        return expected_targets(self._views, picture, map_from_camera.inverse, count, self._margin_px)

    def _locate_coarsely(self, picture: GreyImage, map_from_camera: SE3) -> SE3:
        """A better guess from small images, with less accuracy but more reach; the same one where they do not help."""
        targets = self._expected(picture, map_from_camera)
        pixels, good = find_targets(self._views, targets, picture, self._window_px, _COARSE_LEVEL)
        located = self._fit(picture, map_from_camera, targets, pixels, good, _COARSE_ERROR_PX)
        if located is None or located.fit.num_inliers < FEWEST:
            return map_from_camera
        return located.map_from_camera

    def _fit(
        self,
        picture: GreyImage,
        map_from_camera: SE3,
        targets: Targets,
        pixels: Pixels,
        good: Mask,
        max_error_px: float,
    ) -> LocatedImage | None:
        """Pose of an image from the targets that were found; None for too few."""
        sigma_px = self._points.sigma_px / picture.reduction
        confirmed = self._are_confirmed(targets)
        return fit_to_targets(
            self._views, targets, pixels, good, picture, map_from_camera, sigma_px, max_error_px, confirmed
        )

    def _are_confirmed(self, targets: Targets) -> Mask:
        """Which targets (N,) have been where they should be often enough."""
        hits = np.zeros(len(targets), dtype=np.int64)
        for index, view in enumerate(self._views):
            mine = targets.views == index
            hits[mine] = view.seeds.hits[targets.rows[mine]]
        return np.asarray(hits >= CONFIRMED)

    def _note(self, targets: Targets, located: LocatedImage | None) -> None:
        """Count for every target whether it was where it should be; frames without a pose do not count."""
        if located is None or located.fit.num_inliers < self._config.min_inliers:
            return
        for index, view in enumerate(self._views):
            seeds, searched = view.seeds, targets.rows[targets.views == index]
            agreeing = located.found.rows[(located.found.views == index) & located.fit.inliers]
            hits = seeds.hits[agreeing] + 1
            seeds.misses[searched] += 1
            seeds.hits[searched] = 0
            seeds.misses[agreeing], seeds.hits[agreeing] = 0, hits


def _lines_of_sight(picture: GreyImage, map_from_camera: SE3) -> Array:
    """Lines (N, 3) of depth 1, in map axes, of a grid of places in an image at a pose."""
    camera, columns, rows = picture.camera, *_GRID
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    places = np.column_stack([x.ravel() * camera.width, y.ravel() * camera.height])
    rays = cameras.rays(camera, places)
    return np.asarray(homogeneous(rays[np.isfinite(rays).all(axis=1)]) @ map_from_camera.rotation.T)


def _overlap(view: PosedView, centre: Array, lines: Array) -> float:
    """Share of lines (N, 3) from a centre (3,) that a view shows, too, judged at the depth of its points."""
    if len(view.seeds) == 0:
        return 0.0
    pixels = cameras.project(view.picture.camera, view.map_from_camera.inverse @ (centre + lines * view.depth))
    size = [view.picture.camera.width, view.picture.camera.height]
    return float(np.mean(np.all((pixels >= 0.0) & (pixels < size), axis=1)))

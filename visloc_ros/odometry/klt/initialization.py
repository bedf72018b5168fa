"""Two-view initialization: features are tracked until the present view has enough parallax to an earlier one."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Reason
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import MIN_CORRELATION, PreparedImage, turn_between
from visloc_ros.odometry.klt.tracking import Features, detect_corners, follow, follow_from_any, measure, seen_points
from visloc_ros.odometry.klt.two_view import (
    TwoViewGeometry,
    Wait,
    estimate_two_view_geometry,
    median_parallax_deg,
)
from visloc_ros.tracking.pixels import Pixels, homogeneous, pixels_of
from visloc_ros.tracking.robust_pose import fit_pose

_KEPT_SHARE = 0.6  # of the newest reference's features, below which the present view becomes a reference, too
_MAX_REFERENCES = 4
_MAX_EARLIER = 8  # references that few features are left of, which still show whether the camera has moved
_STILL_PX = 0.5  # as exact as the way back of a followed feature must be
_STILL_SHARE = 0.25  # of the features that moved: real starts have a fiftieth; a robot's own body may have a sixth
_MAX_REMEMBERED = 300  # views: ten seconds, in which a feature is seldom followed


@dataclass(frozen=True, eq=False)
class Initialization:
    """A good pair: the reference view, the present view, the features of both (same rows), and the geometry.

    ``followed`` are the features of the views up to the present one by stamp, oldest first.
    """

    reference: PreparedImage
    first: Features
    second: Features
    geometry: TwoViewGeometry
    followed: Mapping[int, Features]


@dataclass(frozen=True, eq=False)
class _Reference:
    """An earlier view and all features followed then."""

    view: PreparedImage
    features: Features


class Initializer:
    """Tracks features and keeps a few earlier views as references, oldest first."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._references: list[_Reference] = []
        self._earlier: deque[_Reference] = deque(maxlen=_MAX_EARLIER)
        self._features = Features.none()
        self._previous: PreparedImage | None = None
        self._followed_by_stamp: dict[int, Features] = {}
        self._next_id = 0

    def follow(self, view: PreparedImage) -> Initialization | Wait:
        """Take the next view: the initialization, or the reason to wait."""
        self._features = self._followed(view)
        self._previous = view
        self._forget_lost()
        result = self._try(view)
        newest = len(self._references[-1].features) if self._references else math.inf
        if isinstance(result, Wait) and len(self._features) < _KEPT_SHARE * newest:
            result = self._add_reference(view, result)
        self._remember(view)
        return result

    def _forget_lost(self) -> None:
        """Put references aside of which too few features are still followed."""
        kept = [pair for pair in self._references if len(self._shared(pair)) >= self._least]
        self._earlier.extend(pair for pair in self._references if pair not in kept)
        self._references = kept

    def _remember(self, view: PreparedImage) -> None:
        self._followed_by_stamp[view.stamp_ns] = self._features
        if len(self._followed_by_stamp) > _MAX_REMEMBERED:
            del self._followed_by_stamp[next(iter(self._followed_by_stamp))]

    @property
    def _least(self) -> int:
        return self._config.start_min_points

    def _followed(self, view: PreparedImage) -> Features:
        """The features that are found in the next view."""
        previous, before = self._previous, self._features
        if previous is None or len(before) == 0:
            return Features.none()
        guesses = self._guesses(previous, view)
        pixels, good, _ = follow_from_any(previous.grey, view.grey, before.pixels, guesses, self._config)
        return measure(view.camera, before.ids[good], pixels[good])

    def _guesses(self, previous: PreparedImage, view: PreparedImage) -> Iterator[Pixels]:
        yield self._features.pixels
        turn, correlation = turn_between(previous.thumbnail, view.thumbnail, view.camera)
        if correlation > MIN_CORRELATION:
            yield pixels_of(view.camera, homogeneous(self._features.rays) @ turn.T)

    def _shared(self, reference: _Reference) -> Features:
        """The reference's features that are still followed, in the order of the present ones."""
        return reference.features[np.isin(reference.features.ids, self._features.ids)]

    def _try(self, view: PreparedImage) -> Initialization | Wait:
        """Initialize from the reference with the most parallax."""
        best, most = None, -1.0
        for reference in self._references:
            first = self._shared(reference)
            second = self._features[np.isin(self._features.ids, first.ids)]
            parallax = median_parallax_deg(first.rays, second.rays)
            if parallax > most:
                best, most = (reference, first, second), parallax
        if best is None:
            return Wait({"features": float(len(self._features))}, Reason.FEW_FEATURES)
        reference, first, second = best
        geometry = estimate_two_view_geometry(first.rays, second.rays, second.pixels_per_ray, self._config)
        if isinstance(geometry, Wait):
            return geometry
        still = self._num_still(view, _STILL_SHARE * np.count_nonzero(geometry.is_point))
        if still > 0:
            return Wait(geometry.counts | {"still": float(still)})
        return Initialization(reference.view, first, second, geometry, self._followed_by_stamp)

    def _num_still(self, view: PreparedImage, least: float) -> int:
        """Features of one earlier view that are where they were, once hidden or not; 0 where not more than ``least``.

        What moves before a camera that stands hides features behind it, so that in the end most of those followed
        are its own, and would give a start. Something far away is no exception: a camera that moves also turns.
        """
        for reference in reversed([*self._earlier, *self._references]):
            pixels = reference.features.pixels
            found, good = follow(reference.view.grey, view.grey, pixels, pixels, self._config.window_px, 0)
            moved_px = np.linalg.norm(found - pixels, axis=1)
            still = int(np.count_nonzero(good & (moved_px < _STILL_PX)))
            if still > least:
                return still
        return 0

    def _add_reference(self, view: PreparedImage, result: Wait) -> Wait:
        """Make the present view a reference, with new corners where none are followed."""
        corners = detect_corners(view.grey, self._features.pixels, self._config)
        ids = np.arange(len(corners), dtype=np.int64) + self._next_id
        self._next_id += len(corners)
        self._features = self._features.joined(measure(view.camera, ids, corners))
        self._earlier.extend(self._references[: -_MAX_REFERENCES + 1])
        self._references = [*self._references[-_MAX_REFERENCES + 1 :], _Reference(view, self._features)]
        if len(self._features) < self._least:
            return Wait({"features": float(len(self._features))}, Reason.FEW_FEATURES)
        return Wait(result.counts)


def locate_followed(initialization: Initialization, config: KltConfig) -> dict[int, SE3]:
    """``camera_from_odom`` by stamp of the views that were followed before the pair was found, by its points.

    They are found from the reference, which is the origin, to either side, until too few of the points are followed.
    """
    stamps, reference_ns = list(initialization.followed), initialization.reference.stamp_ns
    later = [stamp_ns for stamp_ns in stamps if stamp_ns >= reference_ns]
    before = [stamp_ns for stamp_ns in reversed(stamps) if stamp_ns < reference_ns]
    return {**_locate_in_turn(initialization, before, config), **_locate_in_turn(initialization, later, config)}


def _locate_in_turn(initialization: Initialization, stamps_ns: Sequence[int], config: KltConfig) -> dict[int, SE3]:
    """Poses of views, each found from that of the one before; the first one's is near the origin."""
    ids, points = initialization.first.ids, initialization.geometry.points
    pose, poses = SE3.identity(), {}
    for stamp_ns in stamps_ns:
        features = initialization.followed[stamp_ns]
        _, here, rows = np.intersect1d(features.ids, ids, assume_unique=True, return_indices=True)
        is_point = initialization.geometry.is_point[rows]
        seen, shown = features[here[is_point]], points[rows[is_point]]
        if len(seen) < config.min_tracked:
            break
        limit = config.max_reprojection_px
        fit = fit_pose(pose, seen_points(shown, seen, limit), limit)
        if fit.num_inliers < config.min_tracked:
            break
        pose = poses[stamp_ns] = fit.camera_from_world
    return poses

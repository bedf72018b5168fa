"""Waiting for a two-view start: features followed from a reference view until there is parallax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.features import FeatureGrid
from visloc_ros.odometry.klt.images import View
from visloc_ros.odometry.klt.tracking import Features, follow, measure
from visloc_ros.odometry.klt.two_view import TwoViewStart, Wait, start_from_two_views

_KEPT_SHARE = 0.4  # of the reference's features, below which the next view becomes the reference


@dataclass(frozen=True, eq=False)
class Started:
    """A good pair: the reference view, the present view, the features of both (same rows), and the geometry."""

    reference: View
    first: Features
    second: Features
    geometry: TwoViewStart


class Starter:
    """Holds the reference view and follows its features."""

    def __init__(self, config: KltConfig, grid: FeatureGrid) -> None:
        self._config, self._grid = config, grid
        self._reference: View | None = None
        self._first = Features.none()
        self._second = Features.none()
        self._previous: View | None = None

    def follow(self, view: View) -> Started | Wait:
        """Take the next view: a start, or the numbers to wait with."""
        if self._reference is None or self._previous is None:
            return self._restart(view, {"features": 0.0})
        pixels, good = follow(self._previous.grey, view.grey, self._second.pixels, self._second.pixels, self._config)
        second = measure(view.camera, self._second.ids[good], pixels[good])
        if len(second) < self._least:
            return self._restart(view, {"features": float(len(second))})
        self._first = self._first[np.isin(self._first.ids, second.ids)]
        self._second, self._previous = second, view
        geometry = start_from_two_views(self._first.rays, second.rays, second.pixels_per_ray, self._config)
        if isinstance(geometry, Wait):
            return geometry
        return Started(self._reference, self._first, second, geometry)

    @property
    def _least(self) -> float:
        return max(self._config.start_min_points, _KEPT_SHARE * self._num_at_reference)

    def _restart(self, view: View, counts: dict[str, float]) -> Wait:
        pixels = self._grid.detect(view.grey, self._first.pixels[:0])
        self._first = self._second = measure(view.camera, np.arange(len(pixels), dtype=np.int64), pixels)
        self._num_at_reference = len(self._first)
        self._reference = self._previous = view
        return Wait(counts)

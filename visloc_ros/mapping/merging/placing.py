"""The place of one map in another: a similarity on which the images found in both agree.

Each such image determines a similarity by itself: its two poses give the rotation and the translation, and the
distances of its points, which are in both maps, give the scale. So even images in one spot determine the scale, and
the similarity that most of the others agree with is found without random sampling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.advice import ADVICE, count_reasons
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array, Sim3, mean_rotation, rotation_angle_deg
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.localization.view_change import typical_depth, view_change
from visloc_ros.mapping.merging.sightings import Sighting, Sightings

MIN_IMAGES = 3  # that agree: two may both show the same poster, which hangs elsewhere, too
_MIN_POINTS = 10  # in both maps: the median of their distances is then good to a few percent
_SAME_VIEW = 0.3  # radians of view change: a fifth of what a camera sees; two poses of one place differ by far less
_MOST_DISAGREEING = 0.5  # of the images that are found
_MOST_TRIED = 100  # similarities: the time grows with the square of the images
_MAX_CHANGE = 0.1  # radians, the median: at poses known to 3 cm it is 0.06, with a focal length 20 % too long 0.17
_MAX_SCALE_SPREAD = 0.1  # between images: a bundle adjustment that begins farther off may end anywhere


class NoOverlapError(MapError):
    """Too few images of one map are found in the other."""


@dataclass(frozen=True, eq=False)
class MapPlacement:
    """``a_from_b`` of two maps, the sightings that agree with it, and its residuals for ``Manifest.merged``."""

    a_from_b: Sim3
    agreed: Sequence[Sighting]
    residuals: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _View:
    """An image in both maps: its poses, the typical depth of its points in a, and the scale by it."""

    a_from_camera: SE3
    b_from_camera: SE3
    depth: float
    scale: float

    @property
    def a_from_b(self) -> Sim3:
        return _through([self], self.scale, self.a_from_camera.rotation @ self.b_from_camera.rotation.T)

    def change(self, a_from_b: Sim3) -> float:
        """View change in radians from where the image was found to where a similarity puts it."""
        return view_change(self.a_from_camera, self.depth, a_from_b.apply_to_pose(self.b_from_camera))


def place_map(a: Map, b: Map, sightings: Sightings) -> MapPlacement:
    """Place map b in map a by its images that were found there.

    Raises NoOverlapError where these are too few, MapError where they contradict each other.
    """
    views = {row: view for row, one in sightings.found.items() if (view := _view(a, b.images[row], b, one)) is not None}
    if len(views) < MIN_IMAGES:
        raise NoOverlapError(_words_of_no_overlap(a, b, sightings, len(views)))
    every = list(views.values())
    agrees = _largest_agreement(a, b, every)
    rows = [row for row, good in zip(views, agrees, strict=True) if good]
    if len(rows) < MIN_IMAGES or len(rows) < (1.0 - _MOST_DISAGREEING) * len(every):
        raise MapError(
            f"of {len(every)} images of '{b.name}' that are found in '{a.name}' only {len(rows)} agree on how the maps "
            "lie to each other: one of them is bent, or what they show has moved; build the worse one again "
            "(their map cards show it)"
        )
    agreed = [view for view, good in zip(every, agrees, strict=True) if good]
    a_from_b, spread = _similarity(a, b, agreed)
    _check_fit(a, b, a_from_b, agreed)
    return MapPlacement(a_from_b, [sightings.found[row] for row in rows], _residuals(a_from_b, spread, every, agreed))


def _similarity(a: Map, b: Map, agreed: Sequence[_View]) -> tuple[Sim3, float]:
    """The similarity of views that agree, and the spread of their scales. MapError where that is too large."""
    scale, spread = _scale(agreed)
    if spread > _MAX_SCALE_SPREAD:
        raise MapError(
            f"the scale of '{b.name}' in '{a.name}' is known only to {100 * spread:.0f} %: the images that they share "
            "show too little depth, or too little of it; film a longer passage that shows what both maps show"
        )
    rotation = mean_rotation([view.a_from_b.rotation for view in agreed])
    return _through(agreed, scale, rotation), spread


def _check_fit(a: Map, b: Map, a_from_b: Sim3, agreed: Sequence[_View]) -> None:
    change = float(np.median([view.change(a_from_b) for view in agreed]))
    if change > _MAX_CHANGE:
        raise MapError(
            f"images of '{b.name}' are found in '{a.name}' with a view that is {math.degrees(change):.0f} deg off from "
            "where their own map has them: one map is bent, or was made with a wrong focal length; build it again with "
            "the calibration of its camera (--camera FILE)"
        )


def _view(a: Map, image: MapImage, b: Map, sighting: Sighting) -> _View | None:
    """The image in both maps; None where too few of its points are in both."""
    rows_in_b = image.point_rows[sighting.keypoint_rows]
    in_both = rows_in_b != NO_POINT
    if in_both.sum() < _MIN_POINTS:
        return None
    in_a = _distances(sighting.a_from_camera, a.points[sighting.point_rows[in_both]])
    in_b = _distances(image.map_from_camera, b.points[rows_in_b[in_both]])
    depth = typical_depth(sighting.a_from_camera, a.points[sighting.point_rows])
    return _View(sighting.a_from_camera, image.map_from_camera, depth, float(np.median(in_a / in_b)))


def _distances(map_from_camera: SE3, points: Array) -> Array:
    return np.asarray(np.linalg.norm(points - map_from_camera.translation, axis=1))


def _largest_agreement(a: Map, b: Map, views: Sequence[_View]) -> NDArray[np.bool_]:
    """Which of the views (N,) agree with the similarity that fits most of them best. MapError where two do."""
    tried = np.unique(np.linspace(0, len(views) - 1, min(len(views), _MOST_TRIED)).round().astype(int))
    changes = np.array([[view.change(views[row].a_from_b) for view in views] for row in tried])
    agreement = changes <= _SAME_VIEW
    best = int(np.argmax(np.maximum(0.0, 1.0 - np.square(changes / _SAME_VIEW)).sum(axis=1)))
    elsewhere = agreement[~np.any(agreement & agreement[best], axis=1)].sum(axis=1).max(initial=0)
    if elsewhere >= MIN_IMAGES and 2 * elsewhere > agreement[best].sum():
        raise MapError(
            f"'{b.name}' fits '{a.name}' in two ways, by {agreement[best].sum()} images and by {elsewhere}: two places "
            "look alike, or one map is bent; film a passage that shows how they differ and extend a map by it"
        )
    return np.asarray(agreement[best])


def _scale(views: Sequence[_View]) -> tuple[float, float]:
    """The median of the views' scales, and their standard deviation, relative."""
    logs = np.log([view.scale for view in views])
    middle = float(np.median(logs))
    return math.exp(middle), 1.4826 * float(np.median(np.abs(logs - middle)))


def _through(views: Sequence[_View], scale: float, rotation: Array) -> Sim3:
    """The similarity of this scale and rotation that puts the views where they were found, by the median."""
    offsets = [view.a_from_camera.translation - scale * rotation @ view.b_from_camera.translation for view in views]
    return Sim3(scale, rotation, np.median(offsets, axis=0))


def _residuals(a_from_b: Sim3, spread: float, found: Sequence[_View], agreed: Sequence[_View]) -> dict[str, float]:
    placed = [a_from_b.apply_to_pose(view.b_from_camera) for view in agreed]
    pairs = list(zip(placed, agreed, strict=True))
    distances = [np.linalg.norm(pose.translation - view.a_from_camera.translation) for pose, view in pairs]
    turns = [rotation_angle_deg(pose.rotation, view.a_from_camera.rotation) for pose, view in pairs]
    return {
        "images": len(agreed),
        "left_out": len(found) - len(agreed),
        "scale": a_from_b.scale,
        "scale_spread": spread,
        "median": float(np.median(distances)),
        "median_deg": float(np.median(turns)),
    }


def _words_of_no_overlap(a: Map, b: Map, sightings: Sightings, num_found: int) -> str:
    counts = count_reasons(sightings.refused.values())
    words = (
        f"only {num_found} of {len(b.images)} images of '{b.name}' are found in '{a.name}', {MIN_IMAGES} are needed: "
        "film a passage that shows what both maps show, and extend one of them by it"
    )
    if not counts:
        return words
    reason = max(counts, key=lambda one: counts[one])
    return f"{words}. {counts[reason]} images: {reason.value} ({ADVICE[reason].partition(', or add')[0]})"

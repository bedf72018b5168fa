"""The place of one map in another: a similarity on which the images found in both agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visloc_ros.core.advice import ADVICE, count_reasons
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.mapping.merging.shared_views import MIN_IMAGES, SharedView, agree, covariance, residuals
from visloc_ros.mapping.merging.sightings import Sighting, Sightings


class NoOverlapError(MapError):
    """Too few images of one map are found in the other."""


@dataclass(frozen=True, eq=False)
class MapPlacement:
    """``a_from_b`` of two maps, the sightings that agree with it, and its residuals for ``Manifest.merged``.

    ``covariance`` (7, 7) is of the similarity's error, as in ``core.tangent``.
    """

    a_from_b: Sim3
    agreed: Sequence[Sighting]
    residuals: Mapping[str, float]
    covariance: Array


def place_map(a: Map, b: Map, sightings: Sightings) -> MapPlacement:
    """Place map b in map a by its images that were found there.

    Raises NoOverlapError where these are too few, MapError where they contradict each other.
    """
    views = {row: view for row, one in sightings.found.items() if (view := _view(a, b.images[row], b, one)) is not None}
    if len(views) < MIN_IMAGES:
        raise NoOverlapError(_words_of_no_overlap(a, b, sightings, len(views)))
    every = list(views.values())
    agreement = agree(a.name, b.name, every)
    agreed = [sightings.found[row] for row, good in zip(views, agreement.agrees, strict=True) if good]
    return MapPlacement(agreement.a_from_b, agreed, residuals(agreement, every), covariance(agreement, every))


def _view(a: Map, image: MapImage, b: Map, sighting: Sighting) -> SharedView | None:
    """The image in both maps; None where too few of its points are in both."""
    rows_in_b, rows_in_a = image.point_rows[sighting.keypoint_rows], sighting.point_rows
    in_both = rows_in_b != NO_POINT
    points_in_b = b.points[rows_in_b[in_both]]
    return SharedView.of(
        sighting.a_from_camera, image.map_from_camera, a.points[rows_in_a[in_both]], points_in_b, a.points[rows_in_a]
    )


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

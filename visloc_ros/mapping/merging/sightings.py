"""Images of one map that are found in another, by the features that maps keep, without pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import LocalFeatures, Map, MapImage
from visloc_ros.core.types import AnchorPose, Frame, Image, Reason
from visloc_ros.features.config import GlobalConfig
from visloc_ros.features.types import OneByOne
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.view_change import ViewOverlap

_NO_INDEX = np.empty((0, 0), np.float32)
_NO_FRAME = -1  # stamp: images of maps have none


@dataclass(frozen=True, eq=False)
class Sighting:
    """An image of map b, by row, found in map a: which of its keypoints (K,) show which points of a, (K,) rows."""

    row: int
    a_from_camera: SE3
    keypoint_rows: NDArray[np.intp]
    point_rows: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sightings:
    """The images that were found, by row, and why others were not."""

    found: Mapping[int, Sighting] = field(default_factory=dict)
    refused: Mapping[int, Reason] = field(default_factory=dict)

    def with_more(self, more: Sightings) -> Sightings:
        """The images found by either search; for others, the reason of the first search."""
        found = {**self.found, **more.found}
        return Sightings(found, {row: reason for row, reason in self.refused.items() if row not in found})


class MapSearch:
    """Searches the images of other maps in one map.

    Maps keep only a part of each image's features, which gives another global descriptor: this map is indexed again by
    the part that it keeps, so that both sides are comparable.
    """

    def __init__(self, map_: Map, extractor: ModelInfo, on_image: Callable[[], None] = lambda: None) -> None:
        config = AnchorConfig(global_descriptor=GlobalConfig(name="vlad"))
        dim = map_.images[0].features.descriptors.shape[1]
        not_indexed = replace(map_, global_descriptors=_NO_INDEX, vlad_centroids=_NO_INDEX)
        self._engine = AnchorEngine(not_indexed, config, _FeaturesOfMaps(extractor, dim))
        self._overlap = ViewOverlap(map_)
        self._point_rows = _row_of_each(map_.points)
        self._on_image = on_image

    def find_all(self, other: Map) -> Sightings:
        """Search every image of another map."""
        return self._collect((row, image, None) for row, image in enumerate(other.images))

    def find_around(self, other: Map, poses: Mapping[int, SE3]) -> Sightings:
        """Search images of another map, by row, around poses in this one, where these have anything in view."""
        images = ((row, other.images[row], pose) for row, pose in poses.items())
        return self._collect(one for one in images if self._overlap.rank(one[2], one[1].camera, 1))

    def _collect(self, images: Iterable[tuple[int, MapImage, SE3 | None]]) -> Sightings:
        found, refused = {}, {}
        for row, image, pose in images:
            answer = self._engine.localize(_frame_of(image), pose, image.features)
            if isinstance(answer, AnchorPose):
                found[row] = self._sighting(row, image, answer)
            else:
                refused[row] = answer.reason
            self._on_image()
        return Sightings(found, refused)

    def _sighting(self, row: int, image: MapImage, pose: AnchorPose) -> Sighting:
        keypoint_rows = _row_of_each(image.features.keypoints.astype(np.float64))
        seen_by = [keypoint_rows[pixel.tobytes()] for pixel in pose.inlier_pixels]
        seen = [self._point_rows[point.tobytes()] for point in pose.inlier_points]
        return Sighting(row, pose.map_from_camera, np.array(seen_by, np.intp), np.array(seen, np.intp))


@dataclass(frozen=True)
class _FeaturesOfMaps(OneByOne):
    """Stands for the extractor that made the features of maps, which need not be installed."""

    info: ModelInfo
    descriptor_dim: int

    def extract(self, image: Image) -> LocalFeatures:
        raise RuntimeError("nothing is extracted here: hand localize the features that the map keeps")


def _frame_of(image: MapImage) -> Frame:
    """An image of a map without its picture."""
    blank = np.broadcast_to(np.uint8(0), (image.camera.height, image.camera.width))
    return Frame(_NO_FRAME, blank, image.camera, image.name)


def _row_of_each(vectors: Array) -> dict[bytes, int]:
    """Rows by their content, since an answer holds copies of its rows."""
    return {vector.tobytes(): row for row, vector in enumerate(np.ascontiguousarray(vectors))}

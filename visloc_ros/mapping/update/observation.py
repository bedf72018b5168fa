"""What an image that is localized says of the map: which points it should show, and which it does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Evidence, Query
from visloc_ros.localization.guided import GuidedSearch
from visloc_ros.localization.view_change import ViewOverlap
from visloc_ros.mapping.update.use import UseCounts

_REFERENCES = 10  # map images that share most of the view
_LARGEST_ANGLE_DEG, _LARGEST_OCTAVES = 30.0, 0.5  # from a reference: a point looks the same
_LEAST_EXPECTED = 30  # points, for the share of them that is seen
_GRID, _LEAST_KEYPOINTS = 4, 5  # cells along a side of an image, and keypoints of a cell that counts
_COVERED = 0.25  # of the share of all keypoints of an image that show points: a cell of a smaller share is not covered
_USED = 0.5  # of the share that all points of the view have: fewer of an image's points seen are a miss of the image


@dataclass(frozen=True, eq=False)
class Observation:
    """Points expected in an image, by rows (N,) in ascending order and projections (N, 2), and which it shows (N,).

    ``images`` (K,) are rows of the map's images that share its view, ``image_shares`` (K,) the shares of their expected
    points that are seen; NaN where none is expected. ``shown_keypoints`` (S,) of the image show the map's points at
    ``shown_points`` (S, 3).
    """

    point_rows: NDArray[np.intp]
    pixels: Array
    is_seen: NDArray[np.bool_]
    images: NDArray[np.intp]
    image_shares: Array
    shown_keypoints: NDArray[np.int64]
    shown_points: Array

    @property
    def share(self) -> float:
        """The share of the expected points that the image shows; 0 where there are too few to say."""
        return float(self.is_seen.mean()) if len(self.is_seen) >= _LEAST_EXPECTED else 0.0


def uncovered_share(observation: Observation, query: Query) -> float:
    """The share of an image, by the cells of a grid that have keypoints, that shows hardly any of the map's points."""
    camera, keypoints = query.frame.camera, query.features.keypoints
    cells = np.clip((keypoints * _GRID / [camera.width, camera.height]).astype(np.intp), 0, _GRID - 1)
    cells = cells[:, 1] * _GRID + cells[:, 0]
    found = np.bincount(cells, minlength=_GRID**2)
    shown = np.bincount(cells[observation.shown_keypoints], minlength=_GRID**2)
    counted = found >= _LEAST_KEYPOINTS
    usual = shown[counted].sum() / max(found[counted].sum(), 1)
    return float(np.mean(shown[counted] < _COVERED * usual * found[counted])) if counted.any() else 0.0


class UseObserver:
    """Observes which points of a map localized images show, and counts it over a session."""

    def __init__(self, map_: Map, config: AnchorConfig) -> None:
        self._map = map_
        self._overlap = ViewOverlap(map_)
        self._guided = GuidedSearch(map_, replace(config, guided=replace(config.guided, references=_REFERENCES)))
        self.points, self.images = UseCounts.none(len(map_.points)), UseCounts.none(len(map_.images))
        """Counts of this session so far."""

    def observe(self, query: Query, map_from_camera: SE3) -> Observation:
        """Search the points around the pose of an image."""
        references = self._overlap.rank(map_from_camera, query.frame.camera, _REFERENCES)
        rows, pixels = self._expected(query, references, map_from_camera)
        evidence = self._guided.gather(query, references, map_from_camera) if references else Evidence()
        shown = evidence.correspondences
        agreeing = np.empty(0, np.intp) if evidence.solution is None else np.flatnonzero(evidence.solution.inliers)
        keypoints, points = shown.keypoint_rows[agreeing], shown.point_rows[agreeing]
        is_seen = np.isin(rows, points)
        shares = np.array([self._share_of(row, rows, is_seen) for row in references])
        return Observation(
            rows, pixels, is_seen, np.array(references, np.intp), shares, keypoints, self._map.points[points]
        )

    def count(self, observation: Observation) -> None:
        """Count what an image shows and misses; a miss as much as a point of this image was likely to be seen."""
        share = observation.share
        if share == 0.0:
            return
        _add(self.points, observation.point_rows, observation.is_seen, share)
        known = np.isfinite(observation.image_shares)
        _add(self.images, observation.images[known], observation.image_shares[known] >= _USED * share, share)

    def _expected(self, query: Query, references: list[int], pose: SE3) -> tuple[NDArray[np.intp], Array]:
        """Points that references show from a like direction and distance, where they project into the image."""
        camera, points = query.frame.camera, self._map.points
        alike = [self._looks_alike(row, pose) for row in references]
        rows = np.unique(np.concatenate([np.empty(0, np.intp), *alike])).astype(np.intp)
        pixels = project(camera, pose.inverse @ points[rows])
        inside = ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(axis=1)  # NaN behind the camera
        return rows[inside], pixels[inside]

    def _looks_alike(self, row: int, pose: SE3) -> NDArray[np.intp]:
        image = self._map.images[row]
        rows = image.point_rows[image.point_rows != NO_POINT].astype(np.intp)
        here, there = (
            centre - self._map.points[rows] for centre in (pose.translation, image.map_from_camera.translation)
        )
        near, far = np.linalg.norm(here, axis=1), np.linalg.norm(there, axis=1)
        cosines = np.einsum("ij,ij->i", here, there) / np.maximum(near * far, 1e-12)
        octaves = np.abs(np.log2(np.maximum(near, 1e-12) / np.maximum(far, 1e-12)))
        return np.asarray(rows[(cosines >= np.cos(np.radians(_LARGEST_ANGLE_DEG))) & (octaves <= _LARGEST_OCTAVES)])

    def _share_of(self, row: int, rows: NDArray[np.intp], is_seen: NDArray[np.bool_]) -> float:
        of_image = np.isin(rows, self._map.images[row].point_rows)
        return float(is_seen[of_image].mean()) if of_image.any() else float("nan")


def _add(counts: UseCounts, rows: NDArray[np.intp], is_seen: NDArray[np.bool_], share: float) -> None:
    np.add.at(counts.seen, rows[is_seen], 1.0)
    np.add.at(counts.missed, rows[~is_seen], share)

"""Which images of a recording may teach a map: those with a small covariance whose neighbours in time agree.

Two images agree where the map points of one, followed into the other by the images alone, project there by its pose:
a place that only looks alike moves otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.guided import MIN_SIMILARITY
from visloc_ros.localization.view_change import typical_depth
from visloc_ros.mapping.update.observation import Observation, UseObserver, uncovered_share
from visloc_ros.mapping.update.report import UpdateRefusedError

_NEIGHBOUR_NS = 2 * NANOSECONDS  # later images hardly share a view
_LEAST_FOLLOWED, _AGREEING = 15, 0.5  # points followed from one image to the next, and their share that agrees
_LEAST_TAUGHT = 5
_LEAST_SHARE = 1 / 3
"""Of the images: a recording of which fewer are located surely is of another place, or of a place that has changed so
much that it should be mapped again."""


@dataclass(frozen=True, eq=False)
class LocatedImage:
    """An image with its pose in the map, what it says of the map's points, and whether it contradicts its calibration.

    ``index`` counts the images of the recording.
    """

    index: int
    query: Query
    anchor: AnchorPose
    observation: Observation
    is_contradicted: bool


@dataclass(frozen=True, eq=False)
class TaughtImage:
    """An image that may teach: its index, stamp, and ``map_from_camera`` with covariance (6, 6).

    ``depth`` is the distance of what it shows, ``uncovered`` the share of it that shows none of the map's points.
    """

    index: int
    stamp_ns: int
    map_from_camera: SE3
    covariance: Array
    depth: float
    uncovered: float


@dataclass(frozen=True, eq=False)
class Lesson:
    """The images from which a map may learn, how many there were, and why the others may not teach, by reason."""

    taught: Sequence[TaughtImage]
    images: int
    refused: Counter[str]
    contradicted: int

    def check(self, name: str) -> None:
        """Raise UpdateRefusedError where the map should not learn from this recording."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.refused.most_common(3))
        if len(self.taught) < max(_LEAST_TAUGHT, _LEAST_SHARE * self.images):
            raise UpdateRefusedError(
                f"the map '{name}' learns nothing from this recording: {len(self.taught)} of its {self.images} images "
                f"are located surely ({reasons}); record the mapped place with the calibrated camera, or add another "
                "place with 'visloc build-map RECORDING --add-to MAP'"
            )
        if 2 * self.contradicted > len(self.taught):
            raise UpdateRefusedError(
                f"the map '{name}' learns nothing from this recording: its camera's calibration contradicts the map in "
                f"{self.contradicted} of {len(self.taught)} images; calibrate the camera as it took them, or give none"
            )


class Teacher:
    """Locates the images of a recording in a map, in order of time, and decides which of them may teach it."""

    def __init__(self, engine: AnchorEngine, observer: UseObserver, most_error_px: float) -> None:
        self._engine, self._observer = engine, observer
        self._most_error_px = most_error_px
        self._taught: list[TaughtImage] = []
        self._refused: Counter[str] = Counter()
        self._contradicted = 0
        self._is_confirmed = False  # the newest located image, by the one before

    def locate(self, frames: Iterable[Frame]) -> Lesson:
        """Locate frames, and count the use of the map by those that may teach."""
        located, count = None, 0
        for count, frame in enumerate(frames, start=1):
            found = self._locate(count - 1, frame, located)
            if isinstance(found, str):
                self._refused[found] += 1
                continue
            agrees = located is not None and self._agree(located, found)
            self._decide(located, self._is_confirmed or agrees)
            located, self._is_confirmed = found, agrees
        self._decide(located, self._is_confirmed)
        return Lesson(self._taught, count, self._refused, self._contradicted)

    def _locate(self, index: int, frame: Frame, previous: LocatedImage | None) -> LocatedImage | str:
        """A located image, or why it may not teach."""
        query = self._engine.extract(frame)
        anchor = self._engine.solve(query, None if previous is None else previous.anchor.map_from_camera)
        if isinstance(anchor, Rejection):
            return anchor.reason.value
        if uncertainty_px(anchor) > self._most_error_px:
            return "uncertain"
        assert anchor.calibration is not None
        is_contradicted = _contradicts(anchor.calibration, frame.calibration)
        query = replace(query, frame=frame.with_calibration(anchor.calibration))
        observation = self._observer.observe(query, anchor.map_from_camera)
        return LocatedImage(index, query, anchor, observation, is_contradicted)

    def _agree(self, one: LocatedImage, other: LocatedImage) -> bool:
        is_near = other.anchor.stamp_ns - one.anchor.stamp_ns <= _NEIGHBOUR_NS
        return is_near and agree(one, other, self._most_error_px)

    def _decide(self, image: LocatedImage | None, is_confirmed: bool) -> None:
        """Learn from an image of which a neighbour agrees."""
        if image is None:
            return
        if not is_confirmed:
            self._refused["contradicted by its neighbours"] += 1
            return
        self._observer.count(image.observation)
        self._contradicted += image.is_contradicted
        anchor = image.anchor
        depth = typical_depth(anchor.map_from_camera, anchor.inlier_points)
        uncovered = uncovered_share(image.observation, image.query)
        self._taught.append(
            TaughtImage(image.index, anchor.stamp_ns, anchor.map_from_camera, anchor.covariance, depth, uncovered)
        )


def uncertainty_px(anchor: AnchorPose) -> float:
    """Standard deviation in pixels of where points project, by the pose's covariance: what new points would err by."""
    assert anchor.calibration is not None
    depth = typical_depth(anchor.map_from_camera, anchor.inlier_points)
    variances = np.diag(anchor.own_covariance)
    turn = math.sqrt(variances[3:].sum()) + math.sqrt(variances[:3].sum()) / max(depth, 1e-12)
    return float(anchor.calibration.camera.mean_focal_length() * turn)


def agree(one: LocatedImage, other: LocatedImage, max_error_px: float) -> bool:
    """Whether the points that one image shows, followed into the other, are where its pose projects them."""
    rows, points = one.observation.shown_keypoints, one.observation.shown_points
    if len(rows) < _LEAST_FOLLOWED:
        return False
    own, there = (image.query.features for image in (one, other))
    followed = _mutual_nearest(own.descriptors[rows], there.descriptors)
    if len(followed) < _LEAST_FOLLOWED:
        return False
    pixels = there.keypoints[followed[:, 1]]
    assert other.anchor.calibration is not None
    projected = project(other.anchor.calibration.camera, other.anchor.map_from_camera.inverse @ points[followed[:, 0]])
    errors = np.linalg.norm(projected - pixels, axis=1)
    return bool(np.mean(errors <= max_error_px) >= _AGREEING)  # NaN behind the camera does not agree


def _mutual_nearest(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.intp]:
    """Rows (K, 2) of descriptors that are each other's most similar ones, and similar enough."""
    similarity = one.astype(np.float32) @ other.astype(np.float32).T
    best, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows = np.arange(len(best))
    kept = (back[best] == rows) & (similarity[rows, best] >= MIN_SIMILARITY)
    return np.column_stack([rows[kept], best[kept]])


def _contradicts(found: CameraCalibration, given: CameraCalibration | None) -> bool:
    """Whether the images found so far contradict the calibration that an image came with."""
    if given is None:
        return found.focal_sigma > 0.0
    return not given.is_provisional and found.focal_sigma > given.focal_sigma

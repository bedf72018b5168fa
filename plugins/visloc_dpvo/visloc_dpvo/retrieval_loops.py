"""Loops by appearance: a place is recognised, measured in 3D, and closed by a Sim(3) pose graph (Lipson et al. 2024).

The work for a frame (features, retrieval and, where a loop is found, matching and pose graph) needs nothing but the
frame's image and a snapshot of the poses, so it can run beside the frames.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visloc_dpvo.config import CELL_PX, DpvoConfig
from visloc_dpvo.frame_points import FramePoints, Triple, triangulate
from visloc_dpvo.loop_correction import LoopCorrection, apply_correction, close_loop
from visloc_dpvo.places import Hit, LoopDetector, PlaceIndex
from visloc_dpvo.point_alignment import PointAlignment, align_points
from visloc_dpvo.state import DpvoState
from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import skew
from visloc_ros.core.types import Image, LoopClosure
from visloc_ros.features import FeatureConfig, LocalExtractor, Matcher, MatcherConfig, make_extractor, make_matcher

log = logging.getLogger(__name__)

_MAX_WAITING = 50  # frames; further ones are left out until the work has caught up


@dataclass(frozen=True, eq=False)
class LoopModels:
    """The models for finding loops; loaded once, shared by all segments."""

    extractor: LocalExtractor
    matcher: Matcher

    @staticmethod
    def load(config: DpvoConfig) -> LoopModels:
        """Load the configured features and their matcher. Raises ConfigError, ModelError."""
        features = FeatureConfig(name=config.loop_features, device=config.device)
        return LoopModels(make_extractor(features), make_matcher(MatcherConfig(device=config.device), features.name))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The frames from number ``first`` on: stamps, poses (N, 7), intrinsics (N, 4), typical inverse depths (N,).

    Intrinsics are of the whole image, its first pixel at (0, 0). ``units`` (N,) are those of the state.
    """

    first: int
    stamps_ns: list[int]
    poses: NDArray[np.float32]
    intrinsics: NDArray[np.float32]
    inverse_depths: NDArray[np.float32]
    units: NDArray[np.float32]

    @staticmethod
    def of(state: DpvoState, frames: int) -> Snapshot:
        """The oldest ``frames`` of a state."""
        depths = state.inverse_depths[:frames, :, 1, 1].median(dim=1).values
        tensors = state.poses[:frames], CELL_PX * state.intrinsics[:frames], depths, state.units[:frames]
        stamps_ns = [state.timeline.stamp_ns(frame_id) for frame_id in state.frame_ids[:frames]]
        return Snapshot(state.num_forgotten, stamps_ns, *(values.cpu().numpy().copy() for values in tensors))

    def closure(self, loop: Hit, place_from_query: PointAlignment) -> LoopClosure | None:
        """A measured loop as a ``LoopClosure``; None where one of its frames has no published pose."""
        query, place = (number - self.first for number in loop)
        return closure_of(
            self.stamps_ns[place], self.stamps_ns[query], self.units[[place, query]].astype(float), place_from_query
        )


@dataclass(frozen=True, eq=False)
class FoundLoop:
    """The correction of the frames by a measured loop, and its ``LoopClosure``, if there is one."""

    correction: LoopCorrection
    closure: LoopClosure | None


class LoopFinder:
    """Takes frames in their order and finds where they close a loop."""

    def __init__(self, config: DpvoConfig, models: LoopModels) -> None:
        self._models = models
        self._index = PlaceIndex(config.loop_retr_thresh)
        self._detector = LoopDetector(config.loop_close_window_size)

    def process(self, number: int, image: Image, snapshot: Snapshot) -> FoundLoop | None:
        """Take frame ``number``, the last of the snapshot, with its RGB image; gives the loop that it closes."""
        self._index.forget_before(snapshot.first)
        loop = self._detector.consider(self._index.add(number, self._models.extractor.extract(image)))
        return None if loop is None else self.close(Hit(loop.query, max(loop.place, snapshot.first + 1)), snapshot)

    def close(self, loop: Hit, snapshot: Snapshot) -> FoundLoop | None:
        """Measure a loop and bend the frames; None where it cannot be confirmed."""
        evidence = self._measure(loop, snapshot)
        if evidence is None or not evidence.is_sure:
            log.info("frames %d and %d look alike, but are not confirmed: %s", *loop, evidence or "too few points")
            return None
        log.info("loop between frames %d and %d: %s", *loop, evidence)
        place_from_query, earlier = evidence.alignment.target_from_source, tuple(self._detector.closed)
        return FoundLoop(
            close_loop(snapshot.first, snapshot.poses, loop, place_from_query, earlier),
            snapshot.closure(loop, evidence.alignment),
        )

    def mark_closed(self, loop: Hit) -> None:
        """Look for no further loop near this one."""
        self._detector.closed.append(loop)

    def _measure(self, loop: Hit, snapshot: Snapshot) -> LoopEvidence | None:
        query, place = (self._points(number, snapshot) for number in loop)
        return None if query is None or place is None else measure_loop(query, place, self._models.matcher)

    def _points(self, number: int, snapshot: Snapshot) -> FramePoints | None:
        """Points of a frame; None where one of its neighbours was left out."""
        before, frame, after = (self._index.features(number + step) for step in (-1, 0, 1))
        if before is None or frame is None or after is None:
            return None
        row = number - snapshot.first
        poses, depth = snapshot.poses[row - 1 : row + 2], float(snapshot.inverse_depths[row])
        return triangulate(Triple((before, frame, after), poses, snapshot.intrinsics[row], depth), self._models.matcher)


class RetrievalLoops:
    """Feeds the finished frames of a state to a ``LoopFinder`` and writes its corrections back.

    Closed loops are also appended to ``closures``. ``live`` runs the finder in a separate thread, which ends when this
    object is released; otherwise frames wait for it, and every run gives the same result.
    """

    def __init__(
        self, config: DpvoConfig, models: LoopModels, closures: list[LoopClosure], *, live: bool = False
    ) -> None:
        self.num_closed = 0
        self.num_left_out = 0
        self._closures = closures
        self._removal_window = config.resolved().removal_window
        self._finder = LoopFinder(config, models)
        self._executor: Executor = ThreadPoolExecutor(1, "dpvo loops") if live else InlineExecutor()
        weakref.finalize(self, self._executor.shutdown, wait=False, cancel_futures=True)
        self._waiting: deque[Future[FoundLoop | None]] = deque()
        self._images: dict[int, Tensor] = {}
        self._next = 0

    def add_frame(self, state: DpvoState, image: Tensor) -> None:
        """Take note of the newest kept frame and its BGR image (3, H, W), uint8."""
        self._images[state.frame_ids[-1]] = image

    def close(self, state: DpvoState) -> bool:
        """Look for loops of finished frames, and close those found; whether the state was changed."""
        return self._process(state, state.num_frames - self._removal_window - 1)

    def finish(self, state: DpvoState) -> bool:
        """As ``close``, with all frames, and waiting for the result: no frame will come any more."""
        changed = self._process(state, state.num_frames)
        return self._collect(state, wait=True) or changed

    def _process(self, state: DpvoState, frames: int) -> bool:
        """Hand over new frames among the oldest ``frames``; images of dropped keyframes are dropped, too."""
        changed = False
        for row in range(max(self._next - state.num_forgotten, 0), frames):
            self._submit(state, row)
            changed |= self._collect(state)
        waiting = set(state.frame_ids[max(self._next - state.num_forgotten, 0) :])
        self._images = {frame_id: image for frame_id, image in self._images.items() if frame_id in waiting}
        return changed

    def _submit(self, state: DpvoState, row: int) -> None:
        number, image = state.num_forgotten + row, self._images[state.frame_ids[row]]
        self._next = number + 1
        if len(self._waiting) >= _MAX_WAITING:
            self.num_left_out += 1
            return
        snapshot = Snapshot.of(state, row + 1)
        self._waiting.append(self._executor.submit(self._finder.process, number, _rgb(image), snapshot))

    def _collect(self, state: DpvoState, *, wait: bool = False) -> bool:
        changed = False
        while self._waiting and (wait or self._waiting[0].done()):
            found = self._waiting.popleft().result()
            if found is not None and self._apply(state, found):
                changed = True
        return changed

    def _apply(self, state: DpvoState, found: FoundLoop) -> bool:
        loop = found.correction.loop
        if not apply_correction(state, found.correction):
            log.info("loop between frames %d and %d comes too late: the poses have changed", *loop)
            return False
        self._finder.mark_closed(loop)
        self.num_closed += 1
        if found.closure is not None:
            self._closures.append(found.closure)
        return True


class InlineExecutor(Executor):
    """Does the work at once, where it is submitted."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Call ``work``; its exceptions are raised here."""
        future: Future[Any] = Future()
        future.set_result(work(*arguments, **options))
        return future


def _rgb(image: Tensor) -> Image:
    return np.ascontiguousarray(image.cpu().numpy()[::-1].transpose(1, 2, 0))


# Errors that all points of a frame share, so that none shows them. Simulated points of frames whose neighbours are off
# by 1 % of their steps and 0.3 mrad need one per cent of length; loops in small rendered images need half a
# milliradian, a tenth of a pixel.
_UNIT_SIGMA = 0.01
_DIRECTION_SIGMA = 0.0005


def closure_of(place_ns: int, query_ns: int, units: Array, place_from_query: PointAlignment) -> LoopClosure | None:
    """Loop between two frames of one state with ``units`` (2,).

    None where one of them was not given out, or where the points determine no covariance.

    It is measured in the present lengths of the world, but published poses have the earlier ones, and earlier loops
    have changed the scale of some frames since: each end is divided by the unit of its frame at that time.
    """
    if not np.all(units > 0.0):
        return None
    place_unit, query_unit = units.tolist()
    measured = place_from_query.target_from_source
    similarity = Sim3(measured.scale * query_unit / place_unit, measured.rotation, measured.translation / place_unit)
    into_odometry = np.diag(np.repeat([1.0 / place_unit, 1.0], [3, 4]))
    of_points = into_odometry @ place_from_query.covariance @ into_odometry
    covariance = of_points + _shared_covariance(similarity)
    fault = covariance_fault(covariance, size=7)
    return LoopClosure(place_ns, query_ns, similarity, covariance) if fault is None else None


def _shared_covariance(similarity: Sim3) -> Array:
    """Covariance (7, 7) by errors of either frame as a whole: its unit of length, and where its camera looks."""
    of_place, of_query = np.zeros((7, 4)), np.eye(7)[:, 3:]
    of_place[:3, :3], of_place[:3, 3] = -skew(similarity.translation), similarity.translation
    of_place[3:] = np.eye(4)
    variances = np.square(np.repeat([_DIRECTION_SIGMA, _UNIT_SIGMA], [3, 1]))
    return np.asarray(of_place * variances @ of_place.T + of_query * variances @ of_query.T)


# Whether two frames that look alike show the same place, and their relative pose (Lipson et al. 2024). Beside the
# published tests, a loop must explain the rest of the images: of the points that each camera should see of the
# other's, a fair part must be matched. A picture of which there are two prints passes every other test.

_MIN_INLIERS = 30
_MIN_INLIER_RATIO = 0.4
_MIN_SPREAD = 0.08
_MIN_MATCHED_SHARE = 0.45


@dataclass(frozen=True, eq=False)
class LoopEvidence:
    """``alignment`` place_from_query of the matched points, and how many were ``expected`` to be matched."""

    alignment: PointAlignment
    expected: int

    @property
    def is_sure(self) -> bool:
        """Whether enough points agree, on more than one small thing, and most of what should be seen is."""
        inliers = self.alignment.inliers
        return (
            inliers.sum() >= _MIN_INLIERS
            and inliers.mean() >= _MIN_INLIER_RATIO
            and self.alignment.spread >= _MIN_SPREAD
            and len(inliers) >= _MIN_MATCHED_SHARE * self.expected
        )

    def __str__(self) -> str:
        alignment = self.alignment
        counts = f"{alignment.num_inliers} of {len(alignment.inliers)} points agree, {self.expected} expected"
        return f"{counts}, spread {alignment.spread:.2f}, scale {alignment.target_from_source.scale:.3f}"


def measure_loop(query: FramePoints, place: FramePoints, matcher: Matcher) -> LoopEvidence | None:
    """Match and align the points of two frames; None where too few match."""
    pairs = matcher.match(query.features, place.features).pairs
    alignment = align_points(query.points[pairs[:, 0]], place.points[pairs[:, 1]])
    if alignment is None:
        return None
    place_from_query = alignment.target_from_source
    in_place = place.count_visible(place_from_query @ query.points)
    in_query = query.count_visible(place_from_query.inverse @ place.points)
    return LoopEvidence(alignment, min(in_place, in_query))

"""How an odometry handles incidents: it tracks on, or reports that it is lost and restarts, or gives wrong poses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from benchmarks.odometry.scenarios import SCENARIOS, Scenario, ScenarioRenderer
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Rejection
from visloc_ros.evaluation.association import PosePairs
from visloc_ros.evaluation.trajectories import align_by_orientations, align_pairs, apply_alignment, first_pairs
from visloc_ros.odometry import Odometry

MAX_WRONG_FRAMES = 3
MAX_RESTART_S = 1.0
_LINE_FLATNESS = 0.02  # millimetres of noise turn a path of a metre's length about it
_WRONG_M, _WRONG_SHARE = 0.05, 0.03  # metres, or the share of the segment's path, from which a pose is wrong

Results = Sequence[OdometryPose | Rejection]


class Verdict(str, Enum):
    """The outcome of a scenario."""

    WAITED = "waited"
    TRACKED = "tracked"
    FLAGGED = "flagged"
    SLOW = "late"
    WRONG = "wrong"


@dataclass(frozen=True)
class StressResult:
    """One scenario: what was tracked, how losses were reported, and how true the poses are.

    ``start_s`` is the time to the first pose, ``flagged_after`` the most wrong poses in a row before a frame without
    one (None: no pose was missing), ``restart_s`` the longest time without poses after the start, counted from the
    end of the incident if that is later. ``ate_m`` pools the segments, each aligned by a similarity of its own;
    ``turn_error_deg`` is the worst error of the rotation from the first to the last pose of a segment.
    ``wrong_frames`` is the longest run of wrong poses, ``drift_mm_s`` the invented motion over the incident.

    A pose is wrong where it is off by more than 5 cm and 3 % of its segment's path, after the alignment of the
    poses before the incident (of all poses of a segment that has none before it): an alignment that sees the incident
    would spread its error over the poses that were right.
    """

    name: str
    num_frames: int
    num_tracked: int
    num_segments: int
    losses: Mapping[str, int]
    start_s: float | None
    flagged_after: int | None
    restart_s: float | None
    ate_m: float | None
    turn_error_deg: float | None
    wrong_frames: int
    drift_mm_s: float | None

    @property
    def verdict(self) -> Verdict:
        """Not started, tracked through, flagged and restarted in time, or none of these."""
        if self.num_tracked == 0:
            return Verdict.WAITED
        if self.wrong_frames > MAX_WRONG_FRAMES:
            return Verdict.WRONG
        if self.flagged_after is None:
            return Verdict.TRACKED
        in_time = self.restart_s is not None and self.restart_s <= MAX_RESTART_S
        return Verdict.FLAGGED if in_time else Verdict.SLOW


def run_stress(
    make_odometry: Callable[[], Odometry],
    renderer: ScenarioRenderer | None = None,
    scenarios: Iterable[Scenario] = SCENARIOS,
) -> list[StressResult]:
    """Put a fresh odometry through every scenario, rendered in VGA at 30 frames/s unless a renderer is given."""
    renderer = renderer or ScenarioRenderer()
    results = []
    for scenario in scenarios:
        odometry = make_odometry()
        try:
            tracked = [odometry.track(frame) for frame in renderer.frames(scenario)]
        finally:
            odometry.close()
        truth = renderer.simulation(scenario).ground_truth
        results.append(judge(scenario, tracked, dict(zip(truth.stamps_ns.tolist(), truth.poses, strict=True))))
    return results


def judge(scenario: Scenario, results: Results, truth: Mapping[int, SE3]) -> StressResult:
    """Compare results, one a frame in the order of time, with the true ``map_from_camera`` by stamp."""
    begin_ns = min(truth)
    incident_ns = tuple(begin_ns + seconds * NANOSECONDS for seconds in (scenario.span.start_s, scenario.span.end_s))
    poses = [result for result in results if isinstance(result, OdometryPose)]
    pieces = [_Piece.of(group, truth, incident_ns[0]) for _, group in groupby(poses, key=lambda pose: pose.segment)]
    measured = [piece.aligned_errors_m for piece in pieces if piece.aligned_errors_m is not None]
    errors = np.concatenate([np.empty(0), *measured])
    drifts = [piece.drift_mm_s(incident_ns) for piece in pieces]
    return StressResult(
        name=scenario.name,
        num_frames=len(results),
        num_tracked=len(poses),
        num_segments=len(pieces),
        losses=dict(Counter(result.reason.value for result in results if isinstance(result, Rejection))),
        start_s=(poses[0].stamp_ns - begin_ns) / NANOSECONDS if poses else None,
        flagged_after=_flagged_after(results, {stamp for piece in pieces for stamp in piece.wrong_stamps_ns}),
        restart_s=_restart_s(results, incident_ns),
        ate_m=float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else None,
        turn_error_deg=max((piece.turn_error_deg for piece in pieces), default=None),
        wrong_frames=max((piece.wrong_frames for piece in pieces), default=0),
        drift_mm_s=max((drift for drift in drifts if drift is not None), default=None),
    )


@dataclass(frozen=True, eq=False)
class _Piece:
    """Poses of one segment beside the true ones; ``pairs`` are aligned where ``aligned_errors_m`` (N,) are known.

    ``departures_m`` (N,) are the errors after the alignment of the poses before the incident, 0 where unknown.
    """

    pairs: PosePairs
    aligned_errors_m: Array | None
    departures_m: Array

    @staticmethod
    def of(poses: Iterable[OdometryPose], truth: Mapping[int, SE3], incident_begin_ns: float) -> _Piece:
        found = list(poses)
        stamps = np.array([pose.stamp_ns for pose in found])
        estimates = tuple(pose.odom_from_camera for pose in found)
        pairs = PosePairs(stamps, estimates, tuple(truth[stamp] for stamp in stamps.tolist()))
        aligned = _aligned_by(pairs, len(pairs))
        if aligned is None:
            return _Piece(pairs, None, np.zeros(len(pairs)))
        before = _aligned_by(pairs, int(np.count_nonzero(stamps < incident_begin_ns)))
        return _Piece(aligned, _errors_m(aligned), _errors_m(aligned if before is None else before))

    @property
    def turn_error_deg(self) -> float:
        """Error of the rotation from the first to the last pose."""
        turns = [ends[0].rotation.T @ ends[-1].rotation for ends in (self.pairs.estimates, self.pairs.truths)]
        return rotation_angle_deg(turns[0], turns[1])

    @property
    def wrong_frames(self) -> int:
        """Longest run of wrong poses."""
        return max((len(list(run)) for wrong, run in groupby(self._is_wrong.tolist()) if wrong), default=0)

    @property
    def wrong_stamps_ns(self) -> list[int]:
        """Stamps of the wrong poses."""
        return list(self.pairs.stamps_ns[self._is_wrong].tolist())

    @property
    def _is_wrong(self) -> NDArray[np.bool_]:
        path_m = float(np.linalg.norm(np.diff(self.pairs.true_positions, axis=0), axis=1).sum())
        return np.asarray(self.departures_m > max(_WRONG_M, _WRONG_SHARE * path_m))

    def drift_mm_s(self, incident_ns: tuple[float, ...]) -> float | None:
        """Error of the motion from the first to the last pose of the incident, over its time."""
        stamps = self.pairs.stamps_ns
        rows = np.flatnonzero((stamps >= incident_ns[0]) & (stamps <= incident_ns[1]))
        if self.aligned_errors_m is None or len(rows) < 2:
            return None
        offsets = self.pairs.estimated_positions - self.pairs.true_positions
        drift_m = float(np.linalg.norm(offsets[rows[-1]] - offsets[rows[0]]))
        return 1e3 * drift_m * NANOSECONDS / float(stamps[rows[-1]] - stamps[rows[0]])


def _aligned_by(pairs: PosePairs, number: int) -> PosePairs | None:
    """All pairs after the alignment of the first ones; None where these are too few or do not move.

    Positions on a line leave the turn about it open, which the poses after them would feel.
    """
    first = first_pairs(pairs, number)
    try:
        is_line = min(_flatness(first.estimated_positions), _flatness(first.true_positions)) < _LINE_FLATNESS
        similarity = align_by_orientations(first, with_scale=True) if is_line else align_pairs(first, "sim3")
    except SourceError:
        return None
    return apply_alignment(similarity, pairs)


def _flatness(positions: Array) -> float:
    """Second over first extent of positions (N, 3)."""
    if len(positions) < 2:
        return 0.0
    extents = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    return float(extents[1] / extents[0]) if extents[0] > 0.0 else 0.0


def _errors_m(aligned: PosePairs) -> Array:
    return np.asarray(np.linalg.norm(aligned.estimated_positions - aligned.true_positions, axis=1))


def _flagged_after(results: Results, wrong_ns: Collection[int]) -> int | None:
    """Most wrong poses in a row that end with a frame without a pose; None if all after the start have one."""
    most, in_a_row, is_started = None, 0, False
    for result in results:
        if isinstance(result, OdometryPose):
            in_a_row, is_started = in_a_row + 1 if result.stamp_ns in wrong_ns else 0, True
        elif is_started:
            most, in_a_row = max(most or 0, in_a_row), 0
    return most


def _restart_s(results: Results, incident_ns: tuple[float, ...]) -> float | None:
    """Longest time without poses once started, not counting the incident; None if they did not come back."""
    runs = [list(run) for _, run in groupby(results, key=lambda result: isinstance(result, OdometryPose))]
    lost_runs = [row for row, run in enumerate(runs) if row > 0 and isinstance(run[0], Rejection)]
    longest = 0.0
    for row in lost_runs:
        if row + 1 == len(runs):
            return None
        lost_ns = runs[row][0].stamp_ns
        begin_ns = incident_ns[1] if incident_ns[0] <= lost_ns < incident_ns[1] < np.inf else lost_ns
        longest = max(longest, (runs[row + 1][0].stamp_ns - begin_ns) / NANOSECONDS)
    return longest

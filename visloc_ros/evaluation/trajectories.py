"""Compare two trajectories: associate by stamp, align if asked to, and measure absolute and relative errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.geometry import Array, Sim3, mean_rotation, umeyama
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.evaluation.association import DEFAULT_TOLERANCE_S, PosePairs, associate
from visloc_ros.evaluation.consistency import Consistency
from visloc_ros.evaluation.metrics import Recall, Statistics, nees, pose_errors, recall, relative_errors

ALIGNMENTS = ("none", "se3", "sim3")

COLLINEAR_SPREAD = 0.02
"""Positions whose second extent is below this share of the first do not fix the rotation about their line."""


@dataclass(frozen=True)
class TrajectoryErrors:
    """Errors of an estimated trajectory: positions in the truth's unit (metres when it is metric), angles in degrees.

    ``recall`` counts every true pose as a query, so missing estimates are failures;
    ``recall_of_matched`` looks only at the estimates that have a true pose. ``consistency`` compares the errors with
    the covariances where these were given.
    """

    num_estimates: int
    num_truths: int
    num_matched: int
    align: str
    truth_from_estimate: Sim3
    position_error_m: Statistics
    rotation_error_deg: Statistics
    relative_delta: float
    relative_unit: str
    relative_position_error_m: Statistics | None
    relative_rotation_error_deg: Statistics | None
    recall: tuple[Recall, ...]
    recall_of_matched: tuple[Recall, ...]
    consistency: Consistency | None = None


def evaluate_trajectories(
    estimate: Trajectory,
    truth: Trajectory,
    align: str = "none",
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    *,
    relative_delta: float = 1.0,
    relative_unit: str = "s",
    covariances: Mapping[int, Array] | None = None,
) -> TrajectoryErrors:
    """Measure an estimate against the truth after alignment "none", "se3" or "sim3" on the positions.

    Relative errors are taken over ``relative_delta`` seconds ("s") or metres of true path ("m"). ``covariances`` (6, 6)
    by stamp are those of the estimates. Raises ConfigError on an unknown alignment, or one with covariances;
    SourceError when no stamps meet or the positions cannot be aligned.
    """
    if covariances is not None and align != "none":
        raise ConfigError("covariances are of the poses as they came: compare them with alignment 'none'")
    pairs = associate(estimate, truth, tolerance_s)
    similarity = align_pairs(pairs, align)
    aligned = apply_alignment(similarity, pairs)
    absolute = pose_errors(aligned.estimates, aligned.truths)
    relative = relative_errors(aligned, relative_delta, relative_unit)
    position, rotation = Statistics.of(absolute[:, 0]), Statistics.of(absolute[:, 1])
    if position is None or rotation is None:
        raise SourceError("the trajectories hold poses that are not finite")
    return TrajectoryErrors(
        num_estimates=len(estimate),
        num_truths=len(truth),
        num_matched=len(pairs),
        align=align,
        truth_from_estimate=similarity,
        position_error_m=position,
        rotation_error_deg=rotation,
        relative_delta=relative_delta,
        relative_unit=relative_unit,
        relative_position_error_m=Statistics.of(relative[:, 0]),
        relative_rotation_error_deg=Statistics.of(relative[:, 1]),
        recall=recall(absolute, len(truth)),
        recall_of_matched=recall(absolute, len(pairs)),
        consistency=None if covariances is None else _consistency(pairs, covariances),
    )


def align_pairs(pairs: PosePairs, align: str) -> Sim3:
    """Similarity ``truth_from_estimate`` that fits the positions best; the identity for "none".

    On (nearly) collinear positions the rotation comes from the orientations, because positions alone leave the
    turn about their line open. Raises SourceError when there are too few poses or they do not move.
    """
    if align not in ALIGNMENTS:
        raise ConfigError(f"unknown alignment '{align}'; choose one of {', '.join(ALIGNMENTS)}")
    if align == "none":
        return Sim3.identity()
    if len(pairs) < 3:
        raise SourceError(f"{len(pairs)} matched poses are too few to align, 3 are needed; use no alignment")
    source, target, with_scale = pairs.estimated_positions, pairs.true_positions, align == "sim3"
    extents = _extents(source)
    if extents[0] < 1e-9 * (1.0 + float(np.abs(source).max())):
        raise SourceError("the estimate does not move, so it cannot be aligned by its positions; use no alignment")
    if min(extents[1] / extents[0], _flatness(target)) < COLLINEAR_SPREAD:
        return _align_by_orientations(pairs, with_scale)
    return umeyama(target, source, with_scale=with_scale)


def apply_alignment(truth_from_estimate: Sim3, pairs: PosePairs) -> PosePairs:
    """Move the estimates of all pairs into the truth's frame."""
    moved = tuple(truth_from_estimate.apply_to_pose(pose) for pose in pairs.estimates)
    return PosePairs(pairs.stamps_ns, moved, pairs.truths)


def _consistency(pairs: PosePairs, covariances: Mapping[int, Array]) -> Consistency | None:
    known = zip(pairs.stamps_ns.tolist(), pairs.estimates, pairs.truths, strict=True)
    values = [nees(pose, true, covariances[stamp]) for stamp, pose, true in known if stamp in covariances]
    return Consistency.of(values)


def _extents(positions: Array) -> Array:
    """Spread (3,) of positions along their principal axes, largest first."""
    return np.asarray(np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False))


def _flatness(positions: Array) -> float:
    extents = _extents(positions)
    return float(extents[1] / extents[0]) if extents[0] > 0.0 else 0.0


def _align_by_orientations(pairs: PosePairs, with_scale: bool) -> Sim3:
    """Rotation from the orientations, then scale and translation by least squares on the positions."""
    rotation = mean_rotation(
        [truth.rotation @ pose.rotation.T for pose, truth in zip(pairs.estimates, pairs.truths, strict=True)]
    )
    source, target = pairs.estimated_positions @ rotation.T, pairs.true_positions
    centred = source - source.mean(axis=0)
    scale = float(np.sum(centred * target) / np.sum(np.square(centred))) if with_scale else 1.0
    return Sim3(scale, rotation, target.mean(axis=0) - scale * source.mean(axis=0))

"""Compares two trajectories: associates by stamp, aligns if requested, and measures absolute and relative errors.

Association, alignment and errors are those of evo (https://github.com/MichaelGrupp/evo), the usual tool, so that its
figures and these are the same. On a nearly straight path, positions hardly determine the turn around it, and a few
millimetres of them may turn all orientations: so errors after an alignment by orientations are given, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.geometry import Array, Sim3, mean_rotation, umeyama
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.evaluation.association import DEFAULT_TOLERANCE_S, PosePairs, associate
from visloc_ros.evaluation.consistency import Consistency
from visloc_ros.evaluation.metrics import Recall, Statistics, motion_errors, nees, pose_errors, recall
from visloc_ros.evaluation.relative_drift import KittiErrors, kitti_errors
from visloc_ros.evaluation.relative_pairs import ONE_FRAME, PairSelection, choose_pairs

ALIGNMENTS = ("none", "origin", "scale", "se3", "sim3")


@dataclass(frozen=True)
class TrajectoryErrors:
    """Errors of an estimated trajectory: positions in the truth's unit (metres when it is metric), angles in degrees.

    ``recall`` counts every true pose as a query, so missing estimates are failures;
    ``recall_of_matched`` looks only at the estimates that have a true pose. ``by_orientations`` are position and
    rotation errors after an alignment by orientations, for "se3" and "sim3". ``kitti`` is the measure of that
    benchmark, None for paths shorter than 100 m. ``consistency`` compares the errors with the covariances where these
    were given.
    """

    num_estimates: int
    num_truths: int
    num_matched: int
    align: str
    truth_from_estimate: Sim3
    position_error_m: Statistics
    rotation_error_deg: Statistics
    pair_selection: PairSelection
    relative_position_error_m: Statistics | None
    relative_rotation_error_deg: Statistics | None
    recall: tuple[Recall, ...]
    recall_of_matched: tuple[Recall, ...]
    by_orientations: tuple[Statistics, Statistics] | None = None
    kitti: KittiErrors | None = None
    consistency: Consistency | None = None


def evaluate_trajectories(
    estimate: Trajectory,
    truth: Trajectory,
    align: str = "none",
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    *,
    n_to_align: int | None = None,
    pair_selection: PairSelection = ONE_FRAME,
    covariances: Mapping[int, Array] | None = None,
) -> TrajectoryErrors:
    """Measure an estimate against the truth after one of ``ALIGNMENTS``, by all poses or the first ``n_to_align``.

    ``covariances`` (6, 6) by stamp are those of the estimates. Raises ConfigError on an unknown alignment, one with
    covariances, or a relative error over nothing; SourceError when no stamps meet or the positions cannot be aligned.
    """
    if covariances is not None and align != "none":
        raise ConfigError("covariances are of the poses as they came: compare them with alignment 'none'")
    pairs = associate(estimate, truth, tolerance_s)
    used = first_pairs(pairs, len(pairs) if n_to_align is None else n_to_align)
    similarity = align_pairs(used, align)
    aligned = apply_alignment(similarity, pairs)
    absolute = pose_errors(aligned.estimates, aligned.truths)
    relative = relative_errors(aligned, pair_selection)
    position, rotation = _statistics(absolute)
    return TrajectoryErrors(
        num_estimates=len(estimate),
        num_truths=len(truth),
        num_matched=len(pairs),
        align=align,
        truth_from_estimate=similarity,
        position_error_m=position,
        rotation_error_deg=rotation,
        pair_selection=pair_selection,
        relative_position_error_m=Statistics.of(relative[:, 0]),
        relative_rotation_error_deg=Statistics.of(relative[:, 1]),
        recall=recall(absolute, len(truth)),
        recall_of_matched=recall(absolute, len(pairs)),
        by_orientations=_errors_by_orientations(pairs, used, align),
        kitti=kitti_errors(aligned),
        consistency=None if covariances is None else _consistency(pairs, covariances),
    )


def align_pairs(pairs: PosePairs, align: str) -> Sim3:
    """Similarity ``truth_from_estimate``: the identity for "none", what joins the first poses for "origin", otherwise
    what fits the positions best (Umeyama 1991), and of that only the scale for "scale".

    Raises SourceError when there are too few poses or they do not move.
    """
    if align not in ALIGNMENTS:
        raise ConfigError(f"unknown alignment '{align}'; choose one of {', '.join(ALIGNMENTS)}")
    if align == "none":
        return Sim3.identity()
    if align == "origin":
        return Sim3.from_se3(pairs.truths[0] @ pairs.estimates[0].inverse)
    _check_alignable(pairs)
    similarity = umeyama(pairs.true_positions, pairs.estimated_positions, with_scale=align != "se3")
    return Sim3(similarity.scale, np.eye(3), np.zeros(3)) if align == "scale" else similarity


def align_by_orientations(pairs: PosePairs, with_scale: bool) -> Sim3:
    """``truth_from_estimate`` with the mean rotation, then scale and translation by least squares on the positions.

    Raises SourceError when there are too few poses or they do not move.
    """
    _check_alignable(pairs)
    rotation = mean_rotation(
        [truth.rotation @ pose.rotation.T for pose, truth in zip(pairs.estimates, pairs.truths, strict=True)]
    )
    source, target = pairs.estimated_positions @ rotation.T, pairs.true_positions
    centred = source - source.mean(axis=0)
    scale = float(np.sum(centred * target) / np.sum(np.square(centred))) if with_scale else 1.0
    return Sim3(scale, rotation, target.mean(axis=0) - scale * source.mean(axis=0))


def first_pairs(pairs: PosePairs, number: int) -> PosePairs:
    """The first pairs."""
    return PosePairs(pairs.stamps_ns[:number], pairs.estimates[:number], pairs.truths[:number])


def apply_alignment(truth_from_estimate: Sim3, pairs: PosePairs) -> PosePairs:
    """Move the estimates of all pairs into the truth's frame."""
    moved = tuple(truth_from_estimate.apply_to_pose(pose) for pose in pairs.estimates)
    return PosePairs(pairs.stamps_ns, moved, pairs.truths)


def _consistency(pairs: PosePairs, covariances: Mapping[int, Array]) -> Consistency | None:
    known = zip(pairs.stamps_ns.tolist(), pairs.estimates, pairs.truths, strict=True)
    values = [nees(pose, true, covariances[stamp]) for stamp, pose, true in known if stamp in covariances]
    if not values:
        raise SourceError("no covariance has the stamp of a matched pose: give covariances.txt of the same run")
    return Consistency.of(values)


def relative_errors(pairs: PosePairs, selection: PairSelection) -> Array:
    """Errors (M, 2) of the estimate's motions, in map units and degrees."""
    begins, ends = choose_pairs(selection, pairs.stamps_ns, pairs.estimates)
    return motion_errors(pairs, begins, ends)


def _check_alignable(pairs: PosePairs) -> None:
    if len(pairs) < 3:
        raise SourceError(f"{len(pairs)} matched poses are too few to align, 3 are needed; use no alignment")
    positions = pairs.estimated_positions
    if float(np.ptp(positions, axis=0).max()) < 1e-9 * (1.0 + float(np.abs(positions).max())):
        raise SourceError("the estimate does not move, so it cannot be aligned by its positions; use no alignment")


def _errors_by_orientations(pairs: PosePairs, used: PosePairs, align: str) -> tuple[Statistics, Statistics] | None:
    if align not in ("se3", "sim3"):
        return None
    aligned = apply_alignment(align_by_orientations(used, with_scale=align == "sim3"), pairs)
    return _statistics(pose_errors(aligned.estimates, aligned.truths))


def _statistics(errors: Array) -> tuple[Statistics, Statistics]:
    """Those of position and rotation errors (N, 2). Raises SourceError."""
    position, rotation = Statistics.of(errors[:, 0]), Statistics.of(errors[:, 1])
    if position is None or rotation is None:
        raise SourceError("the trajectories hold poses that are not finite")
    return position, rotation

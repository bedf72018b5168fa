"""Summarises many simulated runs of one scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from benchmarks.fusion.scores import DIVERGED_M, FUSED, MethodErrors, RunScore
from visloc_ros.core.geometry import Array

POSE_DOF = 6
NEGLIGIBLE = 0.01  # correlation below which values count as independent


@dataclass(frozen=True)
class MethodFigures:
    """Errors of one method, over all frames of all runs at which every method has a pose.

    ``diverged_share`` is of runs: with any frame more than a metre off; of the fusion, see ``fusion_scores``.
    """

    median_m: float
    p95_m: float
    median_deg: float
    p95_deg: float
    diverged_share: float


@dataclass(frozen=True)
class NeesFigures:
    """Consistency: squared whitened errors (NEES), averaged over runs, over their 6 degrees of freedom (ANEES).

    Errors of neighbouring frames are correlated. ``autocorrelation_time`` is the number of frames that are worth one
    independent frame, by the autocorrelation of NEES over all runs; it widens the 95 % chi-square band of a run's mean,
    inside which ``runs_in_band_share`` of runs stay. ``instants_in_band_share`` is of runs whose NEES in the middle of
    the run is inside the band of a single value: no correlation enters there. A consistent estimator gives 1, 0.95 and
    0.95.
    """

    anees: float
    autocorrelation_time: float
    runs_in_band_share: float
    instants_in_band_share: float


@dataclass(frozen=True)
class ScenarioFigures:
    """One scenario: all methods by their names; the rest is of the fusion."""

    runs: int
    methods: Mapping[str, MethodFigures]
    nees: NeesFigures
    localized_share: float
    first_fix_s: float
    first_fix_p95_s: float
    never_fixed: int
    odom_jump: float
    scale_error: float
    scale_error_p95: float
    accepted_outlier_share: float
    rejected_inlier_share: float


def summarise_runs(scores: Sequence[RunScore]) -> ScenarioFigures:
    """Figures of the runs of one scenario."""
    fixes, scales = (np.array([getattr(score, name) for score in scores]) for name in ("first_fix_s", "scale_error"))
    fixed = fixes[np.isfinite(fixes)]
    return ScenarioFigures(
        runs=len(scores),
        methods=_methods(scores),
        nees=nees_figures([np.square(score.whitened).sum(axis=1) for score in scores]),
        localized_share=_mean([_localized_share(score) for score in scores]),
        first_fix_s=_quantile(fixes, 0.5),
        first_fix_p95_s=_quantile(fixes, 0.95),
        never_fixed=len(scores) - len(fixed),
        odom_jump=max(score.odom_jump for score in scores),
        scale_error=_quantile(scales, 0.5),
        scale_error_p95=_quantile(scales, 0.95),
        accepted_outlier_share=_mean([score.accepted_outlier_share for score in scores]),
        rejected_inlier_share=_mean([score.rejected_inlier_share for score in scores]),
    )


def nees_figures(squares: Sequence[Array]) -> NeesFigures:
    """Compare squared whitened errors (N,) of runs with what their covariances predict; NaN where there is no pose."""
    runs = [values[np.isfinite(values)] for values in squares]
    runs = [values for values in runs if len(values)]
    if not runs:
        return NeesFigures(np.nan, np.nan, np.nan, np.nan)
    correlations = autocorrelation(runs)
    times = np.array([autocorrelation_time(len(values), correlations) for values in runs])
    lengths = np.array([len(values) for values in runs])
    means = np.array([values.mean() for values in runs])
    instants = np.array([values[len(values) // 2] for values in runs])
    return NeesFigures(
        float(means.mean() / POSE_DOF),
        float(times.mean()),
        float(_in_band(means, lengths / times).mean()),
        float(_in_band(instants, np.ones(len(runs))).mean()),
    )


def autocorrelation(runs: Sequence[Array]) -> Array:
    """Correlation of values (N,) of many runs with those 1, 2, ... frames later, up to where it is negligible."""
    mean = np.concatenate(runs).mean()
    centred = [values - mean for values in runs]
    power = np.square(np.concatenate(centred)).mean()
    correlations: list[float] = []
    for lag in range(1, max(map(len, runs))):
        products = [values[lag:] * values[:-lag] for values in centred if len(values) > lag]
        correlation = float(np.concatenate(products).mean() / power)
        if correlation < NEGLIGIBLE:
            break
        correlations.append(correlation)
    return np.array(correlations)


def autocorrelation_time(count: int, correlations: Array) -> float:
    """How many of a run's ``count`` frames are worth one independent frame for its mean.

    The variance of the mean is one value's over count, times 1 + 2 sum over lags of (1 - lag / count) x correlation.
    """
    known = correlations[: count - 1]
    weights = 1.0 - np.arange(1, len(known) + 1) / count
    return float(1.0 + 2.0 * weights @ known)


def _in_band(means: Array, independent: Array) -> Array:
    """Which means (R,) of so many independent values (R,) lie inside their 95 % chi-square band."""
    low, high = (2.0 * gammaincinv(0.5 * POSE_DOF * independent, p) / independent for p in (0.025, 0.975))
    return np.asarray((means >= low) & (means <= high))


def _methods(scores: Sequence[RunScore]) -> dict[str, MethodFigures]:
    shared = [_shared_frames(score) for score in scores]
    figures = {name: _figures([score.methods[name] for score in scores], shared) for name in scores[0].methods}
    diverged = float(np.mean([score.diverged for score in scores]))
    return {**figures, FUSED: replace(figures[FUSED], diverged_share=diverged)}


def _shared_frames(score: RunScore) -> NDArray[np.bool_]:
    return np.asarray(np.all([np.isfinite(method.position) for method in score.methods.values()], axis=0))


def _figures(runs: Sequence[MethodErrors], shared: Sequence[NDArray[np.bool_]]) -> MethodFigures:
    metres = np.concatenate([run.position[rows] for run, rows in zip(runs, shared, strict=True)])
    degrees = np.concatenate([run.rotation_deg[rows] for run, rows in zip(runs, shared, strict=True)])
    return MethodFigures(
        median_m=_quantile(metres, 0.5),
        p95_m=_quantile(metres, 0.95),
        median_deg=_quantile(degrees, 0.5),
        p95_deg=_quantile(degrees, 0.95),
        diverged_share=float(np.mean([np.any(run.position > DIVERGED_M) for run in runs])),
    )


def _localized_share(score: RunScore) -> float:
    """Share of the frames since the first fix; NaN where there was none."""
    since = score.localized[score.seconds >= score.first_fix_s]
    return float(since.mean()) if len(since) else np.nan


def _quantile(values: Array, fraction: float) -> float:
    """Quantile of the finite values; NaN of none."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, fraction)) if len(known) else np.nan


def _mean(values: Sequence[float]) -> float:
    """Mean of the finite values; NaN of none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan

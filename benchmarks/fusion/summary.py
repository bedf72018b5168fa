"""Many simulated runs of one scenario in a few figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from benchmarks.fusion.scores import DIVERGED_M, FUSED, MethodErrors, RunScore
from visloc_ros.core.geometry import Array

POSE_DOF = 6
NEGLIGIBLE = 0.01  # correlation: what is less alike counts as independent


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
class Honesty:
    """Whether covariances hold: squared whitened errors (NEES) over the 6 degrees of freedom, 1 where honest.

    Errors of neighbouring frames are alike. ``frames_alike`` is the number of frames that tell as much as one, by the
    autocorrelation of NEES over all runs; it widens the 95 % chi-square band of a run's mean, inside which
    ``mean_share`` of runs stay. ``instant_share`` is of runs whose NEES in the middle of the run is inside the band of
    a single value: no correlation enters there. An ideal estimator gives 1, 0.95 and 0.95.
    """

    mean: float
    frames_alike: float
    mean_share: float
    instant_share: float


@dataclass(frozen=True)
class ScenarioFigures:
    """One scenario: all methods by their names; the rest is of the fusion."""

    runs: int
    methods: Mapping[str, MethodFigures]
    honesty: Honesty
    localized_share: float
    first_fix_s: float
    first_fix_p95_s: float
    never_fixed: int
    odom_jump: float
    scale_error: float
    scale_error_p95: float
    wrong_believed_share: float
    right_refused_share: float


def summarise_runs(scores: Sequence[RunScore]) -> ScenarioFigures:
    """Figures of the runs of one scenario."""
    fixes, scales = (np.array([getattr(score, name) for score in scores]) for name in ("first_fix_s", "scale_error"))
    fixed = fixes[np.isfinite(fixes)]
    return ScenarioFigures(
        runs=len(scores),
        methods=_methods(scores),
        honesty=judge_honesty([np.square(score.whitened).sum(axis=1) for score in scores]),
        localized_share=_mean([_localized_share(score) for score in scores]),
        first_fix_s=_quantile(fixes, 0.5),
        first_fix_p95_s=_quantile(fixes, 0.95),
        never_fixed=len(scores) - len(fixed),
        odom_jump=max(score.odom_jump for score in scores),
        scale_error=_quantile(scales, 0.5),
        scale_error_p95=_quantile(scales, 0.95),
        wrong_believed_share=_mean([score.wrong_share for score in scores]),
        right_refused_share=_mean([score.refused_share for score in scores]),
    )


def judge_honesty(squares: Sequence[Array]) -> Honesty:
    """Compare squared whitened errors (N,) of runs with what their covariances promise; NaN where there is no pose."""
    runs = [values[np.isfinite(values)] for values in squares]
    runs = [values for values in runs if len(values)]
    if not runs:
        return Honesty(np.nan, np.nan, np.nan, np.nan)
    correlations = autocorrelation(runs)
    alike = np.array([frames_alike(len(values), correlations) for values in runs])
    lengths = np.array([len(values) for values in runs])
    means = np.array([values.mean() for values in runs])
    instants = np.array([values[len(values) // 2] for values in runs])
    return Honesty(
        float(means.mean() / POSE_DOF),
        float(alike.mean()),
        float(_in_band(means, lengths / alike).mean()),
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


def frames_alike(count: int, correlations: Array) -> float:
    """How many of a run's ``count`` frames tell as much about its mean as one independent frame.

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

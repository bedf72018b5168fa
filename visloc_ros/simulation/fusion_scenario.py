"""The parameters of a simulated run for the fusion: path, odometry, anchors."""

from __future__ import annotations

from dataclasses import dataclass

Intervals = tuple[tuple[float, float], ...]
"""(start, length) in seconds from the beginning of a run."""


@dataclass(frozen=True)
class FusionScenario:
    """One kind of run; lengths in metres of the map, angles in degrees, noise as standard deviations.

    ``path`` is one of ``motion_paths.PATHS``. Drifts are random walks per square root of a metre of effective distance:
    path length + ``turn_as_distance`` x turning in radians. ``rotation_scale_error`` is of the factor by which
    odometry scales all rotations of a run, as a wrong focal length does; ``jitter`` is of each odometry pose alone.

    An anchor's error is the sum of an independent one (``anchor_sigma``), and of one that all anchors of a place and a
    view share (``place_sigma``), which changes over ``place_length``. Its covariance is that of the sum, sigmas times
    ``reported_sigma_factor``. Gross outliers are poses anywhere, aliases poses in another place that looks the same;
    both come with a ``false_anchor_risk`` from a uniform distribution, the others with a ``risk`` from a log-uniform
    one: of anchors with the same risk, the more are false the larger it is.

    With ``tracked``, map points are followed from an accepted anchor for ``tracked_distance`` metres or to the next.
    Of the variance of their error ``tracked_lasting_share`` lasts from frame to frame, and changes over
    ``tracked_correlation_s``.

    With a ``loop_period_s``, odometry recognises places of ``loop_gap_s`` or longer ago, and closes loops; a
    ``false_loop_share`` of them lead to another place.
    """

    path: str = "eight"
    duration_s: float = 40.0
    rate_hz: float = 20.0
    speed: float = 0.6
    position_drift: float = 0.02
    rotation_drift_deg: float = 0.3
    scale_drift: float = 0.01
    rotation_scale_error: float = 0.04
    turn_as_distance: float = 0.5
    yaw_bias_deg_per_min: float = 0.0
    jitter: float = 0.0
    jitter_deg: float = 0.0
    losses: Intervals = ()
    anchor_period_s: float = 1.0
    anchor_sigma: float = 0.03
    anchor_sigma_deg: float = 1.0
    place_sigma: float = 0.0
    place_sigma_deg: float = 0.0
    place_length: float = 0.5
    reported_sigma_factor: float = 1.0
    risk: tuple[float, float] = (0.03, 0.03)
    false_anchor_risk: tuple[float, float] = (0.03, 0.03)
    delay_s: tuple[float, float] = (1.0, 1.0)
    outlier_share: float = 0.0
    alias_share: float = 0.0
    gaps: Intervals = ()
    tracked: bool = False
    tracked_distance: float = 3.0
    tracked_sigma: float = 0.004
    tracked_sigma_deg: float = 0.08
    tracked_lasting_share: float = 0.9
    tracked_correlation_s: float = 2.0
    loop_period_s: float = 0.0
    loop_gap_s: float = 5.0
    loop_sigma: float = 0.03
    loop_sigma_deg: float = 1.0
    loop_sigma_scale: float = 0.03
    false_loop_share: float = 0.0


EXACT = FusionScenario(
    position_drift=0.0,
    rotation_drift_deg=0.0,
    scale_drift=0.0,
    rotation_scale_error=0.0,
    anchor_sigma=0.0,
    anchor_sigma_deg=0.0,
)
"""Odometry that never drifts and anchors without noise."""

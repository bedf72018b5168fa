"""Scenarios of simulated runs for the fusion, and the purpose of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from testing.fusion_scenario import FusionScenario

USUAL = FusionScenario(
    duration_s=30.0,
    rate_hz=5.0,
    jitter=0.002,
    jitter_deg=0.03,
    anchor_sigma=0.03,
    anchor_sigma_deg=1.0,
    risk=(0.001, 0.05),
    false_anchor_risk=(0.001, 0.05),
)
"""Anchors of 3 cm and 1 degree every second and a second late; odometry that drifts as the options expect."""

REAL_MAP = replace(
    USUAL, anchor_sigma=0.015, anchor_sigma_deg=0.5, place_sigma=0.025, place_sigma_deg=0.8, reported_sigma_factor=0.4
)


@dataclass(frozen=True)
class FusionExperiment:
    """A scenario and what it is there for."""

    scenario: FusionScenario
    purpose: str


EXPERIMENTS: Mapping[str, FusionExperiment] = {
    "usual": FusionExperiment(USUAL, "figure eight, consistent anchors every second, 1 s late"),
    "prompt": FusionExperiment(
        replace(USUAL, duration_s=20.0, rate_hz=10.0, anchor_period_s=0.4, delay_s=(0.03, 0.15)),
        "a GPU: anchors at 2.5 Hz, 30 to 150 ms late",
    ),
    "followed": FusionExperiment(
        replace(USUAL, tracked=True),
        "map points followed from each accepted anchor, which add 4 mm and 0.08 degrees, much the same for 2 s",
    ),
    "outliers": FusionExperiment(replace(USUAL, outlier_share=0.3), "30 % gross outliers, 1 s late"),
    "aliases": FusionExperiment(
        replace(USUAL, path="circle", outlier_share=0.25, alias_share=0.15),
        "circle; 25 % gross outliers and 15 % from a place that looks the same",
    ),
    "late": FusionExperiment(
        replace(USUAL, duration_s=45.0, delay_s=(14.0, 14.0)), "every anchor 14 s late: networks loaded for each image"
    ),
    "any delay": FusionExperiment(
        replace(USUAL, duration_s=45.0, path="circle", delay_s=(0.03, 14.0), outlier_share=0.1),
        "30 ms to 14 s, so that anchors overtake one another; 10 % outliers",
    ),
    "corridor": FusionExperiment(
        replace(
            USUAL, path="line", speed=0.4, duration_s=25.0, anchor_sigma=0.01, anchor_sigma_deg=0.3, delay_s=(0.2, 0.4),
            position_drift=0.005, rotation_drift_deg=0.1, scale_drift=0.002, rotation_scale_error=0.01,
        ),
        "straight on for 10 m, 1 cm of noise",
    ),
    "stairs": FusionExperiment(replace(USUAL, path="stairs"), "up a stairwell"),
    "stop and go": FusionExperiment(replace(USUAL, path="stop_and_go"), "circle, standing half of the time"),
    "turns": FusionExperiment(replace(USUAL, path="turns"), "a square with turns on the spot"),
    "real map": FusionExperiment(
        replace(REAL_MAP, path="circle", duration_s=45.0, outlier_share=0.05),
        "errors shared by all anchors of a place, sigmas of 40 % of the true ones, 5 % outliers",
    ),
    "losses and gaps": FusionExperiment(
        replace(USUAL, duration_s=45.0, losses=((14.0, 2.0),), gaps=((26.0, 8.0),), outlier_share=0.1),
        "odometry lost at 14 s, which leaves it with another scale; no anchors from 26 to 34 s; 10 % outliers",
    ),
    "loops": FusionExperiment(
        replace(
            USUAL, path="circle", duration_s=50.0, gaps=((12.0, 100.0),), loop_period_s=2.0, false_loop_share=0.1,
        ),
        "no anchors after 12 s, but odometry closes loops to the round before, 10 % of them false",
    ),
    "bad odometry": FusionExperiment(
        replace(
            USUAL, position_drift=0.04, rotation_drift_deg=0.6, scale_drift=0.03, yaw_bias_deg_per_min=10.0,
            jitter=0.005,
        ),
        "twice to three times the drift that the options expect, and a heading that runs away",
    ),
}  # fmt: skip

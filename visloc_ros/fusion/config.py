"""Options of the fusion; lengths are in map units, which are metres when the map is metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.geometry import Array


@dataclass(frozen=True)
class NoisePriorConfig(Config):
    """Prior on the stated noise, before the residuals of the run show its size."""

    trust: float = option(
        0.8, "Prior probability that the stated standard deviations are right.", minimum=0.0, maximum=1.0
    )
    uncertainty: float = option(
        2.0,
        "Factor by which the stated standard deviations may be wrong if they are not right (one standard deviation).",
        minimum=1.01,
    )


@dataclass(frozen=True)
class OdometryNoiseConfig(Config):
    """The growth of odometry noise: random walks along the effective distance travelled.

    The effective distance is the path length + ``distance_per_radian`` x rotation + ``distance_per_second`` x time. The
    residuals of the run show how large the noise really is.
    """

    position: float = option(
        0.02,
        "Standard deviation of the position after one metre in metres; it grows with the square root of the distance.",
        minimum=1e-6,
    )
    rotation_deg: float = option(
        0.3,
        "Standard deviation of the rotation after one metre in degrees; it grows with the square root of the distance.",
        minimum=1e-6,
    )
    scale: float = option(
        0.01,
        "Relative standard deviation of the scale after one metre; it grows with the square root of the distance.",
        minimum=1e-6,
    )
    rotation_scale_sigma: float = option(
        0.08,
        "Standard deviation of the rotation scale error: the share by which all rotations are over- or underestimated, "
        "as with a wrong focal length.",
        minimum=0.0,
    )
    distance_per_radian: float = option(
        0.5, "Distance in metres that adds as much noise as a rotation by one radian.", minimum=0.0
    )
    distance_per_second: float = option(0.01, "Distance in metres that adds as much noise as one second.", minimum=0.0)
    prior: NoisePriorConfig = section(NoisePriorConfig)


@dataclass(frozen=True)
class AlignmentConfig(Config):
    """Conditions of a first fix: how well anchors and odometry must agree on one similarity."""

    position_tolerance: float = option(
        0.05, "Standard deviation of the position, in metres, by which agreeing anchors may differ.", minimum=0.0
    )
    rotation_tolerance_deg: float = option(
        1.5, "Standard deviation of the rotation, in degrees, by which agreeing anchors may differ.", minimum=1e-3
    )
    max_scale_sigma: float = option(
        0.07, "Largest relative standard deviation of the scale at the first fix.", minimum=1e-6, maximum=1.0
    )
    max_scale_sigma_restart: float = option(
        0.3,
        "Largest relative standard deviation of the scale at the next fix, after odometry was lost and started again.",
        minimum=1e-6,
        maximum=1.0,
    )

    @property
    def tolerance(self) -> Array:
        """Covariance (6, 6) by which anchors that agree may differ beyond their own ones."""
        return np.diag(np.repeat([self.position_tolerance**2, np.deg2rad(self.rotation_tolerance_deg) ** 2], 3))


@dataclass(frozen=True)
class AnchorNoiseConfig(Config):
    """Errors of anchors beyond the covariance of the pose solver: those of the map, and outliers."""

    position_floor: float = option(
        0.003, "Position error of a map whose anchors do not state what it is off by, in metres.", minimum=1e-9
    )
    rotation_floor_deg: float = option(
        0.05, "Rotation error of a map whose anchors do not state what it is off by, in degrees.", minimum=1e-9
    )
    correlation_distance: float = option(
        1.0, "Distance in metres over which the error that neighbouring anchors have in common changes.", minimum=1e-3
    )
    prior: NoisePriorConfig = section(NoisePriorConfig)
    degrees_of_freedom: float = option(
        8.0,
        "Degrees of freedom of the anchors' Student t; smaller ones reduce the weight of outliers more.",
        minimum=1.0,
    )


@dataclass(frozen=True)
class TrackingConfig(Config):
    """The use of poses from tracked map points between anchors."""

    odometry_noise_factor: float = option(
        2.0, "Factor on the odometry noise in the gates of tracked poses and of loops.", minimum=1.0
    )
    correlation_s: float = option(
        3.0, "Time in seconds over which the correlated part of the error of tracked poses changes.", minimum=0.0
    )
    correlated_share: float = option(
        0.9,
        "Share of the variance of tracked poses that is correlated from frame to frame.",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True)
class AnchorGateConfig(Config):
    """Which anchors are accepted, and when refused ones start another alignment."""

    probability: float = option(0.999, "Share of good anchors that pass the gate.", minimum=0.5, maximum=1.0 - 1e-9)
    relocation_anchors: int = option(
        5,
        "Refused anchors that must agree on another alignment before it replaces the present one, "
        "in excess of the anchors accepted meanwhile.",
        minimum=2,
    )


@dataclass(frozen=True)
class SlewConfig(Config):
    """Limits on corrections of ``map_from_odom``: a bounded motion of the camera, or a step."""

    speed: float = option(0.3, "Speed in metres per second at which the position is corrected.", minimum=1e-6)
    turn_rate_deg: float = option(15.0, "Rate in degrees per second at which the rotation is corrected.", minimum=1e-6)
    step_distance: float = option(0.5, "Corrections longer than this, in metres, are made in one step.", minimum=0.0)
    step_angle_deg: float = option(
        20.0, "Corrections of more than this angle, in degrees, are made in one step.", minimum=0.0
    )


@dataclass(frozen=True)
class StateConfig(Config):
    """Limits beyond which the state is DEGRADED or LOST."""

    degraded_distance: float = option(
        5.0, "DEGRADED after this distance since the last accepted anchor, in metres.", minimum=0.0
    )
    lost_distance: float = option(
        20.0, "LOST after this distance since the last accepted anchor, in metres.", minimum=0.0
    )
    degraded_age_s: float = option(
        20.0, "DEGRADED after this time since the image of the last accepted anchor, in seconds.", minimum=0.0
    )
    lost_age_s: float = option(
        60.0, "LOST after this time since the image of the last accepted anchor, in seconds.", minimum=0.0
    )
    degraded_sigma: float = option(
        0.25, "DEGRADED above this standard deviation of the position, in metres.", minimum=0.0
    )
    lost_sigma: float = option(1.0, "LOST above this standard deviation of the position, in metres.", minimum=0.0)
    degraded_sigma_deg: float = option(
        10.0, "DEGRADED above this standard deviation of the rotation, in degrees.", minimum=0.0
    )
    lost_sigma_deg: float = option(45.0, "LOST above this standard deviation of the rotation, in degrees.", minimum=0.0)
    lost_without_pose_s: float = option(2.0, "LOST after this time without any pose, in seconds.", minimum=0.0)


@dataclass(frozen=True)
class SensorConfig(Config):
    """Use of other sensors, and of the floor that a robot stays on, as constraints."""

    use_scale: bool = option(True, "Use the scale by wheels or a depth model in a metric map.")
    use_gravity: bool = option(True, "Use the accelerometer for roll and pitch in a gravity-aligned map.")
    two_d_mode: bool = option(
        False, "The robot drives on a level floor: keep the camera's height and tilt. Needs a gravity-aligned map."
    )


@dataclass(frozen=True)
class FusionConfig(Config):
    """All options of the fusion."""

    window: int = option(20, "Number of anchors in the window of the smoother.", minimum=2, maximum=200)
    history_s: float = option(60.0, "Seconds of odometry that are kept for late anchors.", minimum=1.0)
    max_gap_s: float = option(
        0.25, "Longest gap of the odometry, in seconds, in which a pose is interpolated for an anchor.", minimum=0.0
    )
    odometry_noise: OdometryNoiseConfig = section(OdometryNoiseConfig)
    alignment: AlignmentConfig = section(AlignmentConfig)
    anchor_noise: AnchorNoiseConfig = section(AnchorNoiseConfig)
    tracking: TrackingConfig = section(TrackingConfig)
    gate: AnchorGateConfig = section(AnchorGateConfig)
    slew: SlewConfig = section(SlewConfig)
    state: StateConfig = section(StateConfig)
    sensors: SensorConfig = section(SensorConfig)

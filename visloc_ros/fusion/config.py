"""Options of the fusion; lengths are in map units, which are metres when the map is metric."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section


@dataclass(frozen=True)
class NoisePriorConfig(Config):
    """How far errors are believed to be of the expected size, before residuals of the run tell."""

    trust: float = option(0.8, "probability that they are", minimum=0.0, maximum=1.0)
    uncertainty: float = option(
        2.0, "factor by which standard deviations may be off where they are not: one standard deviation", minimum=1.01
    )
    max_inflation: float = option(100.0, "largest factor on variances", minimum=1.0)


@dataclass(frozen=True)
class DriftConfig(Config):
    """How fast odometry usually loses its way: random walks along the effective distance travelled.

    Residuals tell how fast it is in this run. The effective distance is path length + ``turn_as_distance`` x turning
    + ``standing_as_distance`` x time.
    """

    position: float = option(0.02, "position drift, metres per square root of a metre travelled", minimum=1e-6)
    rotation_deg: float = option(0.3, "rotation drift, degrees per square root of a metre travelled", minimum=1e-6)
    scale: float = option(0.01, "relative scale drift per square root of a metre travelled", minimum=1e-6)
    turning: float = option(
        0.08, "share of all turns that is misjudged, as by a wrong focal length: standard deviation", minimum=0.0
    )
    turn_as_distance: float = option(0.5, "metres of travel that drift as much as turning by one radian", minimum=0.0)
    standing_as_distance: float = option(0.01, "metres of travel that drift as much as one second", minimum=0.0)
    prior: NoisePriorConfig = section(NoisePriorConfig)


@dataclass(frozen=True)
class AlignmentConfig(Config):
    """When anchors and odometry agree well enough to speak of one place, and of one scale."""

    start_anchors: int = option(3, "agreeing anchors that make the first fix", minimum=2)
    confident_inliers: int = option(60, "two agreeing anchors suffice when each has as many inliers", minimum=6)
    position_tolerance: float = option(0.05, "standard deviation of position allowed in agreement, metres", minimum=0.0)
    rotation_tolerance_deg: float = option(
        1.5, "standard deviation of rotation allowed in agreement, degrees", minimum=1e-3
    )
    drift_tolerance: float = option(
        0.05, "share of the distance between two anchors allowed as drift in agreement", minimum=0.0, maximum=1.0
    )
    max_scale_sigma: float = option(
        0.07, "relative standard deviation of the scale that a fix may have", minimum=1e-6, maximum=1.0
    )
    max_scale_sigma_again: float = option(
        0.3,
        "the same for the next fix, after odometry began anew: followed map points soon tell the rest",
        minimum=1e-6,
        maximum=1.0,
    )
    max_candidates: int = option(12, "anchors remembered while looking for agreement", minimum=2, maximum=50)


@dataclass(frozen=True)
class AnchorNoiseConfig(Config):
    """What an anchor's own covariance leaves out: errors of the map, and optimism of the pose solver."""

    position_floor: float = option(0.003, "least position error of the map at any place, metres", minimum=1e-9)
    rotation_floor_deg: float = option(0.05, "least rotation error of the map at any place, degrees", minimum=1e-9)
    common_distance: float = option(
        1.0, "travel over which the error that neighbouring anchors share changes, metres", minimum=1e-3
    )
    prior: NoisePriorConfig = section(NoisePriorConfig)
    tail: float = option(8.0, "degrees of freedom of the error's Student t: small distrusts outliers more", minimum=1.0)


@dataclass(frozen=True)
class TrackingConfig(Config):
    """How far poses from followed map points are believed between anchors."""

    drift_slack: float = option(
        2.0,
        "times that odometry may drift faster than it usually does before followed points, or loops, are refused",
        minimum=1.0,
    )
    correlation_s: float = option(
        3.0, "time in which what lasts of the error of followed points changes, seconds", minimum=0.0
    )
    lasting_share: float = option(
        0.9, "share of the variance of followed points that lasts from frame to frame", minimum=0.0, maximum=1.0
    )
    slipped_frames: int = option(
        5, "refused frames in a row that end the trust in followed points until the next anchor", minimum=1
    )


@dataclass(frozen=True)
class GateConfig(Config):
    """Which anchors are believed once there is a fix."""

    probability: float = option(0.999, "share of good anchors that passes", minimum=0.5, maximum=1.0 - 1e-9)
    relocation_anchors: int = option(
        5, "anchors by which another place must lead since its first one before the fix moves there", minimum=2
    )
    relocation_scale_sigma: float = option(
        0.1, "relative standard deviation of the old scale when the fix moves elsewhere", minimum=1e-3
    )
    doubt_anchors: int = option(3, "anchors refused in a row that make the state DEGRADED", minimum=1)
    doubt_inliers: float = option(
        0.6,
        "share of the inliers that accepted anchors have with which one refused far off makes the state DEGRADED, "
        "where no map points are followed",
        minimum=0.0,
    )


@dataclass(frozen=True)
class SlewConfig(Config):
    """How corrections reach ``map_from_odom``: as a bounded motion of the camera, or as a step."""

    speed: float = option(0.3, "correction of the camera's position, metres per second", minimum=1e-6)
    turn_rate_deg: float = option(15.0, "correction of the camera's rotation, degrees per second", minimum=1e-6)
    step_distance: float = option(0.5, "corrections longer than this are made at once, metres", minimum=0.0)
    step_angle_deg: float = option(20.0, "corrections turning more than this are made at once, degrees", minimum=0.0)


@dataclass(frozen=True)
class StateConfig(Config):
    """When the pose is called DEGRADED, and when LOST."""

    degraded_distance: float = option(5.0, "travelled since the last fix: DEGRADED, metres", minimum=0.0)
    lost_distance: float = option(20.0, "travelled since the last fix: LOST, metres", minimum=0.0)
    degraded_age_s: float = option(20.0, "time since the last fix's image: DEGRADED, seconds", minimum=0.0)
    lost_age_s: float = option(60.0, "time since the last fix's image: LOST, seconds", minimum=0.0)
    degraded_sigma: float = option(0.25, "largest standard deviation of position: DEGRADED, metres", minimum=0.0)
    lost_sigma: float = option(1.0, "largest standard deviation of position: LOST, metres", minimum=0.0)
    degraded_sigma_deg: float = option(10.0, "largest standard deviation of rotation: DEGRADED, degrees", minimum=0.0)
    lost_sigma_deg: float = option(45.0, "largest standard deviation of rotation: LOST, degrees", minimum=0.0)
    blind_s: float = option(2.0, "time without any pose before DEGRADED becomes LOST, seconds", minimum=0.0)


@dataclass(frozen=True)
class SensorConfig(Config):
    """How other sensors, and the knowledge that a robot stays on the floor, hold the fix."""

    use_scale: bool = option(True, "let wheels or a depth model hold the scale in a metric map")
    least_scale_sigma: float = option(
        0.02, "relative standard deviation of a sensor's scale, the map's own included", minimum=1e-4
    )
    scale_memory: float = option(5.0, "travel over which a sensor's scale renews itself, metres", minimum=1e-3)
    use_gravity: bool = option(True, "let an accelerometer hold roll and pitch in a gravity-aligned map")
    gravity_sigma_deg: float = option(
        1.0, "standard deviation of a sensor's up, the map's own included, degrees", minimum=1e-3
    )
    gravity_memory_s: float = option(10.0, "time over which a sensor's up renews itself, seconds", minimum=1e-3)
    two_d_mode: bool = option(
        False, "the robot drives on level floor: height and tilt of the camera stay; needs a gravity-aligned map"
    )
    height_walk: float = option(
        0.01, "how the height of the floor walks in two_d_mode, metres per square root of a metre", minimum=1e-6
    )
    tilt_walk_deg: float = option(
        0.3, "how the tilt of the floor walks in two_d_mode, degrees per square root of a metre", minimum=1e-6
    )


@dataclass(frozen=True)
class FusionConfig(Config):
    """All options of the fusion."""

    window: int = option(20, "anchors that are estimated together", minimum=2, maximum=200)
    history_s: float = option(60.0, "odometry kept for late anchors, seconds", minimum=1.0)
    max_gap_s: float = option(0.25, "longest gap of odometry to interpolate an anchor's frame in, seconds", minimum=0.0)
    drift: DriftConfig = section(DriftConfig)
    alignment: AlignmentConfig = section(AlignmentConfig)
    anchor_noise: AnchorNoiseConfig = section(AnchorNoiseConfig)
    tracking: TrackingConfig = section(TrackingConfig)
    gate: GateConfig = section(GateConfig)
    slew: SlewConfig = section(SlewConfig)
    state: StateConfig = section(StateConfig)
    sensors: SensorConfig = section(SensorConfig)

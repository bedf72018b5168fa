"""Options of map building, and which source gives a map its scale and its direction of up.

Scale comes from one source, in this order: reference poses, a known distance, wheel odometry, GPS positions of the
images. Up comes from the reference poses, else from an IMU, the GPS positions or a level camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.features.config import FeatureConfig, GlobalConfig, MatcherConfig, VladConfig

if TYPE_CHECKING:  # the packages of sources need not be imported for options
    from visloc_ros.sources.measurements import Measurements

SCALE_NAMES = {
    "reference": "reference poses",
    "distance": "known distance",
    "odometry": "wheel odometry",
    "gps": "GPS",
    "none": "none",
}
_NEEDED = {
    "reference": "reference poses",
    "distance": "frame.scale_distance",
    "odometry": "a bag and its odometry_topic",
    "gps": "images with GPS positions in their EXIF data",
}


@dataclass(frozen=True)
class SelectionConfig(Config):
    """Which frames of the source become map images."""

    rate_hz: float = option(3.0, "map images per second at most, the sharpest of each period; 0 takes all", minimum=0.0)
    keep_all_up_to: int = option(
        80, "frames in a source up to which the rate does not matter: these were already chosen", minimum=0
    )
    max_frames: int = option(0, "map images at most, evenly thinned out; 0 sets no limit", minimum=0)
    min_motion: float = option(0.01, "image motion below which a frame is skipped [image widths]", minimum=0.0)
    min_overlap: float = option(
        0.4, "share of corners tracked below which a period ends early", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class PairConfig(Config):
    """Which map images are matched with each other."""

    window: int = option(4, "following images that an image is matched with", minimum=1)
    retrieval: int = option(4, "similar or neighbouring images further off that an image is matched with", minimum=0)
    map_retrieval: int = option(8, "similar images of an existing map that an added image is matched with", minimum=1)
    loops: int = option(
        1, "alike images from another visit to the place that an image is matched with, at unknown poses", minimum=0
    )
    loop_gap: int = option(20, "images from one visit to the next, at least", minimum=1)
    loop_min_matches: int = option(30, "matches that images of different visits need, at unknown poses", minimum=0)
    max_view_angle_deg: float = option(
        60.0, "angle between viewing directions of a pair at known poses [deg]", minimum=1.0, maximum=180.0
    )


@dataclass(frozen=True)
class ReconstructionConfig(Config):
    """Options of structure from motion."""

    mapper: str = option(
        "auto",
        "structure from motion for unknown poses: incremental, global (all images at once), or auto by their number",
        choices=("auto", "incremental", "global"),
    )
    global_from: int = option(
        400, "images from which auto maps globally; incrementally where that does not hold them together", minimum=2
    )
    reference: str = option(
        "fixed",
        "use of reference poses: fixed triangulates at them, aligned only takes scale and frame from them",
        choices=("fixed", "aligned"),
    )
    min_matches: int = option(15, "verified matches that a pair needs", minimum=5)
    max_epipolar_error_px: float = option(4.0, "distance of a match to its epipolar line [px]", minimum=0.1)
    min_match_motion_px: float = option(
        1.0,
        "motion below which a match is of what is fixed to the camera (the robot itself, an overlay) [px]; 0 keeps it",
        minimum=0.0,
    )
    exact_pose_error_px: float = option(
        1.5,
        "least value of the two tolerances around it for fixed reference poses as exact as keypoints [px]",
        minimum=0.1,
    )
    max_pose_error_px: float = option(
        12.0, "limit to which errors of fixed reference poses may raise the two tolerances around it [px]", minimum=0.1
    )
    max_reprojection_error_px: float = option(4.0, "reprojection error that a point may have [px]", minimum=0.1)
    min_triangulation_angle_deg: float = option(
        1.5, "largest angle between a point's rays that it needs [deg]", minimum=0.0, maximum=90.0
    )
    threads: int = option(0, "threads of reconstruction; 0 takes all processors", minimum=0)
    seed: int = option(0, "seed of every random choice", minimum=0)


@dataclass(frozen=True)
class SparsificationConfig(Config):
    """How much of the reconstruction the map keeps: of the keypoints with a point, those that localization uses."""

    target_kb: float = option(
        75.0,
        "disk space of an image, on average, without pictures [kB]; 0 keeps every keypoint, with a point or without",
        minimum=0.0,
    )
    min_keypoints: int = option(200, "keypoints that an image keeps in any case, if it has as many", minimum=4)


@dataclass(frozen=True)
class FrameConfig(Config):
    """Scale and axes of the map."""

    scale: str = option(
        "auto",
        "where metres come from: auto takes the first there is of reference poses, scale_distance, wheel odometry, "
        "and the images' GPS positions if they are good to 5 percent",
        choices=("auto", "reference", "distance", "odometry", "gps", "none"),
    )
    scale_distance: float = option(
        0.0, "known distance between two map images' camera centres [m]; 0 for not known", minimum=0.0
    )
    scale_from: str = option("", "name of the map image where scale_distance begins; empty takes the first")
    scale_to: str = option("", "name of the map image where scale_distance ends; empty takes the last")
    max_reference_gap_s: float = option(
        1.0, "time over which reference poses, odometry and the map images are interpolated [s]", minimum=0.0
    )
    gps_sigma: float = option(5.0, "error of GPS positions that do not state theirs [m]", minimum=0.001)
    gravity: str = option(
        "auto",
        "where up is: camera takes it from a level camera, imu from accelerations, gps from the images' positions, "
        "reference says that +z of the reference poses is up, auto is none where there are reference poses, else imu "
        "where there is one, else camera; GPS positions that set the scale refine it",
        choices=("auto", "camera", "imu", "gps", "reference", "none"),
    )


@dataclass(frozen=True)
class MappingConfig(Config):
    """Everything about building a map."""

    workers: int = option(
        0, "images or pairs worked on at once; 0 takes one for each processor, up to four", minimum=0, maximum=64
    )
    selection: SelectionConfig = section(SelectionConfig)
    features: FeatureConfig = section(FeatureConfig)
    matcher: MatcherConfig = section(MatcherConfig)
    global_descriptor: GlobalConfig = section(GlobalConfig)
    vlad: VladConfig = section(VladConfig)
    pairs: PairConfig = section(PairConfig)
    reconstruction: ReconstructionConfig = section(ReconstructionConfig)
    sparsification: SparsificationConfig = section(SparsificationConfig)
    frame: FrameConfig = section(FrameConfig)


def check_frame_config(config: FrameConfig, has_references: bool, measurements: Sequence[Measurements] = ()) -> None:
    """Refuse options that contradict each other or the available sources, before any work. Raises ConfigError."""
    given = _given(config, has_references, measurements)
    asked_for = [_NEEDED[name] for name in ("reference", "distance", "odometry") if given[name]]
    if len(asked_for) > 1:
        raise ConfigError(f"{' and '.join(asked_for)} each set the scale: give one of them")
    if config.scale not in ("auto", "none") and not given[config.scale]:
        raise ConfigError(f"frame.scale = {config.scale} needs {_NEEDED[config.scale]}")
    if config.scale in ("none", "gps") and asked_for:
        raise ConfigError(f"frame.scale = {config.scale} contradicts {asked_for[0]}, which would set the scale")
    _check_gravity(config, has_references, measurements)


def scale_source(config: FrameConfig, measurements: Sequence[Measurements]) -> str:
    """Which of ``SCALE_NAMES`` sets the scale of a map without reference poses."""
    if config.scale != "auto":
        return config.scale
    given = _given(config, False, measurements)
    return next((name for name in given if given[name]), "none")


def _given(config: FrameConfig, has_references: bool, measurements: Sequence[Measurements]) -> dict[str, bool]:
    """Which sources of scale are available, in the order of precedence."""
    return {
        "reference": has_references,
        "distance": config.scale_distance > 0,
        "odometry": any(one.odometry is not None for one in measurements),
        "gps": any(one.geo_positions for one in measurements),
    }


def _check_gravity(config: FrameConfig, has_references: bool, measurements: Sequence[Measurements]) -> None:
    if has_references and config.gravity in ("camera", "imu", "gps"):
        raise ConfigError(
            f"frame.gravity = {config.gravity} would turn the map out of the frame of the reference poses"
        )
    if not has_references and config.gravity == "reference":
        raise ConfigError("frame.gravity = reference needs reference poses")
    if config.gravity == "imu" and not any(one.accelerations is not None for one in measurements):
        raise ConfigError("frame.gravity = imu needs a bag and its imu_topic, or a EuRoC folder with its IMU")
    if config.gravity == "gps" and scale_source(config, measurements) != "gps":
        raise ConfigError("frame.gravity = gps needs GPS positions to set the scale, too")

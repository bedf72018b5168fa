"""Options of map building."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.features.config import FeatureConfig, MatcherConfig, VladConfig


@dataclass(frozen=True)
class SelectionConfig(Config):
    """Which frames of the source become map images (SPEC H-2)."""

    rate_hz: float = option(3.0, "map images per second at most, the sharpest of each period; 0 takes all", minimum=0.0)
    keep_all_up_to: int = option(
        80, "frames in a source up to which the rate does not matter: somebody has chosen them already", minimum=0
    )
    max_frames: int = option(0, "map images at most, evenly thinned out; 0 sets no limit", minimum=0)
    min_motion: float = option(0.01, "image motion below which a frame is skipped [image widths]", minimum=0.0)
    min_overlap: float = option(
        0.4, "share of corners tracked below which a period ends early", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class PairConfig(Config):
    """Which map images are matched with each other (SPEC H-5)."""

    window: int = option(4, "following images that an image is matched with", minimum=1)
    retrieval: int = option(4, "similar or neighbouring images further off that an image is matched with", minimum=0)
    max_view_angle_deg: float = option(
        60.0, "angle between viewing directions of a pair at known poses [deg]", minimum=1.0, maximum=180.0
    )


@dataclass(frozen=True)
class ReconstructionConfig(Config):
    """How poses and points are found (SPEC H-6)."""

    mapper: str = option("incremental", "structure from motion for unknown poses", choices=("incremental", "global"))
    reference: str = option(
        "fixed",
        "use of reference poses: fixed triangulates at them, aligned only takes scale and frame from them",
        choices=("fixed", "aligned"),
    )
    min_matches: int = option(15, "verified matches that a pair needs", minimum=5)
    max_epipolar_error_px: float = option(4.0, "distance of a match to its epipolar line [px]", minimum=0.1)
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
class FrameConfig(Config):
    """Scale and axes of the map (SPEC H-63)."""

    scale_distance: float = option(
        0.0, "known distance between two map images' camera centres [m]; 0 for not known", minimum=0.0
    )
    scale_from: str = option("", "name of the map image where scale_distance begins; empty takes the first")
    scale_to: str = option("", "name of the map image where scale_distance ends; empty takes the last")
    max_reference_gap_s: float = option(
        1.0, "time between reference poses over which they are interpolated [s]", minimum=0.0
    )
    gravity: str = option(
        "auto",
        "where up is: camera takes it from a level camera, reference says that +z of the reference poses is up, "
        "auto is camera where there are no reference poses and none where there are",
        choices=("auto", "camera", "reference", "none"),
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
    vlad: VladConfig = section(VladConfig)
    pairs: PairConfig = section(PairConfig)
    reconstruction: ReconstructionConfig = section(ReconstructionConfig)
    frame: FrameConfig = section(FrameConfig)

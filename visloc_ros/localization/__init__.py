"""Where in the map a single image was taken: retrieval, matching, 2D-3D evidence, PnP, and gates that say no."""

from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.config import AnchorConfig, GateConfig, GuidedConfig, PoseConfig
from visloc_ros.localization.correspondences import Correspondences
from visloc_ros.localization.pose import PoseSolution, solve_pose
from visloc_ros.localization.source_camera import find_camera

__all__ = [
    "AnchorConfig",
    "AnchorEngine",
    "Correspondences",
    "GateConfig",
    "GuidedConfig",
    "PoseConfig",
    "PoseSolution",
    "find_camera",
    "solve_pose",
]

"""Localization of a single image in a map: retrieval, matching, PnP, and the probability that the pose is right."""

from typing import TYPE_CHECKING

from visloc_ros.core.late_names import late_names
from visloc_ros.localization.config import AnchorConfig, GuidedConfig, PoseConfig

if TYPE_CHECKING:
    from visloc_ros.localization.anchor import AnchorEngine
    from visloc_ros.localization.camera_estimation import find_camera
    from visloc_ros.localization.evidence import Correspondences
    from visloc_ros.localization.multi_map import MultiMapEngine
    from visloc_ros.localization.pose import PoseSolution, solve_pose
    from visloc_ros.localization.search_hint import HeadingHint, PositionHint, SearchHint

__all__ = [
    "AnchorConfig",
    "AnchorEngine",
    "Correspondences",
    "GuidedConfig",
    "HeadingHint",
    "MultiMapEngine",
    "PoseConfig",
    "PoseSolution",
    "PositionHint",
    "SearchHint",
    "find_camera",
    "solve_pose",
]

__getattr__ = late_names(
    __name__,
    {
        "anchor": ("AnchorEngine",),
        "camera_estimation": ("find_camera",),
        "evidence": ("Correspondences",),
        "multi_map": ("MultiMapEngine",),
        "pose": (
            "PoseSolution",
            "solve_pose",
        ),
        "search_hint": (
            "HeadingHint",
            "PositionHint",
            "SearchHint",
        ),
    },
)

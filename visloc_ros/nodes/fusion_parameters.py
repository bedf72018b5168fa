"""Parameters of the fusion node."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import option
from visloc_ros.pipeline.config import BackendConfig


@dataclass(frozen=True)
class FusionNodeConfig(BackendConfig):
    """Parameters of the fusion node."""

    map_frame: str = option("map", "frame id of the map")
    odom_frame: str = option("odom", "frame id of the continuous odometry")
    base_frame: str = option("base_link", "frame id of the robot; the camera's own frame id for a bare camera")
    tf_publish_rate: float = option(
        20.0,
        "least rate of map -> odom, Hz: between frames the last one is sent again, dated on; 0: with frames only",
        minimum=0.0,
        maximum=200.0,
    )
    state_dir: str = option(
        "", "folder in which the last pose is kept, to look there first at the next start; empty: nowhere"
    )

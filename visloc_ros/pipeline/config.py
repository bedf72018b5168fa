"""Options of the estimation from odometry and anchors, and of the output."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.types import Mode
from visloc_ros.fusion import FusionConfig


@dataclass(frozen=True)
class BackendConfig(Config):
    """Everything between a measurement and a published pose."""

    mode: str = option(
        "fused",
        "what the output is made from: fused, odometry and anchors; hloc, anchors alone: each pose at its own image, "
        "late, and none between; odom, odometry alone, without a map: odom -> base in metres where wheels or a depth "
        "model give the scale",
        choices=tuple(mode.value for mode in Mode),
    )
    publish_map_to_odom_tf: bool = option(True, "broadcast map -> odom")
    publish_odom_to_base_tf: bool = option(
        True, "broadcast odom -> base; false when another node does, whose /tf map -> odom then corrects"
    )
    transform_tolerance: float = option(0.1, "seconds map -> odom is dated ahead", minimum=0.0, maximum=2.0)
    loss_policy: str = option(
        "stop_tf",
        "while LOST, stop_tf sends neither map -> odom nor pose, so that a robot that uses them stops; hold goes on "
        "with the last map -> odom, but not with pose; inflate goes on with both, and the pose's standard deviation is "
        "at least fusion.state.lost_sigma and grows with distance and time",
        choices=("hold", "stop_tf", "inflate"),
    )
    silence_s: float = option(
        1.0, "time without any frame from the odometry that counts as a loss, seconds", minimum=0.1, maximum=60.0
    )
    fusion: FusionConfig = section(FusionConfig)

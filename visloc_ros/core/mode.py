"""What the pose is made from."""

from __future__ import annotations

from enum import Enum


class Mode(str, Enum):
    """What the pose is made from; ``hloc`` is anchors only, as the toolbox of that name gives them."""

    FUSED = "fused"
    HLOC = "hloc"
    ODOM = "odom"

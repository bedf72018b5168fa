"""The sources of the pose."""

from __future__ import annotations

from enum import Enum


class Mode(str, Enum):
    """The sources of the pose; ``hloc`` is anchors only, as from the toolbox of that name."""

    FUSED = "fused"
    HLOC = "hloc"
    ODOM = "odom"

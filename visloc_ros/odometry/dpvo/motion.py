"""First guess of the next pose: part of the last motion goes on (Teed et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from visloc_ros.odometry.dpvo import lie

_MAX_STEPS = 4.0  # a guess over a longer gap in the images is worse than none of it


def extrapolate(last: Tensor, before: Tensor, steps: float, damping: float) -> Tensor:
    """Pose (7,) after ``last``, if the motion since ``before`` went on for ``steps`` times its time, damped."""
    return lie.retract(last, damping * steps * lie.log(lie.compose(last, lie.inverse(before))))


def steps_ahead(stamp_ns: int, last_ns: int, before_ns: int) -> float:
    """Time since the last frame over the time between the last two, at most a few; 1 where stamps do not increase."""
    gap_ns = last_ns - before_ns
    if gap_ns <= 0 or stamp_ns <= last_ns:
        return 1.0
    return min((stamp_ns - last_ns) / gap_ns, _MAX_STEPS)


def median(values: Tensor) -> float:
    """Interpolated median of all values."""
    return float(torch.quantile(values.float().flatten(), 0.5))

"""How well the newest pose is supported by what the network measured: the only way for dpvo to notice it is lost.

The limits are geometric, and wide, since the published system has none to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from visloc_ros.odometry.dpvo import projection
from visloc_ros.odometry.dpvo.state import DpvoState

_MIN_WEIGHT = 0.1
_MAX_RESIDUAL_PX = 4.0  # on the quarter grid


@dataclass(frozen=True)
class MeasurementSupport:
    """Measurements of older patches in the newest frame, how many of them fit its pose, and their mean weight."""

    measured: int
    fitting: int
    mean_weight: float

    @property
    def share(self) -> float:
        """Part of the measurements that fit."""
        return self.fitting / self.measured if self.measured else 0.0


def support_of_newest(state: DpvoState, map_size: tuple[int, int]) -> MeasurementSupport:
    """Count the measurements that are sure, inside maps of (height, width) cells, and near where the pose puts them."""
    newest = state.num_frames - 1
    edges = state.edges
    edges = edges[(edges.jj == newest) & (edges.ii != newest)]
    seen = projection.reproject(state.poses, state.flat_patches, state.intrinsics, edges.ii, edges.jj, edges.kk)
    pixels, weight = seen[:, :, 1, 1], edges.weight.mean(dim=1)
    near = (edges.target - pixels).norm(dim=1) < _MAX_RESIDUAL_PX
    fitting = near & _inside(pixels, map_size) & (weight > _MIN_WEIGHT)
    return MeasurementSupport(len(edges), int(fitting.sum()), float(weight.mean()) if len(edges) else 0.0)


def _inside(pixels: Tensor, map_size: tuple[int, int]) -> Tensor:
    height, width = map_size
    limits = pixels.new_tensor([width - 0.5, height - 0.5])
    return ((pixels > -0.5) & (pixels < limits)).all(dim=1)
